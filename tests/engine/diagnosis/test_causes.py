"""What PostgreSQL refuses has a cause that can be said: whose trigger, which limit, which table, which line, which role."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator

import psycopg2
import pytest
from psycopg2.extensions import connection as Connection

from railhead.diagnosis import messages
from railhead.dsn import Dsn
from railhead.errors import Stop
from railhead.postgres.connection import fetch_value
from tests.databases import rows_of
from tests.forked_tree import Workshop

NOTE = "op.create_table('note', sa.Column('id', sa.Integer))"


def ends_with(ended: subprocess.CompletedProcess[str], slug: str) -> str:
    """Return what a command has told, when it ends with this slug and no traceback."""
    assert "Traceback" not in ended.stderr
    assert f"[{slug}]" in ended.stderr, ended.stderr
    return ended.stderr


def refusal(connection: Connection, *statements: str) -> Stop:
    """Return what is told of the error that the last of these statements ends with, outside of any migration."""
    with connection.cursor() as cursor, pytest.raises(psycopg2.Error) as caught:
        cursor.execute(";".join(statements))
    with_another = psycopg2.connect(connection.dsn)
    try:
        return messages.refused(
            caught.value, "unchanged", ask=lambda sql, values: fetch_value(with_another, sql, values), again="again"
        )
    finally:
        with_another.close()


FORBIDS = """
CREATE FUNCTION {name}() RETURNS event_trigger LANGUAGE plpgsql AS $$BEGIN RAISE EXCEPTION 'no DDL here'; END$$;
CREATE EVENT TRIGGER {trigger} ON ddl_command_start EXECUTE FUNCTION {name}();
"""


@pytest.mark.parametrize("trigger", ["no_ddl", '"No DDL"'])
def test_an_event_trigger_is_named(bare: Workshop, database: Dsn, trigger: str) -> None:
    """With how to switch it off for as long as this takes; typed literally, the run goes on."""
    rows_of(database, FORBIDS.format(name="watch", trigger=trigger))
    bare.write("0001_first", NOTE)
    told = ends_with(bare.migrate(), "event-trigger")
    assert f"the event trigger {trigger} refuses it" in told
    off, on = re.findall(r"ALTER EVENT TRIGGER .*;", told)
    rows_of(database, off)
    assert bare.migrate().returncode == 0
    rows_of(database, on)


def test_an_event_trigger_is_named_for_a_revision_too(bare: Workshop, database: Dsn) -> None:
    """It stands in the way of the second revision only."""
    bare.write("0001_first", NOTE)
    assert bare.migrate().returncode == 0
    rows_of(database, FORBIDS.format(name="watch", trigger="no_ddl"))
    bare.write("0002_second", "op.add_column('note', sa.Column('n', sa.Integer))")
    assert "ALTER EVENT TRIGGER no_ddl DISABLE;" in ends_with(bare.migrate(), "event-trigger")


def test_a_limit_of_the_role_is_told_as_one(connection: Connection) -> None:
    """Its statement_timeout ends what the engine asks; the message says how to lift it."""
    stop = refusal(connection, "SET statement_timeout = '20ms'", "SELECT pg_sleep(5)")
    assert stop.slug == "statement-timeout"
    assert re.search(r"ALTER ROLE \S+ IN DATABASE \S+ SET statement_timeout = 0;", stop.next_step)


def test_a_search_path_without_a_schema_is_told_as_one(connection: Connection) -> None:
    """Whoever meets it first."""
    stop = refusal(connection, "SET search_path = absent", "CREATE TABLE x (a int)")
    assert (stop.slug, "SET search_path = public;" in stop.next_step) == ("search-path", True)


@pytest.mark.parametrize("column", ["attempts", "error", "duration_ms"])
def test_a_column_that_the_ledger_lacks_is_given_back(bare: Workshop, database: Dsn, column: str) -> None:
    """The statement that gives it back is in the message, and typed literally it does."""
    bare.write("0001_first", NOTE)
    assert bare.migrate().returncode == 0
    rows_of(database, f"ALTER TABLE migration_ledger DROP COLUMN {column}")
    bare.write("0002_second", "op.add_column('note', sa.Column('n', sa.Integer))")
    told = ends_with(bare.migrate(), "own-table")
    assert f"migration_ledger lacks the column {column}" in told
    rows_of(database, re.findall(r"ALTER TABLE migration_ledger ADD COLUMN .*;", told)[0])
    assert bare.migrate().returncode == 0
    assert rows_of(database, "SELECT count(*) FROM migration_ledger WHERE outcome = 'applied'") == [(2,)]


def test_a_ledger_of_another_tool_is_told_as_one(bare: Workshop, database: Dsn) -> None:
    """It has none of the columns."""
    rows_of(database, "CREATE TABLE migration_ledger (entry text)")
    bare.write("0001_first", NOTE)
    assert "give this one a schema of its own" in ends_with(bare.migrate(), "own-table")


SWALLOWED = {
    "caught": "try:\n    op.execute('create index ix_note on note (absent)')\nexcept Exception:\n    pass",
    "suppressed": "from contextlib import suppress\nwith suppress(Exception):\n    op.execute('create index ix_note on note (absent)')",
    "by the driver": "cursor = op.get_bind().connection.cursor()\ntry:\n    cursor.execute('create index ix_note on note (absent)')\nexcept Exception:\n    pass",
}


@pytest.mark.parametrize("way", SWALLOWED)
@pytest.mark.parametrize(
    "after", ["op.execute('create table sw (a int)')", ""], ids=["a statement follows", "nothing follows"]
)
def test_a_swallowed_error_is_told_with_its_own_line(bare: Workshop, way: str, after: str) -> None:
    """And not that of the innocent statement behind it; with how a transaction survives what may fail."""
    bare.write("0001_first", NOTE)
    path = bare.write("0002_second", f"{SWALLOWED[way]}\n{after}")
    line = next(n for n, text in enumerate(path.read_text().splitlines(), 1) if "ix_note" in text)
    told = ends_with(bare.migrate(), "undefined-object")
    assert f"0002_second.py, line {line}\n" in told
    assert 'column "absent" does not exist (SQLSTATE 42703)' in told
    assert "25P02" not in told
    assert "with op.get_bind().begin_nested(): ..." in told


def test_a_savepoint_keeps_the_transaction_alive(bare: Workshop) -> None:
    """What the message advises works: what failed in it aborts nothing."""
    bare.write("0001_first", NOTE)
    bare.write(
        "0002_second",
        "try:\n    with op.get_bind().begin_nested():\n        op.execute('create index ix_note on note (absent)')\nexcept Exception:\n    pass\n"
        "op.execute('create table sw (a int)')",
    )
    assert bare.migrate().returncode == 0


def test_the_version_of_another_application_is_told_as_one(bare: Workshop, database: Dsn) -> None:
    """By upgrade, status and doctor; what is advised, typed literally, lets both live, and loses neither version nor row."""
    bare.write("0001_first", NOTE)
    assert bare.migrate().returncode == 0
    rows_of(database, "INSERT INTO alembic_version VALUES ('9f8e7d6c5b4a'); INSERT INTO note VALUES (1)")
    told = ends_with(bare.migrate(), "unknown-version")
    assert "another application keeps its version in the same table" in told
    for command in ("status", "doctor"):
        assert "another application keeps its version in the same table" in bare.migrate(command).stdout
    bare.write("0002_second", "op.add_column('note', sa.Column('n', sa.Integer))")
    statements = re.findall(r"(?:CREATE TABLE|INSERT INTO) .*;|DELETE FROM .*'0001_first'.*;", told)
    rows_of(database, "\n".join(statements))
    ini = bare.root / "alembic.ini"
    before = ini.read_text()
    ini.write_text(before.replace("[railhead]", "[railhead]\nversion_table = alembic_version_app"))
    ended = bare.migrate()
    ini.write_text(before)
    assert ended.returncode == 0
    assert rows_of(database, "SELECT version_num FROM alembic_version") == [("9f8e7d6c5b4a",)]
    assert rows_of(database, "SELECT version_num FROM alembic_version_app") == [("0002_second",)]
    assert rows_of(database, "SELECT id, n FROM note") == [(1, None)]


@pytest.fixture
def weird(database: Dsn) -> Iterator[str]:
    """A role that may make tables, and owns nothing."""
    role = f"weird_{database.parameters()['dbname'][-8:]}"
    rows_of(database, f"CREATE ROLE {role}; GRANT ALL ON SCHEMA public TO {role}")
    yield role
    rows_of(database, f"REVOKE ALL ON SCHEMA public FROM {role}; DROP OWNED BY {role}; DROP ROLE {role}")


@pytest.mark.parametrize("words", ["set role {}", 'SET ROLE "{}"', "set local role {}", "set session authorization {}"])
def test_a_role_that_a_revision_leaves_in_force_is_told(bare: Workshop, weird: str, words: str) -> None:
    """The right remedy is to give it back, and no grant; what it may not do itself is granted to it, and not to the login."""
    bare.write("0001_first", NOTE)
    bare.write("0002_second", f"op.execute({words.format(weird)!r})\nop.execute('create table of_weird (a int)')")
    told = ends_with(bare.migrate(), "missing-privilege")
    assert f"works as {weird} and leaves that in force" in told
    assert 'op.execute("RESET ROLE")' in told
    assert "GRANT" not in told
    bare.write(
        "0002_second",
        f"op.execute({words.format(weird)!r})\nop.execute('insert into note values (1)')",
        after="0001_first",
    )
    assert f"ON note TO {weird};" in ends_with(bare.migrate(), "missing-privilege")
