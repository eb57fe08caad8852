"""A footprint tells what PostgreSQL did, not what the SQL looks like."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import psycopg2
import pytest

from railhead.devserver.scratch import PREFIX
from railhead.dsn import Dsn
from railhead.hazards import replay, rules, unseen
from railhead.hazards.footprint import BLOCKS_WRITES, EXCLUSIVE, Footprint, Statement
from railhead.schema import catalog
from tests.databases import rows_of
from tests.footprints import SCHEMA, footprints_of
from tests.processes import eventually

Replayed = Callable[..., Footprint]

REVISION = """
import sqlalchemy as sa
from alembic import op

revision = "0002_it"
down_revision = "0001_schema"

def upgrade():
{upgrade}

def downgrade():
{downgrade}
"""


def lines(code: str) -> str:
    """Return code as the body of a function."""
    return "\n".join(f"    {line}" for line in code.strip().splitlines())


@pytest.fixture
def replayed(server: Dsn, tmp_path: Path) -> Replayed:
    """Replays a revision on top of the examples' schema, and of what is `prepared` there."""

    def run(upgrade: str, downgrade: str = "pass", prepared: str = "SELECT") -> Footprint:
        begin = "def upgrade() -> None:\n"
        prepares = f"{begin}    op.execute({' '.join(prepared.split())!r})\n"
        (tmp_path / SCHEMA.name).write_text(SCHEMA.read_text().replace(begin, prepares))
        (tmp_path / "0002_it.py").write_text(REVISION.format(upgrade=lines(upgrade), downgrade=lines(downgrade)))
        _, [footprint] = footprints_of(server, tmp_path)
        return footprint

    return run


def only(footprint: Footprint) -> Statement:
    """Return the one statement of a footprint."""
    [statement] = footprint.statements
    return statement


def sql(statement: str) -> str:
    """Return the call that runs a statement."""
    return f"op.execute({statement!r})"


def outside(statement: str) -> str:
    """Return the block that runs a statement outside the transaction."""
    return f"with op.get_context().autocommit_block():\n    {sql(statement)}"


@pytest.mark.parametrize(
    ("statement", "table"),
    [
        ("ALTER TABLE task ALTER price TYPE bigint", "task"),
        ("ALTER TABLE task ADD token uuid DEFAULT gen_random_uuid()", "task"),
        ("ALTER TABLE task SET UNLOGGED", "task"),
        ("CLUSTER task USING pk_task", "task"),
    ],
)
def test_a_rewriting_is_seen(replayed: Replayed, statement: str, table: str) -> None:
    """Whatever copies a table is seen, with or without a word from the server."""
    assert only(replayed(sql(statement))).rewritten == (table,)


@pytest.mark.parametrize(
    "statement",
    ["ALTER TABLE task ADD done boolean DEFAULT false", "ALTER TABLE task ALTER title TYPE varchar", "TRUNCATE task"],
)
def test_what_copies_nothing_is_no_rewriting(replayed: Replayed, statement: str) -> None:
    """A constant default, a wider type and a TRUNCATE rewrite nothing."""
    footprint = only(replayed(sql(statement)))
    assert (footprint.rewritten, footprint.indexed) == ((), ())


def test_index_that_is_kept_is_not_read(replayed: Replayed) -> None:
    """A wider type of an indexed column takes a lock on the table to keep its index, and reads nothing."""
    prepared = "CREATE TABLE u (s varchar(20)); CREATE INDEX ON u (s)"
    assert only(replayed(sql("ALTER TABLE u ALTER s TYPE varchar(40)"), prepared=prepared)).scanned == ()


def test_words_in_a_literal_are_no_columns(replayed: Replayed) -> None:
    """A rule for a new column may speak of anything in quotes: what the previous release writes it does not reject."""
    footprint = replayed(sql("ALTER TABLE task ADD kind text, ADD CHECK (kind IN ('title', 'it''s price'))"))
    assert [one for one in rules.findings(footprint) if one.slug == "may-reject-writes"] == []


@pytest.mark.parametrize(
    "statement",
    [
        "ALTER TABLE task ADD CHECK (CASE WHEN price > 1 THEN title <> '' ELSE true END)",
        "CREATE UNIQUE INDEX once ON task ((CASE WHEN price > 1 THEN title ELSE NULL END))",
        "ALTER TABLE task ADD EXCLUDE USING btree ((CASE WHEN price > 1 THEN title ELSE NULL END) WITH =)",
    ],
)
def test_a_rule_of_several_lines_is_read_whole(replayed: Replayed, statement: str) -> None:
    """PostgreSQL breaks the lines of a CASE: what a rule is about stands on any of them."""
    found = [one for one in rules.findings(replayed(sql(statement))) if one.slug == "may-reject-writes"]
    assert [one.table for one in found] == ["task"]


def test_vacuum_full_is_seen_outside(replayed: Replayed) -> None:
    """VACUUM FULL refuses to run inside a transaction, and is seen by the new file that it leaves."""
    footprint = replayed(outside("VACUUM FULL task"))
    assert only(footprint).rewritten == ("task",)
    assert [str(one.slug) for one in rules.findings(footprint)] == ["rewrites-table"]


def test_locks_of_a_statement_alone_are_seen(replayed: Replayed) -> None:
    """The locks of a statement in autocommit are gone when it has ended; they are seen all the same."""
    statement = only(replayed(outside("CREATE INDEX plain ON task (title)"), outside("DROP INDEX plain")))
    assert statement.held["task"] >= BLOCKS_WRITES
    assert statement.alone


def test_concurrently_blocks_nobody(replayed: Replayed) -> None:
    """CREATE INDEX CONCURRENTLY is no lock that others wait for."""
    statement = only(replayed(outside("CREATE INDEX CONCURRENTLY soft ON task (title)"), outside("DROP INDEX soft")))
    assert statement.indexed == (("soft", "task"),)
    assert statement.held == {}


@pytest.mark.parametrize(
    ("statement", "written"),
    [
        ("UPDATE task SET price = 1", ("task",)),
        ("DELETE FROM task WHERE price = 1", ("task",)),
        ("INSERT INTO task (title) SELECT name FROM member", ("task",)),
        ("INSERT INTO member (name) VALUES ('Ada'), ('Grace')", ()),
        ("SELECT count(*) FROM task", ()),
    ],
)
def test_rows_written(replayed: Replayed, statement: str, written: tuple[str, ...]) -> None:
    """Changes of rows are seen on an empty table; rows that are inserted one by one do not count."""
    assert only(replayed(sql(statement))).written == written


@pytest.mark.parametrize(
    ("statements", "written"),
    [
        (["INSERT INTO member (name) VALUES ('Ada')", "UPDATE member SET name = 'x' WHERE id = 77"], ("member",)),
        (["INSERT INTO member (name) VALUES ('Ada')", "DELETE FROM member WHERE name = 'Grace'"], ("member",)),
        (["INSERT INTO member (name) VALUES ('Ada')", "SELECT count(*) FROM member"], ()),
        (["INSERT INTO member (name) VALUES ('Ada')", "UPDATE task SET price = 1"], ("task",)),
        (["DELETE FROM member"], ("member", "note", "remark")),
    ],
)
def test_rows_written_that_a_scratch_database_has_not(
    replayed: Replayed, statements: list[str], written: tuple[str, ...]
) -> None:
    """Behind an INSERT whose lock is there already, and in the tables into which a DELETE cascades, writing is seen."""
    prepared = """
        CREATE TABLE note (id int PRIMARY KEY, member int); CREATE TABLE remark (note int REFERENCES note ON DELETE SET NULL)
    """
    refers = "ALTER TABLE note ADD FOREIGN KEY (member) REFERENCES member ON DELETE CASCADE"
    if statements[0].startswith("DELETE"):
        statements = [refers, *statements]
        written = tuple(sorted(written))
    footprint = replayed("\n".join(map(sql, statements)), prepared=prepared)
    assert footprint.statements[-1].written == written


@pytest.mark.parametrize(
    ("before", "statements", "written"),
    [
        (["INSERT INTO kind VALUES ('second'), ('third')"], ["INSERT INTO kind VALUES ('fourth')"], [()]),
        (["INSERT INTO kind VALUES ('second')", "DELETE FROM kind"], ["INSERT INTO kind VALUES ('fourth')"], [()]),
        (
            ["UPDATE kind SET name = name"],
            ["UPDATE other SET n = 1", "INSERT INTO kind VALUES ('fifth')"],
            [("other",), ()],
        ),
        (["SELECT * FROM kind", "INSERT INTO kind VALUES ('b')"], ["INSERT INTO kind SELECT 'c'"], [()]),
        (["INSERT INTO kind VALUES ('b')"], ["DELETE FROM kind WHERE name = 'nobody'"], [("kind",)]),
    ],
)
def test_what_revisions_before_have_written_is_not_counted_again(
    server: Dsn, tmp_path: Path, before: list[str], statements: list[str], written: list[tuple[str, ...]]
) -> None:
    """The server counts through a session: a revision is blamed for its own rows only, whatever was replayed in it before."""
    first = ["CREATE TABLE kind (name text PRIMARY KEY)", "CREATE TABLE other (n int)", "INSERT INTO kind VALUES ('a')"]
    for number, made in enumerate([first, before, statements], start=1):
        text = REVISION.format(upgrade=lines("\n".join(map(sql, made))), downgrade="    pass")
        parent = repr(f"r{number - 1}") if number > 1 else "None"
        text = text.replace('"0002_it"', f'"r{number}"').replace('"0001_schema"', parent)
        (tmp_path / f"r{number}.py").write_text(text)
    *_, last = footprints_of(server, tmp_path, ["r1", "r2", "r3"])[1]
    assert [statement.written for statement in last.statements] == written


@pytest.mark.parametrize(
    ("statements", "told"),
    [
        (["ALTER TABLE note ADD CONSTRAINT f FOREIGN KEY (member) REFERENCES kin"], [("f", "note")]),
        (
            ["ALTER TABLE other ADD x int", "ALTER TABLE note ADD CONSTRAINT f FOREIGN KEY (member) REFERENCES kin"],
            [("f", "note")],
        ),
        (
            [
                "ALTER TABLE note ADD CONSTRAINT f FOREIGN KEY (member) REFERENCES kin NOT VALID",
                "ALTER TABLE note VALIDATE CONSTRAINT f",
            ],
            [("f", "note")],
        ),
    ],
)
def test_a_foreign_key_of_that_name_that_stands_already_is_not_meant(
    replayed: Replayed, statements: list[str], told: list[tuple[str, str]]
) -> None:
    """The server names no table: of several foreign keys with one name the one that was just checked is told."""
    prepared = """
        CREATE TABLE kin (id bigint PRIMARY KEY); CREATE TABLE note (member bigint);
        CREATE TABLE other (member bigint, CONSTRAINT f FOREIGN KEY (member) REFERENCES kin)
    """
    footprint = replayed("\n".join(map(sql, statements)), prepared=prepared)
    assert [key for statement in footprint.statements for key in statement.foreign_keys] == told


@pytest.mark.parametrize(
    "statement",
    [
        "ALTER TABLE note RENAME CONSTRAINT note_member TO fk_note_member",
        "ALTER TABLE note DROP CONSTRAINT note_member, ADD CONSTRAINT again FOREIGN KEY (member) REFERENCES kin (id) ON DELETE CASCADE",
        "ALTER TABLE note ADD CONSTRAINT twice FOREIGN KEY (member) REFERENCES kin (id) NOT VALID",
        "ALTER TABLE note RENAME CONSTRAINT short TO ck_note_short",
        "ALTER TABLE note ADD CONSTRAINT uq_note UNIQUE USING INDEX note_code",
        "ALTER INDEX note_code RENAME TO ux_note_code",
        "ALTER TABLE note DROP CONSTRAINT mail, ADD CONSTRAINT mails EXCLUDE USING btree (mail WITH =)",
    ],
)
def test_a_rule_that_stands_already_rejects_nothing_new(replayed: Replayed, statement: str) -> None:
    """Another name, another action on delete, or a constraint instead of its index rejects no write that was right until now."""
    prepared = """
        CREATE TABLE kin (id bigint PRIMARY KEY);
        CREATE TABLE note (member bigint, code text, mail text, CONSTRAINT mail EXCLUDE USING btree (mail WITH =),
            CONSTRAINT note_member FOREIGN KEY (member) REFERENCES kin (id), CONSTRAINT short CHECK (code <> ''));
        CREATE UNIQUE INDEX note_code ON note (code)
    """
    found = rules.findings(replayed(sql(statement), prepared=prepared))
    assert [finding for finding in found if finding.slug == "may-reject-writes"] == []


@pytest.mark.parametrize(
    ("statements", "told"),
    [
        (["ALTER TABLE note ADD x bigint REFERENCES kin"], ("kin", "note")),
        (["ALTER TABLE note ADD x int", "CREATE TABLE leaf (kin bigint REFERENCES kin)"], ("kin", "note")),
        (["CREATE TABLE leaf (kin bigint REFERENCES kin)", "ALTER TABLE note ADD x int"], ("note", "kin")),
        (["CREATE TABLE leaf (kin bigint REFERENCES kin, note bigint)"], None),
        (["ALTER TABLE note ADD x int", "UPDATE kin SET id = 1"], None),
    ],
)
def test_locks_on_other_tables_than_its_own(
    replayed: Replayed, statements: list[str], told: tuple[str, str] | None
) -> None:
    """A lock that a foreign key takes on the table it refers to, while another table stands still, is a link of the chain."""
    prepared = """
        CREATE TABLE kin (id bigint PRIMARY KEY); CREATE TABLE note (kin bigint REFERENCES kin)
    """
    found = rules.findings(replayed("\n".join(map(sql, statements)), prepared=prepared))
    chains = [(finding.table, finding.thing) for finding in found if finding.slug == "long-lock-chain"]
    assert chains == ([told] if told else [])


@pytest.mark.parametrize("rule", ["ADD CHECK (VALUE <> '')", "SET NOT NULL"])
def test_a_rule_of_a_domain_is_checked_under_a_lock(replayed: Replayed, rule: str) -> None:
    """A new rule of a domain reads every table that uses it while they cannot be written, without a word from the server."""
    footprint = replayed(
        sql(f"ALTER DOMAIN word {rule}"), prepared="CREATE DOMAIN word AS text; CREATE TABLE d (it word)"
    )
    assert [str(one) for one in rules.findings(footprint) if one.hazard.blocking] == ["scans-under-lock: d"]


@pytest.mark.parametrize(
    ("kinds", "told"),
    [
        (("timestamp", "timestamptz"), True),
        (("timestamptz", "timestamp"), True),
        (("timestamp(3)", "timestamp"), False),
    ],
)
def test_a_time_zone_rewrites_where_it_is_not_utc(replayed: Replayed, kinds: tuple[str, str], told: bool) -> None:
    """A scratch database, which is in UTC, need not rewrite for a time zone; the databases that it stands for may have to."""
    footprint = replayed(sql(f"ALTER TABLE e ALTER at TYPE {kinds[1]}"), prepared=f"CREATE TABLE e (at {kinds[0]})")
    assert ("rewrites-table: e" in [str(one) for one in rules.findings(footprint)]) == told


def test_an_update_behind_an_alter_table_is_seen(replayed: Replayed) -> None:
    """A strong lock that is there already does not hide the rows that are written."""
    footprint = replayed("op.add_column('task', sa.Column('x', sa.Integer()))\n" + sql("UPDATE task SET x = 1"))
    assert [statement.written for statement in footprint.statements] == [(), ("task",)]
    assert footprint.statements[0].taken == {"task": EXCLUSIVE}


def test_new_tables_are_nobodys_business(replayed: Replayed) -> None:
    """What happens to a table that the revision itself has made leaves no footprint."""
    footprint = replayed(
        "op.create_table('x', sa.Column('id', sa.Integer(), primary_key=True))\nop.create_index('ix', 'x', ['id'])",
        "op.drop_table('x')",
    )
    assert all(statement.held == {} and statement.indexed == () for statement in footprint.statements)


def test_a_partition_counts_as_its_table(replayed: Replayed) -> None:
    """What is done to partitions is told of the table that they are parts of."""
    prepared = """
        CREATE TABLE log (at date, text text) PARTITION BY RANGE (at);
        CREATE TABLE log_1 PARTITION OF log FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');
        CREATE TABLE log_2 PARTITION OF log FOR VALUES FROM ('2025-01-01') TO ('2026-01-01')
    """
    footprint = replayed(sql("ALTER TABLE log ALTER text TYPE int USING 1"), prepared=prepared)
    assert only(footprint).rewritten == ("log",)
    assert set(only(footprint).held) == {"log"}


def test_tables_of_one_name_in_two_schemas_are_told_apart(replayed: Replayed) -> None:
    """The server names no schema; the one that is locked is meant."""
    prepared = "CREATE SCHEMA archive; CREATE TABLE archive.task (id int)"
    footprint = replayed(sql("ALTER TABLE archive.task ALTER id TYPE bigint"), prepared=prepared)
    assert only(footprint).rewritten == ("archive.task",)


def test_odd_names_are_told_as_sql_writes_them(replayed: Replayed) -> None:
    """Capitals, blanks and quotes in a name survive."""
    footprint = replayed(
        sql('ALTER TABLE "Odd ""one"", 1" ALTER id TYPE bigint'), prepared='CREATE TABLE "Odd ""one"", 1" (id int)'
    )
    assert only(footprint).rewritten == ('"Odd ""one"", 1"',)


def test_a_table_that_the_revision_renames_keeps_its_name(replayed: Replayed) -> None:
    """Footprints speak of tables as they were called before the revision."""
    footprint = replayed("op.rename_table('task', 'job')\n" + sql("ALTER TABLE job ALTER price TYPE bigint"))
    assert footprint.statements[1].rewritten == ("task",)


@pytest.mark.parametrize(
    ("upgrade", "downgrade", "told"),
    [
        ("op.add_column('task', sa.Column('x', sa.Integer()))", "op.drop_column('task', 'x')", None),
        ("op.add_column('task', sa.Column('x', sa.Integer()))", "pass", "its downgrade leaves column task.x added"),
        ("op.add_column('task', sa.Column('x', sa.Integer()))", "raise NotImplementedError", "its downgrade fails: "),
        (
            "op.execute('CREATE TYPE mood AS ENUM ()')\nop.create_table('m', sa.Column('id', sa.Integer()))",
            "op.drop_table('m')",
            "its downgrade leaves enum mood added",
        ),
    ],
)
def test_the_way_back(replayed: Replayed, upgrade: str, downgrade: str, told: str | None) -> None:
    """Whether the downgrade gives back the schema is seen by doing it."""
    undone = replayed(upgrade, downgrade).undone
    assert undone == told if told is None else undone is not None and undone.startswith(told)


ADD, DROP = sql("ALTER TABLE task ADD x int"), sql("ALTER TABLE task DROP x")
TEMPORARY = sql("CREATE TEMPORARY TABLE passing ON COMMIT DROP AS SELECT 1")
ANOTHER = "with op.get_bind().engine.connect() as other:\n    other.execute(sa.text('SELECT 1 FROM task'))"
DEFERRED = "CREATE TABLE knot (id int PRIMARY KEY, other int REFERENCES knot DEFERRABLE INITIALLY DEFERRED)"


@pytest.mark.parametrize(
    ("upgrade", "downgrade"),
    [
        (f"{TEMPORARY}\n{ADD}", f"{DROP}\n{TEMPORARY}"),
        (ADD, f"{DROP}\n{sql('COMMIT')}"),
        (f"{ANOTHER}\n{ADD}", DROP),
        (ADD, f"{ANOTHER}\n{DROP}"),
        (sql("CREATE INDEX a ON task (price)"), outside("DROP INDEX CONCURRENTLY a")),
        (
            f"{sql('ALTER TABLE knot ADD x int')}\n{sql('INSERT INTO knot VALUES (1, 1)')}",
            f"{sql('ALTER TABLE knot DROP x')}\n{sql('DELETE FROM knot')}",
        ),
        (
            f"{sql('SET LOCAL statement_timeout = 0')}\n{ADD}",
            f"{sql('SET LOCAL search_path = pg_catalog, public')}\n{DROP}",
        ),
    ],
    ids=["temporary", "COMMIT", "looks first", "looks back", "concurrently", "deferred", "settings"],
)
def test_the_way_back_is_seen_whatever_becomes_of_the_transaction(
    replayed: Replayed, upgrade: str, downgrade: str
) -> None:
    """What commits, opens a connection or leaves something for the end of its transaction leads back as surely as anything else."""
    assert replayed(upgrade, downgrade, DEFERRED).undone is None


def test_rows_that_the_way_back_leaves_are_in_the_way(replayed: Replayed) -> None:
    """A downgrade that keeps rows is found by applying the revision again."""
    undone = replayed(sql("INSERT INTO knot VALUES (1, 1)"), "pass", DEFERRED).undone
    assert undone is not None
    assert undone.startswith("it cannot be applied again after its downgrade: duplicate key")


@pytest.mark.parametrize(
    ("upgrade", "downgrade", "told"),
    [
        (
            "op.create_index_concurrently('a', 'task', ['title'])\nop.create_index_concurrently('b', 'task', ['price'])",
            "op.drop_index_concurrently('a')\nop.drop_index_concurrently('b')",
            None,
        ),
        (
            "op.add_column('task', sa.Column('x', sa.Integer()))\nop.create_index_concurrently('a', 'task', ['x'])",
            "op.drop_column('task', 'x')",
            "it fails: column",
        ),
        (
            outside("CREATE INDEX CONCURRENTLY a ON task (title)"),
            outside("DROP INDEX a"),
            "it fails: relation",
        ),
        (
            outside("CREATE INDEX CONCURRENTLY IF NOT EXISTS a ON task (title)"),
            outside("DROP INDEX IF EXISTS a"),
            "keeps an INVALID index",
        ),
        (
            outside("ALTER TYPE task_status ADD VALUE IF NOT EXISTS 'late'"),
            "pass",
            None,
        ),
    ],
)
def test_again_from_the_top(replayed: Replayed, upgrade: str, downgrade: str, told: str | None) -> None:
    """Whether a revision that leaves its transaction can run again is seen by crashing it at every point."""
    repeated = replayed(upgrade, downgrade).repeated
    assert repeated == told if told is None else told in str(repeated), repeated


def test_a_revision_that_needs_data_is_replayed(replayed: Replayed) -> None:
    """A revision may ask the database and do what the answer says."""
    footprint = replayed(
        "names = op.get_bind().execute(sa.text('SELECT name FROM member')).scalars().all()\n"
        "for name in names:\n    op.execute(sa.text('INSERT INTO task (title) VALUES (:name)').bindparams(name=name))"
    )
    assert len(footprint.statements) == 1


def test_what_does_not_run_is_named(replayed: Replayed) -> None:
    """A revision that fails on an empty database is named, with PostgreSQL's words."""
    with pytest.raises(replay.Failed, match='0002_it: relation "nowhere" does not exist'):
        replayed(sql("ALTER TABLE nowhere ADD x int"))


def test_no_scratch_database_is_left(replayed: Replayed, server: Dsn) -> None:
    """However a replay ends, its database is gone."""
    with pytest.raises(replay.Failed):
        replayed("raise ValueError")
    eventually(lambda: not _scratch_databases(server), what="scratch databases of this test are gone")


def test_what_a_killed_replay_left_is_swept_up(server: Dsn, tmp_path: Path) -> None:
    """A scratch database that is an hour old and in nobody's use is dropped by the next replay."""
    old = f"{PREFIX}{1:x}_feedbeef"
    with closing(psycopg2.connect(server)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(f'CREATE DATABASE "{old}"')
    (tmp_path / SCHEMA.name).write_text(SCHEMA.read_text())
    footprints_of(server, tmp_path)
    assert old not in _scratch_databases(server)


def _scratch_databases(server: Dsn) -> set[str]:
    found = rows_of(server, "SELECT datname FROM pg_database WHERE starts_with(datname, %s)", [PREFIX])
    return {str(name) for (name,) in found}


def test_branches_that_were_merged_are_replayed(server: Dsn, tmp_path: Path) -> None:
    """A history with branches and a merge is replayed like any other."""
    (tmp_path / SCHEMA.name).write_text(SCHEMA.read_text())
    for name, parent in (("0002_a", "0001_schema"), ("0002_b", "0001_schema"), ("0003_merge", ("0002_a", "0002_b"))):
        work = [f"op.execute({f'{verb} {name[5:]}'!r})" for verb in ("CREATE SCHEMA", "DROP SCHEMA")]
        text = REVISION.format(upgrade=lines(work[0]), downgrade=lines(work[1]))
        text = text.replace('"0002_it"', repr(name)).replace('"0001_schema"', repr(parent))
        (tmp_path / f"{name}.py").write_text(text)
    _, found = footprints_of(server, tmp_path, ["0001_schema", "0002_a", "0002_b", "0003_merge"])
    assert [footprint.undone for footprint in found] == [None] * 4
    assert found[-1].after.definitions.keys() - found[0].after.definitions.keys() == {
        "schema a",
        "schema b",
        "schema merge",
    }


def test_a_plan_that_is_kept_reads_the_same(database: Dsn) -> None:
    """The catalog is the same whether it is read often or once, also after the schema has changed."""
    rows_of(database, "CREATE TABLE one (id int)")
    with closing(psycopg2.connect(database)) as connection:
        connection.autocommit = True
        first = catalog.read(connection, often=True)
        rows_of(database, "ALTER TABLE one ADD x text DEFAULT 'a'; CREATE TYPE mood AS ENUM ('sad')")
        again = catalog.read(connection, often=True)
        assert again == catalog.read(connection) != first


SEED = """
op.execute("CREATE TABLE kind (name text PRIMARY KEY)")
op.execute("INSERT INTO kind VALUES ('old kind')")
"""


@pytest.mark.parametrize(
    ("upgrade", "written"),
    [
        (
            "op.execute(\"INSERT INTO member (name) VALUES ('second')\"); op.execute(\"INSERT INTO member (name) VALUES ('third')\")",
            set(),
        ),
        (
            "op.execute('UPDATE task SET price = 1'); op.execute(\"INSERT INTO member (name) VALUES ('fifth')\")",
            {"task"},
        ),
        ("op.bulk_insert(sa.table('member', sa.column('name')), [{'name': 'a'}, {'name': 'b'}])", set()),
        ("op.execute('INSERT INTO member (name) SELECT title FROM task')", {"member"}),
    ],
    ids=["two rows", "an UPDATE before", "bulk_insert", "as many as another table has"],
)
def test_one_row_is_one_row_whatever_was_done_before(
    server: Dsn, tmp_path: Path, upgrade: str, written: set[str]
) -> None:
    """The server's counters run on from one transaction to the next: only what the statement itself adds counts."""
    shutil.copy(SCHEMA, tmp_path)
    first = "op.execute(\"INSERT INTO member (name) SELECT 'm' FROM generate_series(1, 40)\"); op.execute('DELETE FROM member')"
    (tmp_path / "0002_it.py").write_text(REVISION.format(upgrade=lines(first), downgrade="    pass"))
    third = REVISION.replace("0002_it", "0003_it").replace("0001_schema", "0002_it")
    (tmp_path / "0003_it.py").write_text(third.format(upgrade=lines(upgrade), downgrade="    pass"))
    _, found = footprints_of(server, tmp_path, ["0002_it", "0003_it"])
    statements = found[1].statements
    assert {table for statement in statements for table in statement.written} == written


def test_a_foreign_key_that_stands_already_is_not_found_again(replayed: Replayed) -> None:
    """Of the same name on another table, or checked long ago: only the new one is checked for all rows."""
    prepared = """
        CREATE TABLE note (id int, task_id bigint); CREATE TABLE other (id int PRIMARY KEY);
        CREATE TABLE standing (o int CONSTRAINT who REFERENCES other)
    """
    footprint = replayed(
        sql("ALTER TABLE note ADD CONSTRAINT who FOREIGN KEY (task_id) REFERENCES task"), prepared=prepared
    )
    assert only(footprint).foreign_keys == (("who", "note"),)


@pytest.mark.parametrize(
    ("upgrade", "found"),
    [
        (
            f"{sql('ALTER TABLE member ADD COLUMN x int')}\n{sql('ALTER TABLE here VALIDATE CONSTRAINT positive')}",
            [("scans-under-lock", "here", "(while nobody can write member)")],
        ),
        (
            f"{sql('ALTER TABLE member ADD COLUMN x int')}\n{sql('CREATE INDEX ix ON task (price)')}",
            [("index-blocks-writes", "task", "the index ix")],
        ),
        (sql("ALTER TABLE here VALIDATE CONSTRAINT positive"), []),
    ],
    ids=["validation", "index", "alone"],
)
def test_work_on_one_table_while_another_is_locked_is_told(
    replayed: Replayed, upgrade: str, found: list[tuple[str, str, str]]
) -> None:
    """Locks last until the transaction ends: whoever wants the other table waits for as long as the work takes."""
    footprint = replayed(
        upgrade, prepared="CREATE TABLE here (n int); ALTER TABLE here ADD CONSTRAINT positive CHECK (n > 0) NOT VALID"
    )
    told = [one for one in rules.findings(footprint) if one.slug in {"scans-under-lock", "index-blocks-writes"}]
    assert [(one.slug, one.table) for one in told] == [(slug, table) for slug, table, _ in found]
    assert all(words in one.thing for one, (_, _, words) in zip(told, found, strict=True))


LOOPS = {
    "over a query": "for row in op.get_bind().execute(sa.text('SELECT id FROM task')):\n    op.execute('DELETE FROM task')",
    "over its rows": "rows = op.get_bind().execute(sa.text('SELECT 1')).fetchall()\nfor row in rows:\n    op.get_bind().execute(sa.text('SELECT 2'))",
    "over objects": "session = sa.orm.Session(op.get_bind())\nfor task in session.query(sa.text('1')).all():\n    session.add(task)",
    "in batches": "while op.get_bind().execute(sa.text('SELECT 1')).scalar():\n    op.execute('UPDATE task SET price = 1')",
}


@pytest.mark.parametrize("kind", LOOPS)
def test_what_is_done_for_each_row_is_said_not_to_be_seen(tmp_path: Path, kind: str) -> None:
    """An empty table never enters the loop; one over what stands in the file itself is seen."""
    file = tmp_path / "0002_it.py"
    file.write_text(REVISION.format(upgrade=lines(LOOPS[kind]), downgrade="    pass"))
    assert unseen.loops_over_rows(file)
    file.write_text(
        REVISION.format(upgrade=lines("for name in ('a', 'b'):\n    op.execute(name)"), downgrade="    pass")
    )
    assert unseen.loops_over_rows(file) == []


@pytest.mark.parametrize(
    ("code", "asked"),
    [
        ("for row in op.get_bind().execute(sa.text('SELECT id FROM task')):\n    op.execute('SELECT 1')", ["task"]),
        (
            (
                "bind = op.get_bind()\nids = [row.id for row in bind.execute(sa.text('SELECT id FROM member WHERE id > 1'))]\n"
                "op.bulk_insert(sa.table('task', sa.column('price')), [{'price': each} for each in ids])"
            ),
            ["member"],
        ),
        (
            (
                "result = op.get_bind().execute(sa.text('SELECT id FROM task'))\n"
                "while row := result.fetchone():\n    op.execute(sa.text('DELETE FROM task WHERE id = :id').bindparams(id=row.id))"
            ),
            ["task"],
        ),
        (
            "if op.get_bind().scalar(sa.text('SELECT count(*) FROM task')):\n    op.execute('UPDATE task SET price = 1')",
            ["task"],
        ),
        (
            sql(
                "DO $$ DECLARE r record; BEGIN FOR r IN SELECT id FROM task LOOP UPDATE member SET name = 'x'; END LOOP; END $$"
            ),
            ["task"],
        ),
        (
            (
                "from sqlalchemy.orm import Session\nt = sa.table('task', sa.column('id'))\n"
                "for row in Session(op.get_bind()).execute(sa.select(t)):\n    pass"
            ),
            ["task"],
        ),
        (sql("SELECT rows_of_task()"), ["task"]),
        ("for row in op.get_bind().execute(sa.text('SELECT id FROM full_one')):\n    op.execute('SELECT 1')", []),
        (
            "for row in op.get_bind().execute(sa.text('SELECT relname FROM pg_class LIMIT 3')):\n    op.execute('SELECT 1')",
            [],
        ),
        (sql("SELECT setval('s', (SELECT max(id) FROM task))"), []),
        (sql("CREATE TABLE copy AS SELECT * FROM task"), []),
        (sql("INSERT INTO member (name) SELECT title FROM task"), []),
        (sql("UPDATE task SET price = 1"), []),
        ("op.backfill('task', 'price = 0', 'price IS NULL')", []),
    ],
)
def test_what_is_done_with_rows_that_are_not_there_is_not_seen(replayed: Replayed, code: str, asked: list[str]) -> None:
    """A revision that asks an empty table and goes on with the answer, in Python or in a block, does something that no replay sees."""
    prepared = """
        CREATE SEQUENCE s; CREATE TABLE full_one (id int); INSERT INTO full_one VALUES (1);
        CREATE FUNCTION rows_of_task() RETURNS void LANGUAGE plpgsql AS
            'DECLARE r record; BEGIN FOR r IN SELECT * FROM task LOOP DELETE FROM member; END LOOP; END'
    """
    footprint = replayed(code, prepared=prepared)
    assert [table for statement in footprint.statements for table in statement.asked] == asked


@pytest.mark.parametrize(
    ("statements", "told"),
    [
        (
            ["CREATE TABLE leaf (id bigint REFERENCES task)", "INSERT INTO leaf SELECT id FROM task"],
            "scans-under-lock: task",
        ),
        (["ALTER TABLE member ADD x int", "CREATE TABLE copy AS SELECT * FROM task"], "scans-under-lock: task"),
        (["ALTER TABLE member ADD x int", "INSERT INTO past SELECT id FROM task"], "scans-under-lock: task"),
        (["ALTER TABLE member ADD x int", "INSERT INTO past SELECT id FROM task WHERE id = 7"], None),
        (["ALTER TABLE member ADD x int", "INSERT INTO past VALUES (1)"], None),
        (["INSERT INTO past SELECT id FROM task"], None),
    ],
)
def test_rows_are_read_while_somebody_else_waits(replayed: Replayed, statements: list[str], told: str | None) -> None:
    """A table that is read whole is as long as it is large: for whoever stands before another table that is locked meanwhile, too."""
    found = rules.findings(replayed("\n".join(map(sql, statements)), prepared="CREATE TABLE past (id bigint)"))
    assert [str(finding) for finding in found if finding.slug == "scans-under-lock"] == ([told] if told else [])
