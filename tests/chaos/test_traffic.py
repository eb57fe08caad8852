"""Traffic goes on while a migration waits for it, and the log says who is in the way and what takes so long."""

from __future__ import annotations

import re
import time
from contextlib import closing

import psycopg2
import pytest
from psycopg2.extensions import connection as Connection

from railhead.dsn import Dsn
from tests.chaos import held_revision, server_state
from tests.chaos.pooler import NEEDED, Pooler
from tests.databases import rows_of
from tests.processes import Running, eventually
from tests.project_tree import MIGRATE, Tree

pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")

HELD = 9.0
"""Seconds for which a reader holds the table, counted from when the migration first wants it."""

LONGEST = 0.3
"""Seconds that a client may wait because of a migration."""


@pytest.fixture
def at_first(tree: Tree) -> Tree:
    """A project whose first revision is applied: a table with rows."""
    tree.write(
        "0001_thing",
        "op.execute('CREATE TABLE thing AS SELECT n AS id, n % 7 AS kind FROM generate_series(1, 2000) n')",
    )
    assert tree.migrate().returncode == 0
    return tree


@pytest.mark.alone
def test_client_hardly_waits_behind_a_migration_that_waits_for_a_reader(
    at_first: Tree, database: Dsn, other_session: Connection
) -> None:
    """A client that reads every 20 ms never waits for longer than 0.3 s; the migration succeeds when the reader is done.

    Each miss names who is in the way, but perhaps the first: to look takes a connection. The next revision is gentle again.
    """
    at_first.write("0002_more", "op.add_column('thing', sa.Column('a', sa.Text))")
    at_first.write("0003_next", "op.execute(\"CREATE TABLE next AS SELECT current_setting('lock_timeout') AS l\")")
    reader = _read_on(other_session)
    migrator = at_first.start(*MIGRATE)
    waits = _read_often(database, migrator, other_session)
    assert migrator.wait() == 0, migrator.stderr
    print(f"{len(waits)} reads, the longest wait {max(waits) * 1000:.0f} ms")
    assert max(waits) <= LONGEST
    assert server_state.applied(database) == ["0001_thing", "0002_more", "0003_next"]
    assert rows_of(database, "SELECT l FROM next") == [("100ms",)]
    misses = re.findall("0002_more did not get its locks", migrator.stderr)
    who = rf"0002_more did not get its locks .* in the way: pid {reader}, report, idle in transaction for \d+ s: SELECT \* FROM thing"
    assert len(re.findall(who, migrator.stderr)) >= max(3, len(misses) - 1), migrator.stderr


@pytest.mark.parametrize("behind", ["nothing", pytest.param("pgbouncer", marks=NEEDED)])
def test_waiters_do_not_disturb_an_index_built_concurrently(
    at_first: Tree, database: Dsn, other_session: Connection, behind: str, request: pytest.FixtureRequest
) -> None:
    """While four migrators wait for the lock the index is built: no deadlock, no INVALID index, all end at head."""
    at_first.write("0002_index", "op.create_index_concurrently('thing_kind', 'thing', ['kind'])")
    pooler: Pooler | None = request.getfixturevalue("pooler") if behind == "pgbouncer" else None
    tree = Tree(at_first.root, pooler.dsn(database) if pooler else database)
    try:
        with other_session.cursor() as writer:
            writer.execute("INSERT INTO thing VALUES (0, 0)")  # which the build must wait for
        started = [tree.start(*MIGRATE)]
        eventually(
            lambda: server_state.running(database, "CREATE INDEX CONCURRENTLY"), within=30, what="the index is built"
        )
        started += [tree.start(*MIGRATE) for _ in range(4)]
        eventually(lambda: all("waiting for the migration lock" in one.stderr for one in started[1:]), within=30)
        other_session.commit()
        assert [one.wait() for one in started] == [0] * 5, "\n".join(one.stderr for one in started)
    finally:
        tree.end()
    assert server_state.invalid_indexes(database) == []
    assert server_state.applied(database) == ["0001_thing", "0002_index"]
    assert rows_of(database, "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()") == [(0,)]


@pytest.mark.parametrize(
    "upgrade",
    ["op.add_column('thing', sa.Column('a', sa.Text))", "op.drop_not_null('thing', 'id')"],
    ids=["plain", "verb"],
)
def test_table_that_stays_busy_is_given_up_with_the_name_of_the_blocker(
    at_first: Tree, database: Dsn, other_session: Connection, upgrade: str
) -> None:
    """When MIGRATE_WAIT_LOCK is spent it ends with 4 and names who is in the way; nothing is applied, nobody was ended."""
    at_first.write("0002_more", upgrade)
    reader = _read_on(other_session)
    result = at_first.migrate(MIGRATE_WAIT_LOCK="3s")
    assert result.returncode == 4, result.stderr
    misses, _, told = result.stderr.partition("stopped:")
    who = f"pid {reader}, report, idle in transaction for"
    assert f"in the way: {who}" in misses
    assert who in told
    assert "3 s (MIGRATE_WAIT_LOCK)" in result.stderr
    assert "[table-busy]" in result.stderr
    assert server_state.applied(database) == ["0001_thing"]
    with other_session.cursor() as cursor:
        cursor.execute("SELECT 'still here'")


def test_lock_that_stays_busy_is_given_up_with_the_name_of_the_holder(tree: Tree, database: Dsn) -> None:
    """When MIGRATE_WAIT_LOCK is spent it ends with 4 and names who holds the lock; the holder goes on."""
    names = held_revision.write(tree)
    held_revision.prepare(tree)
    first = tree.start(*MIGRATE)
    held_revision.reached(database)
    holder = server_state.holder(database)
    assert holder is not None
    result = tree.migrate(MIGRATE_WAIT_LOCK="2s")
    assert result.returncode == 4, result.stderr
    assert re.search(rf"holder +pid {holder.pid}, railhead upgrade @ \S+, for \d+ s", result.stderr)
    assert "2 s (MIGRATE_WAIT_LOCK)" in result.stderr
    assert "[lock-busy]" in result.stderr
    held_revision.open_for(database)
    assert first.wait() == 0, first.stderr
    assert server_state.applied(database) == names


def test_long_statement_says_what_it_does(at_first: Tree, database: Dsn, other_session: Connection) -> None:
    """Every few seconds: an index build with its phase, its percent and whom it waits for, another statement with its age."""
    rows_of(
        database,
        "CREATE FUNCTION slow(int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.004); RETURN $1; END $$",
    )
    at_first.write("0002_index", "op.create_index_concurrently('thing_slow', 'thing', [sa.text('slow(kind)')])")
    at_first.write("0003_long", "op.execute('SELECT pg_sleep(6)')")
    with other_session.cursor() as writer:
        writer.execute("INSERT INTO thing VALUES (0, 0)")
    waits = rf"upgrade: still working after 5 s, waiting for writers before build, waits for pid {other_session.info.backend_pid}, "
    result = at_first.start(*MIGRATE)
    eventually(lambda: re.search(waits, result.stderr), within=30, what=waits)
    other_session.commit()
    assert result.wait() == 0, result.stderr
    told = r"upgrade: still working after \d+ s, building index: scanning table, \d+ %: CREATE INDEX CONCURRENTLY"
    assert re.search(told, result.stderr), result.stderr
    assert re.search(r"upgrade: still working after 5 s: SELECT pg_sleep\(6\)", result.stderr), result.stderr


def _read_on(session: Connection) -> int:
    """Read the table in a transaction that stays open; return the pid of the reader."""
    with session.cursor() as cursor:
        cursor.execute("SET application_name = report")
        session.commit()
        cursor.execute("SELECT * FROM thing")
    return session.info.backend_pid


def _read_often(database: Dsn, migrator: Running, reader: Connection) -> list[float]:
    """Read every 20 ms until the migrator has ended; return how long each read took. The reader lets go after `HELD`."""
    waits = []
    wanted_since: float | None = None
    with closing(psycopg2.connect(database)) as connection, connection.cursor() as cursor:
        connection.autocommit = True
        while migrator.process.poll() is None:
            began = time.monotonic()
            cursor.execute("SELECT count(*) FROM thing WHERE id < 10")
            waits.append(time.monotonic() - began)
            if wanted_since is None and "did not get its locks" in migrator.stderr:
                wanted_since = began
            if wanted_since is not None and began - wanted_since > HELD:
                reader.rollback()
            time.sleep(max(0.0, 0.02 - waits[-1]))
    return waits
