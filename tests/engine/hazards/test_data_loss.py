"""What rows hold is never lost by an automatic start without somebody's word: `destroys-data`."""

from __future__ import annotations

import json

import pytest

from railhead.dsn import Dsn
from tests.databases import rows_of
from tests.forked_tree import Workshop

SCHEMA = """
op.execute("CREATE SCHEMA past")
op.execute("CREATE TYPE mood AS ENUM ('glad', 'sad', 'so so')")
op.execute("CREATE TABLE kept (id int)")
op.execute('''CREATE TABLE "Big Table" (id bigint PRIMARY KEY, "a b" text, price numeric(10, 2), mood mood DEFAULT 'sad', at timestamptz DEFAULT now(),
               small int GENERATED ALWAYS AS (id % 10) STORED, empty text)''')
op.execute("CREATE TABLE past.events (id int)")
op.execute("CREATE TABLE part (id int) PARTITION BY RANGE (id)")
op.execute("CREATE TABLE part_1 PARTITION OF part FOR VALUES FROM (0) TO (10)")
op.execute("CREATE MATERIALIZED VIEW sums AS SELECT 1 AS one")
"""
ROWS = """
INSERT INTO "Big Table" (id, "a b", price) SELECT n, 'text ' || n, n + 0.25 FROM generate_series(1, 50) n;
INSERT INTO past.events VALUES (1), (2); INSERT INTO part VALUES (1); ANALYZE
"""

LOSSES = {
    "op.drop_table": ("op.drop_table('Big Table')", '"Big Table", all rows and columns: 50 rows'),
    "raw DROP TABLE": ("op.execute('DROP TABLE IF EXISTS past.events')", "past.events, all rows and columns: 2 rows"),
    "schema": ("op.execute('DROP SCHEMA past CASCADE')", "past.events, all rows and columns: 2 rows"),
    "made again": (
        "op.execute('DROP TABLE past.events'); op.execute('CREATE TABLE past.events (id int)')",
        "past.events, all rows and columns: 2 rows",
    ),
    "column": ("op.drop_column('Big Table', 'a b')", '"Big Table", the column "a b": 50 values'),
    "type and its columns": ("op.execute('DROP TYPE mood CASCADE')", '"Big Table", the column mood: 50 values'),
    "delete": ("op.execute('DELETE FROM past.events WHERE id = 1')", "past.events, rows: 2 rows"),
    "truncate": ("op.execute('TRUNCATE past.events')", "past.events, rows: 2 rows"),
    "delete in a query": (
        "op.execute('WITH gone AS (DELETE FROM past.events RETURNING id) INSERT INTO kept SELECT id FROM gone')",
        "past.events, rows: 2 rows",
    ),
    "partition": ("op.execute('DROP TABLE part_1')", "part, the partition part_1: 1 row"),
    "narrower number": (
        "op.alter_column('Big Table', 'price', type_=sa.Integer(), postgresql_using='price::int')",
        '"Big Table", what does not fit into price as integer any more: 50 values',
    ),
    "date": (
        "op.execute('ALTER TABLE \"Big Table\" ALTER at TYPE date')",
        '"Big Table", what does not fit into at as date any more: 50 values',
    ),
    "text to varchar": (
        'op.execute(\'ALTER TABLE "Big Table" ALTER "a b" TYPE varchar(4) USING left("a b", 4)\')',
        '"Big Table", what does not fit into "a b" as character varying(4) any more: 50 values',
    ),
    "enum value": (
        """
op.execute('ALTER TABLE "Big Table" ALTER mood DROP DEFAULT')
op.execute('ALTER TYPE mood RENAME TO old_mood')
op.execute("CREATE TYPE mood AS ENUM ('glad', 'so so')")
op.execute('ALTER TABLE "Big Table" ALTER mood TYPE mood USING (nullif(mood::text, $$sad$$))::mood')
op.execute('DROP TYPE old_mood')
""",
        '"Big Table", the values {sad} of mood: 50 values',
    ),
}
KEEPS = {
    "renamed table": "op.rename_table('kept', 'other')",
    "renamed column": "op.alter_column('Big Table', 'a b', new_column_name='text')",
    "renamed value": "op.execute(\"ALTER TYPE mood RENAME VALUE 'sad' TO 'down'\")",
    "wider": "op.alter_column('Big Table', 'price', type_=sa.Numeric(12, 3))",
    "as text": "op.execute('ALTER TABLE \"Big Table\" ALTER price TYPE text')",
    "computed column": "op.drop_column('Big Table', 'small')",
    "empty column": "op.drop_column('Big Table', 'empty')",
    "empty table": "op.drop_table('kept')",
    "materialized view": "op.execute('DROP MATERIALIZED VIEW sums')",
    "unused value": LOSSES["enum value"][0]
    .replace("'so so'", "'sad'")
    .replace("nullif(mood::text, $$sad$$)", "mood::text"),
    "own table": "op.execute('CREATE TABLE t (id int)'); op.execute('INSERT INTO t VALUES (1)'); op.execute('DROP TABLE t')",
}


@pytest.fixture
def full(bare: Workshop, database: Dsn) -> Workshop:
    """A database whose tables hold rows."""
    bare.write("0001_schema", SCHEMA)
    assert bare.migrate().returncode == 0
    rows_of(database, ROWS)
    return bare


def pending(tree: Workshop, change: str, extra: str = "") -> None:
    """Write a revision and seal it."""
    tree.write("0002_change", change, extra=extra, after="0001_schema")
    ended = tree.migrate("seal")
    assert ended.returncode == 0, ended.stderr


@pytest.mark.parametrize("kind", LOSSES)
def test_what_holds_something_is_refused(full: Workshop, database: Dsn, kind: str) -> None:
    """Whatever takes it away and however small it is; the refusal says what and how much, and nothing is touched."""
    change, told = LOSSES[kind]
    pending(full, change)
    ended = full.migrate()
    assert ended.returncode == 3, ended.stderr
    assert ended.stderr.startswith("upgrade stopped: 0002_change would destroy data\n")
    assert f"destroys-data: {told}\n" in ended.stderr
    assert rows_of(database, 'SELECT count(*), count("a b"), count(mood) FROM "Big Table"') == [(50, 50, 50)]
    assert f"destroys-data: {told}" in full.migrate("plan").stdout


@pytest.mark.parametrize("kind", KEEPS)
def test_what_keeps_everything_runs(full: Workshop, kind: str) -> None:
    """What is renamed, wider, computed or empty is no loss."""
    pending(full, KEEPS[kind])
    ended = full.migrate()
    assert ended.returncode == 0, ended.stderr


@pytest.mark.parametrize(
    "key",
    ["destroys-data", "destroys-data:past.events", "destroys-data:past.events:table"],
    ids=["all", "table", "loss"],
)
def test_accepted_it_runs(full: Workshop, database: Dsn, key: str) -> None:
    """With a reason in the file, for all, for one table or for one loss."""
    pending(
        full, "op.execute('DROP TABLE past.events')", extra=f"accepted_hazards = {{{key!r}: 'moved to the archive'}}\n"
    )
    ended = full.migrate()
    assert ended.returncode == 0, ended.stderr
    assert rows_of(database, "SELECT to_regclass('past.events')") == [(None,)]


def test_settings_say_whether_it_is_refused(full: Workshop) -> None:
    """MIGRATE_HAZARDS=warn says what goes and goes on."""
    pending(full, "op.execute('DROP TABLE past.events')")
    ended = full.migrate(MIGRATE_HAZARDS="warn")
    assert ended.returncode == 0
    assert "destroys-data: past.events, all rows and columns: 2 rows, and it runs all the same" in ended.stderr


def test_every_account_tells_it(full: Workshop) -> None:
    """`seal` names it with the way out, `status` names it with the pending revision, `plan --json` how much is there."""
    full.write("0002_change", "op.drop_column('Big Table', 'a b')", after="0001_schema")
    sealed = full.migrate("seal").stdout
    assert 'It takes away the column "a b" of "Big Table"' in sealed
    [status] = json.loads(full.migrate("status", "--json").stdout)["pending"]
    token = 'destroys-data:"Big Table":column "a b"'
    assert token in status["hazards"]
    assert status["lost"] == {token: "50 values"}
    assert 'destroys-data of "Big Table" (the column "a b": 50 values)' in full.migrate("status").stdout
    [planned] = json.loads(full.migrate("plan", "--json").stdout)["pending"]
    [hazard] = [one for one in planned["hazards"] if one["slug"] == "destroys-data"]
    assert (hazard["lost"], hazard["table"]) == ("50 values", '"Big Table"')


def test_where_nothing_is_there_it_runs(full: Workshop, database: Dsn) -> None:
    """Empty tables lose nothing, whatever goes."""
    pending(full, "op.execute('DROP TABLE past.events')")
    rows_of(database, 'TRUNCATE "Big Table", past.events, part')
    assert full.migrate().returncode == 0
