"""What a downgrade or a reset would drop, counted before anybody is asked."""

from __future__ import annotations

import pytest

from railhead.commands import data_loss, reset
from railhead.dsn import Dsn
from railhead.execution import entry
from railhead.hazards import loss_counts
from railhead.settings import Settings
from tests.databases import rows_of
from tests.forked_tree import Workshop

MAKE = "op.create_table('note', sa.Column('id', sa.Integer, primary_key=True))"


def lost(bare: Workshop, target: str = "0001") -> list[str]:
    """Return what `downgrade` says before it asks."""
    ended = bare.migrate("downgrade", target)
    assert (ended.returncode, "[not-agreed]" in ended.stderr) == (2, True), ended.stderr
    return [line for line in ended.stdout.splitlines() if not line.startswith("  downgrade ")]


def test_tables_and_columns_are_counted(settings: Settings, database: Dsn) -> None:
    """Every table that would be dropped is told with its rows, every column with its values, none twice."""
    entry.migrate("upgrade", "head", settings)
    rows_of(database, "INSERT INTO project (name) SELECT 'p' || n FROM generate_series(1, 1200) n")
    rows_of(database, "INSERT INTO task (project_id, title, due_on) SELECT id, 't', '2030-01-01' FROM project LIMIT 7")
    rows_of(database, "INSERT INTO task (project_id, title) SELECT id, 't' FROM project LIMIT 5")
    assert data_loss.of_downgrade(entry.plan("downgrade", "0001", settings), settings) == [
        "will be lost:",
        "  column task.due_on: 7 values",
    ]
    assert data_loss.of_downgrade(entry.plan("downgrade", "base", settings), settings) == [
        "will be lost:",
        "  table sign_in_attempt: 0 rows",
        "  table task: 12 rows",
        "  table member: 0 rows",
        "  table project: 1,200 rows",
    ]


def test_asking_what_is_lost_loses_nothing(settings: Settings, database: Dsn) -> None:
    """The answer is found without running the downgrade."""
    entry.migrate("upgrade", "head", settings)
    data_loss.of_downgrade(entry.plan("downgrade", "base", settings), settings)
    reset.of_reset(settings)
    assert rows_of(database, "SELECT version_num FROM alembic_version") == [("0002_add_task_due_on",)]


@pytest.mark.parametrize(
    ("downgrade", "told"),
    [
        ("op.drop_column('note', 'Odd \"name\"')", '  column note."Odd ""name""": 1 value'),
        ("op.execute('ALTER TABLE Note DROP COLUMN IF EXISTS Plain')", "  column Note.Plain: 1 value"),
        ("op.drop_column('note', 'gone')", "  column note.gone: not there"),
        ("op.execute('DROP TABLE IF EXISTS gone')", "  table gone: not there"),
    ],
)
def test_names_are_read_as_postgresql_reads_them(bare: Workshop, database: Dsn, downgrade: str, told: str) -> None:
    """Quoted, folded and missing names are told for what they are."""
    bare.write("0001_first", MAKE)
    bare.write("0002_second", 'op.execute(\'ALTER TABLE note ADD "Odd ""name""" int, ADD plain int\')', downgrade)
    bare.migrate()
    rows_of(database, "INSERT INTO note VALUES (1, 2, 3)")
    assert lost(bare) == ["will be lost:", told]


SYNC = """
    from alembic_postgresql_enum import TableReference
    column = TableReference(table_schema="public", table_name="note", column_name="kind", existing_server_default="'a'::kind")
    op.sync_enum_values(
        enum_schema="public", enum_name="kind", new_values=["a"], affected_columns=[column], enum_values_to_rename=[]
    )
"""

KEEPING = (
    "op.drop_index('note_id')",
    "op.drop_constraint('few', 'note')",
    "op.alter_column('note', 'id', server_default=None, nullable=True)",
    "op.rename_table('note', 'notes')",
    "op.execute('COMMENT ON TABLE notes IS NULL; CREATE VIEW v AS SELECT 1')",
    'op.execute(\'ALTER TABLE "note"\\n    ALTER COLUMN "id"\\n DROP DEFAULT; ALTER INDEX note_id RENAME TO note_ids\')',
)
LOSING = {
    "op.execute('ALTER TABLE note DROP kind, DROP COLUMN IF EXISTS words CASCADE')": (
        "column note.kind: 1 value", "column note.words: 2 values"
    ),
    "op.execute('ALTER TABLE IF EXISTS ONLY note DROP kind')": ("column note.kind: 1 value",),
    "op.execute('DROP TABLE note, attic.old CASCADE')": ("table note: 2 rows", "table attic.old: 1 row"),
    "op.execute('DROP SCHEMA attic CASCADE')": ("table attic.old: 1 row",),
    "op.execute('DELETE FROM note WHERE id > 1')": ("rows of note: of 2 rows",),
    "op.execute('COMMENT ON TABLE note IS NULL -- don\\'t :)\\n'); op.drop_column('note', 'kind')": ("column note.kind: 1 value",),
    "op.execute(r\"COMMENT ON TABLE note IS E'it\\'s (' /* ' */; ALTER TABLE note /* no */ DROP kind -- (\")": (
        "column note.kind: 1 value",
    ),
    "op.execute('TRUNCATE note, attic.old')": ("rows of note: of 2 rows", "rows of attic.old: of 1 row"),
}  # fmt: skip
UNKNOWN = {
    "op.execute('UPDATE note SET words = NULL')": "UPDATE note SET words = NULL",
    "op.execute('COMMENT ON TABLE note IS NULL; SELECT tidy_up()')": "SELECT tidy_up()",
    "op.execute('CREATE FUNCTION f() RETURNS int LANGUAGE sql AS $$ SELECT 1; $$; DO $$ BEGIN; END $$')": "DO $$ BEGIN; END $$",
    "op.alter_column('note', 'words', type_=sa.String(1))": "ALTER TABLE note ALTER COLUMN words TYPE VARCHAR(1)",
    "op.execute('DROP TYPE kind CASCADE')": "DROP TYPE kind CASCADE",
}


def test_what_a_downgrade_says_of_each_statement(bare: Workshop, database: Dsn) -> None:
    """Nothing is dropped only where every statement keeps what there is; what cannot be judged is shown as it stands."""
    rows_of(
        database,
        "CREATE TABLE note (id int, kind text, words text); INSERT INTO note VALUES (1, 'a', 'b'), (2, NULL, 'c');"
        "CREATE SCHEMA attic; CREATE TABLE attic.old (); INSERT INTO attic.old DEFAULT VALUES",
    )
    bare.write("0001_first")
    bare.write("0002_second")
    bare.alembic("stamp", "0002_second")

    def told(downgrade: str) -> list[str]:
        bare.write("0002_second", downgrade=downgrade, after="0001_first")
        return lost(bare)

    assert told("\n".join(KEEPING)) == ["nothing is dropped"]
    for downgrade, lines in LOSING.items():
        assert told(downgrade) == ["will be lost:", *(f"  {line}" for line in lines)]
    for downgrade, statement in UNKNOWN.items():
        assert told(downgrade) == ["what these lose nobody can tell in advance:", f"  {statement}"]
    together = "\n".join([*KEEPING[:2], *UNKNOWN, *LOSING])
    assert len(told(together)) == 2 + len(UNKNOWN) + 3


def test_values_taken_out_of_an_enum(bare: Workshop, database: Dsn) -> None:
    """Of all that makes the type anew only the statement that writes the rows is for a person to judge."""
    rows_of(database, "CREATE TYPE kind AS ENUM ('a', 'b'); CREATE TABLE note (kind kind DEFAULT 'a')")
    bare.write("0001_first")
    bare.write("0002_second", downgrade=SYNC)
    bare.alembic("stamp", "0002_second")
    assert [one[:61] for one in lost(bare)] == [
        "what these lose nobody can tell in advance:",
        '  ALTER TABLE "public"."note" ALTER COLUMN "kind" TYPE "publi',
    ]


NARROW = """
op.execute("CREATE TABLE words (id int, word text, kind text, noted timestamptz)")
op.execute("CREATE FUNCTION tidy_up() RETURNS void LANGUAGE sql AS $$ DELETE FROM words WHERE id = 1 $$")
"""
SEEN = {
    "op.alter_column('words', 'word', type_=sa.String(1))": [
        "will be lost:", "  what does not fit into word as character varying(1) any more of words: 1 value"
    ],
    "op.alter_column('words', 'noted', type_=sa.DateTime(timezone=True))": ["nothing is dropped"],
    "op.execute('SELECT tidy_up()')": ["will be lost:", "  rows of words: of 2 rows"],
    "op.execute('UPDATE words SET word = NULL')": ["will be lost:", "  rows of words: of 2 rows"],
    "op.execute('DO $$ BEGIN ALTER TABLE words DROP COLUMN kind; END $$')": ["will be lost:", "  column words.kind: 0 values"],
    "op.get_bind().execute(sa.text('SELECT 1')).scalar_one()\nop.drop_table('words')": ["will be lost:", "  table words: 2 rows"],
}  # fmt: skip


def test_what_words_do_not_tell_postgresql_does(bare: Workshop, database: Dsn) -> None:
    """Narrower types, functions, blocks and what asks the database are tried on a scratch database; production has none."""
    bare.write("0001_first", MAKE)
    bare.write("0002_second", NARROW)
    bare.migrate()
    rows_of(database, "INSERT INTO words VALUES (1, 'long', NULL), (2, 'x', NULL)")
    for downgrade, lines in SEEN.items():
        bare.write("0002_second", NARROW, downgrade, after="0001_first")
        assert lost(bare) == lines
    ended = bare.migrate("downgrade", "0001", APP_ENV="production")
    assert "what is lost cannot be told in advance" in ended.stdout


def test_a_merge_is_no_obstacle(bare: Workshop) -> None:
    """A way back over a merge, and to its two parents, is told like any other."""
    bare.write("0001_first", MAKE)
    bare.write("0002_left", "op.execute('CREATE TABLE l ()')", "op.drop_table('l')", after="0001_first")
    bare.write("0002_right", "op.execute('CREATE TABLE r ()')", "op.drop_table('r')", after="0001_first")
    bare.write(
        "0003_merged", "op.execute('CREATE TABLE m ()')", "op.drop_table('m')", after=("0002_left", "0002_right")
    )
    bare.migrate()
    assert lost(bare, "0002_left") == ["will be lost:", "  table m: 0 rows"]
    assert sorted(lost(bare, "0001")) == sorted(["will be lost:", *(f"  table {one}: 0 rows" for one in "mrl")])


@pytest.mark.parametrize(
    "downgrade",
    ["op.get_bind().execute(sa.text('SELECT id FROM note')).all()", "[None][sum(1 for _ in ()) - 2]"],
    ids=["looks at the data", "fails"],
)
def test_a_downgrade_that_looks_at_the_data(bare: Workshop, downgrade: str) -> None:
    """Where it cannot be told in advance, it is said where to read."""
    bare.write("0001_first", MAKE)
    bare.write("0002_second", "pass", downgrade)
    bare.migrate()
    assert lost(bare) == [
        "what is lost cannot be told in advance: these revisions look at the data; read their downgrade()"
    ]


def test_a_large_table_is_not_counted_to_the_end(
    settings: Settings, database: Dsn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the limit on the server's estimate does, and without an estimate the limit itself."""
    monkeypatch.setattr(loss_counts, "COUNT_UP_TO", 10)
    rows_of(database, "CREATE TABLE big WITH (autovacuum_enabled = false) AS SELECT n FROM generate_series(1, 20) n")
    rows_of(database, "UPDATE pg_class SET reltuples = -1 WHERE relname = 'big'")
    assert reset.of_reset(settings) == ["will be lost:", "  table big: more than 10 rows"]
    rows_of(database, "ANALYZE big")
    assert reset.of_reset(settings) == ["will be lost:", "  table big: about 20 rows"]


def test_a_reset_drops_everything_of_ours(settings: Settings, database: Dsn) -> None:
    """After `drop_everything` the database is as new: no schema, table, type or function is left."""
    rows_of(
        database,
        "CREATE SCHEMA other; CREATE TYPE other.mood AS ENUM ('ok'); CREATE TABLE t (); CREATE VIEW v AS TABLE t;"
        "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'; CREATE EXTENSION btree_gist",
    )
    reset.empty_database(settings)
    left = rows_of(
        database,
        "SELECT nspname FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema' UNION ALL "
        "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace UNION ALL "
        "SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace",
    )
    assert left == [("public",)]
