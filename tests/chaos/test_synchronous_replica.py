"""A synchronous replica is away: no table is kept for it, and what is committed is not told as rolled back."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import psycopg2
import pytest

from railhead.devserver.server import Server
from railhead.dsn import Dsn
from tests.chaos import server_state
from tests.chaos.servers import standby_of
from tests.databases import rows_of
from tests.processes import eventually
from tests.project_tree import ALEMBIC, MIGRATE, Tree

FROZEN = 2.5
"""Seconds that traffic may wait for a table: MIGRATE_LOCK_TIMEOUT is 0.9, the rest is the machine's."""

WAIT = 2
"""Seconds of MIGRATE_WAIT_LOCK, and so for the replica."""

LASTS = 15.0
"""Seconds for a whole run that waits for the replica once, on a busy machine."""

WAITS = """
SELECT 1 FROM pg_stat_activity a WHERE wait_event = 'SyncRep' AND NOT EXISTS (
       SELECT FROM pg_stat_activity b
        WHERE b.application_name LIKE '%(progress)' AND b.query_start < a.query_start + interval '200 ms')
"""

SEEN = f"{WAITS} AND EXISTS (SELECT FROM pg_stat_activity WHERE application_name LIKE '%(progress)')"
"""The same, and whoever watches the run is there already."""

SAID = "committed here, not yet confirmed by the synchronous replica"
TABLE = "op.create_table('thing', sa.Column('id', sa.Integer, primary_key=True))"


@pytest.fixture
def followed(tree: Tree, own_server: Server) -> Tree:
    """A project at its first revision, whose server then waits for a replica that is not there."""
    begun = Tree(tree.root, own_server.dsn)
    begun.write("0001_thing", TABLE, "op.drop_table('thing')")
    assert begun.migrate().returncode == 0
    _wait_for(own_server, "ghost")
    return begun


def _wait_for(server: Server, names: str) -> None:
    rows_of(server.dsn, f"ALTER SYSTEM SET synchronous_standby_names = '{names}'")
    rows_of(server.dsn, "SELECT pg_reload_conf()")
    eventually(lambda: rows_of(server.dsn, "SHOW synchronous_standby_names") == [(names,)])


@contextmanager
def _visited(database: Dsn) -> Iterator[Callable[[], float]]:
    """Inside, somebody reads the table again and again; gives the longest time in seconds that it took."""
    longest = [0.0]
    ended = threading.Event()

    def visit() -> None:
        with closing(psycopg2.connect(database)) as visitor, visitor.cursor() as cursor:
            visitor.autocommit = True
            while not ended.wait(0.01):
                began = time.monotonic()
                cursor.execute("SELECT count(*) FROM thing")
                longest[0] = max(longest[0], time.monotonic() - began)

    thread = threading.Thread(target=visit)
    thread.start()
    try:
        yield lambda: longest[0]
    finally:
        ended.set()
        thread.join()


RUNS = {
    "a column": ["op.execute('ALTER TABLE thing ADD COLUMN a int')"],
    "several revisions": [f"op.execute('ALTER TABLE thing ADD COLUMN {name} int')" for name in "abc"],
    "verbs": [("op.create_index_concurrently('ix', 'thing', ['id'])\nop.set_not_null('thing', 'id')\n"
              "op.create_check_constraint_not_valid('positive', 'thing', 'id > 0')")],
    "its own mind": ["op.execute('ALTER TABLE thing ADD COLUMN a int')\nop.execute('SET LOCAL synchronous_commit = on')"],
    "outside": ["with op.get_context().autocommit_block():\n    op.execute('SET synchronous_commit = on; ALTER TABLE thing ADD COLUMN a int')"],
}  # fmt: skip


@pytest.mark.parametrize("revisions", RUNS.values(), ids=RUNS)
def test_no_table_is_kept_for_a_replica_that_is_away(followed: Tree, own_server: Server, revisions: list[str]) -> None:
    """The run ends well, within the time that it may wait, and says what is not confirmed and by which setting."""
    names = [f"000{number}_more" for number in range(2, 2 + len(revisions))]
    for name, upgrade in zip(names, revisions, strict=True):
        followed.write(name, upgrade, extra="accepted_hazards = {'not-repeatable': 'tried'}")
    began = time.monotonic()
    with _visited(own_server.dsn) as longest:
        ended = followed.migrate(MIGRATE_WAIT_LOCK=f"{WAIT}s")
        assert longest() < FROZEN
    assert ended.returncode == 0, ended.stderr
    assert time.monotonic() - began < LASTS
    assert f"{SAID} within {WAIT} s: {', '.join(names)}" in ended.stderr
    assert "(synchronous_standby_names = ghost)" in ended.stderr
    assert server_state.versions(own_server.dsn) == [names[-1]]
    assert server_state.applied(own_server.dsn) == ["0001_thing", *names]


@pytest.mark.parametrize(
    "command",
    [(*MIGRATE, "downgrade", "-1", "--yes"), (*ALEMBIC, "downgrade", "-1"), (*ALEMBIC, "stamp", "base")],
    ids=["downgrade", "alembic downgrade", "alembic stamp"],
)
def test_other_commands_do_not_hang_either(followed: Tree, own_server: Server, command: tuple[str, ...]) -> None:
    """Whatever moves the database commits here, and says so."""
    ended = followed.run(*command, MIGRATE_WAIT_LOCK=f"{WAIT}s", within=30)
    assert ended.returncode == 0, ended.stderr
    assert SAID in ended.stderr
    assert server_state.versions(own_server.dsn) == []


def test_an_empty_database_is_filled(tree: Tree, own_server: Server) -> None:
    """Version table, ledger and revisions are committed here, before the replica is waited for."""
    _wait_for(own_server, "ghost")
    begun = Tree(tree.root, own_server.dsn)
    begun.write("0001_thing", TABLE)
    ended = begun.migrate(MIGRATE_WAIT_LOCK=f"{WAIT}s")
    assert ended.returncode == 0, ended.stderr
    assert SAID in ended.stderr
    assert server_state.applied(own_server.dsn) == ["0001_thing"]


def test_a_failure_is_written_down(followed: Tree, own_server: Server) -> None:
    """The ledger's row of a failure does not wait for the replica."""
    followed.write("0002_wrong", "op.execute('SELECT 1 / 0')")
    began = time.monotonic()
    ended = followed.migrate()
    assert ended.returncode == 5, ended.stderr
    assert time.monotonic() - began < LASTS
    assert rows_of(own_server.dsn, "SELECT outcome FROM migration_ledger WHERE revision = '0002_wrong'") == [
        ("failed",)
    ]


def test_a_replica_that_is_there_confirms(tree: Tree, own_server: Server, room: Path) -> None:
    """Then nothing is said, and the replica has what was done when the run ends."""
    standby = standby_of(own_server, room / "standby")
    try:
        _wait_for(own_server, "*")
        begun = Tree(tree.root, own_server.dsn)
        begun.write("0001_thing", TABLE)
        ended = begun.migrate()
        assert ended.returncode == 0, ended.stderr
        assert SAID not in ended.stderr
        eventually(lambda: server_state.versions(standby.dsn) == ["0001_thing"], within=5)
    finally:
        standby.stop("immediate")


@pytest.mark.parametrize(
    "own", ["", "\nop.execute('SET LOCAL synchronous_commit = on')"], ids=["afterwards", "in its COMMIT"]
)
def test_told_to_stop_while_the_replica_is_waited_for(followed: Tree, own_server: Server, own: str) -> None:
    """It ends within a second, and says that the revision is committed, not that it is rolled back."""
    followed.write("0002_more", f"op.execute('ALTER TABLE thing ADD COLUMN a int'){own}")
    migrator = followed.start(*MIGRATE, MIGRATE_LOCK_TIMEOUT="60s")
    waits = SEEN if own else WAITS
    eventually(lambda: rows_of(own_server.dsn, waits), within=30, what="it waits for the replica, and has seen that")
    began = time.monotonic()
    migrator.send(signal.SIGTERM)
    assert migrator.wait(10) == 143, migrator.stderr
    assert time.monotonic() - began < 2
    assert f"{SAID}: 0002_more" in migrator.stderr
    assert "rolled back" not in migrator.stderr
    assert server_state.versions(own_server.dsn) == ["0002_more"]


def test_told_to_stop_in_its_commit_before_anybody_has_seen_it_wait(followed: Tree, own_server: Server) -> None:
    """Then the server is asked what it has, so that nothing is called rolled back that is committed."""
    _blind(own_server.dsn)
    followed.write("0002_more", f"op.execute('ALTER TABLE thing ADD COLUMN a int; {_OWN_MIND}')")
    migrator = followed.start(*MIGRATE, MIGRATE_LOCK_TIMEOUT="60s")
    eventually(lambda: rows_of(own_server.dsn, _IN_COMMIT), within=30, what="it waits for the replica")
    migrator.send(signal.SIGTERM)
    assert migrator.wait(10) == 143, migrator.stderr
    assert f"{SAID}: 0002_more" in migrator.stderr
    assert "rolled back" not in migrator.stderr
    assert server_state.versions(own_server.dsn) == ["0002_more"]


_OWN_MIND = "SET LOCAL synchronous_commit = on"
_IN_COMMIT = "SELECT 1 FROM pg_catalog.pg_stat_activity WHERE wait_event = 'SyncRep'"


def _blind(database: Dsn) -> None:
    """Let nobody who looks at pg_stat_activity, in new sessions, see that a COMMIT waits for a replica."""
    columns = rows_of(
        database,
        "SELECT attname FROM pg_attribute WHERE attrelid = 'pg_catalog.pg_stat_activity'::regclass AND attnum > 0 ORDER BY attnum",
    )
    shown = ["nullif(wait_event, 'SyncRep') AS wait_event" if name == "wait_event" else name for (name,) in columns]
    rows_of(
        database,
        f"SET synchronous_commit = local; CREATE SCHEMA blind;"
        f"CREATE VIEW blind.pg_stat_activity AS SELECT {', '.join(map(str, shown))} FROM pg_catalog.pg_stat_activity",
    )
    name = database.parameters()["dbname"]
    rows_of(
        database, f"SET synchronous_commit = local; ALTER DATABASE {name} SET search_path = public, blind, pg_catalog"
    )
