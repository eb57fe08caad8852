"""Backends end, servers crash, primaries die, networks vanish; the same process goes on, or says clearly why it cannot."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psycopg2
import pytest
from psycopg2.extensions import connection as Connection

from railhead.devserver.server import Server
from railhead.diagnosis import messages
from railhead.dsn import Dsn
from railhead.postgres import advisory_lock, interrupts
from railhead.postgres.activity import Monitor
from railhead.postgres.connection import connect, fetch_all
from tests.chaos import held_revision, server_state
from tests.chaos.pooler import NEEDED, Pooler
from tests.chaos.ports import free_ports
from tests.chaos.proxy import Proxy
from tests.chaos.servers import standby_of
from tests.databases import rows_of
from tests.processes import eventually
from tests.project_tree import MIGRATE, Tree

pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")

SLACK = 0.8
"""Seconds beyond the budget that a process may take to notice and to end."""


@pytest.fixture
def gated(tree: Tree) -> Iterator[tuple[Tree, list[str]]]:
    """A project whose third revision waits at a gate, and the names of its revisions."""
    return tree, held_revision.write(tree)


def test_lock_terminated_in_the_middle_of_a_revision(gated: tuple[Tree, list[str]], database: Dsn) -> None:
    """What ran under a lost lock is not committed; the waiting migrator does it instead, and both end at head."""
    tree, names = gated
    held_revision.prepare(tree)
    first = tree.start(*MIGRATE)
    [migrating] = held_revision.reached(database)
    second = tree.start(*MIGRATE)
    eventually(lambda: "waiting for the migration lock, held by pid" in second.stderr, within=30, what="it waits")
    holder = server_state.holder(database)
    assert holder is not None
    rows_of(database, "SELECT pg_terminate_backend(%s, 5000)", [holder.pid])
    held_revision.open_for(database, migrating)
    eventually(lambda: "the migration lock was lost" in first.stderr, within=30, what="the first one notices")
    assert server_state.applied(database) == names[:2]
    held_revision.open_for(database)
    assert (first.wait(), second.wait()) == (0, 0), first.stderr + second.stderr
    assert server_state.applied(database) == names
    assert server_state.versions(database) == names[-1:]


def test_server_crashes_and_starts_again_in_the_middle_of_a_run(
    gated: tuple[Tree, list[str]], own_server: Server
) -> None:
    """The same process waits for the server, looks where the database is, and ends at head."""
    tree, names = Tree(gated[0].root, own_server.dsn), gated[1]
    held_revision.prepare(tree)
    migrator = tree.start(*MIGRATE)
    held_revision.reached(own_server.dsn)
    own_server.stop("immediate")
    eventually(lambda: "connecting again" in migrator.stderr, within=10, what="it notices")
    own_server.start()
    held_revision.open_for(own_server.dsn)
    assert migrator.wait() == 0, migrator.stderr
    assert server_state.applied(own_server.dsn) == names
    assert server_state.versions(own_server.dsn) == names[-1:]


def test_primary_dies_and_the_standby_is_promoted_in_the_middle_of_a_run(
    gated: tuple[Tree, list[str]], own_server: Server, room: Path
) -> None:
    """With both hosts in the URL the same process ends at head on the new primary, each revision once there."""
    standby = standby_of(own_server, room / "standby")
    try:
        hosts = [one.dsn.parameters()["host"] for one in (own_server, standby)]
        both = own_server.dsn.with_(host=",".join(hosts), port="5432,5432", target_session_attrs="read-write")
        tree, names = Tree(gated[0].root, both), gated[1]
        held_revision.prepare(tree)
        migrator = tree.start(*MIGRATE)
        held_revision.reached(own_server.dsn)
        eventually(lambda: server_state.applied(standby.dsn) == names[:2], what="the standby has what was committed")
        own_server.stop("immediate")
        rows_of(standby.dsn, "SELECT pg_promote()")
        held_revision.open_for(standby.dsn)
        assert migrator.wait() == 0, migrator.stderr
        assert server_state.applied(standby.dsn) == names
        assert server_state.versions(standby.dsn) == names[-1:]
    finally:
        standby.stop("immediate")


def test_waiter_whose_network_vanishes_ends_within_its_budget(
    gated: tuple[Tree, list[str]], database: Dsn, proxy: Proxy, other_session: Connection
) -> None:
    """It says that the database does not answer, and for how long it has waited."""
    with other_session.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", (advisory_lock.KEY,))
    tree = Tree(gated[0].root, proxy.dsn(database))
    migrator = tree.start(*MIGRATE, MIGRATE_WAIT_LOCK="8s", MIGRATE_WAIT_DATABASE="4s")
    eventually(lambda: "waiting for the migration lock" in migrator.stderr, within=30, what="it waits")
    proxy.cut()
    began = time.monotonic()
    assert migrator.wait(30) == 3
    assert time.monotonic() - began < 8 + SLACK
    assert "the connection to the database was lost" in migrator.stderr
    assert "8 s (MIGRATE_WAIT_LOCK)" in migrator.stderr
    assert "[connection-lost]" in migrator.stderr


def test_migrator_whose_network_vanishes_in_a_long_statement_ends_within_its_budget(
    gated: tuple[Tree, list[str]], database: Dsn, proxy: Proxy
) -> None:
    """It does not wait for the answer that never comes, and does not claim that nothing was touched."""
    tree = Tree(gated[0].root, proxy.dsn(database))
    held_revision.prepare(tree)
    migrator = tree.start(*MIGRATE, MIGRATE_WAIT_LOCK="8s", MIGRATE_WAIT_DATABASE="4s")
    held_revision.reached(database)
    proxy.cut()
    began = time.monotonic()
    assert migrator.wait(30) == 3
    assert time.monotonic() - began < 8 + SLACK
    assert "[connection-lost]" in migrator.stderr
    assert "0003_gated" in migrator.stderr
    assert messages.NOBODY_ANSWERS in migrator.stderr
    proxy.end()
    held_revision.open_for(database)


def test_network_that_comes_back_is_used_again(gated: tuple[Tree, list[str]], database: Dsn, proxy: Proxy) -> None:
    """The connections from before are given up, new ones made, and each revision is there once."""
    tree, names = Tree(gated[0].root, proxy.dsn(database)), gated[1]
    held_revision.prepare(tree)
    migrator = tree.start(*MIGRATE, MIGRATE_WAIT_LOCK="12s")
    held_revision.reached(database)
    proxy.cut()
    eventually(lambda: "connecting again" in migrator.stderr, within=20, what="it notices")
    assert "the database has not answered for" in migrator.stderr
    proxy.mend()
    held_revision.open_for(database)
    assert migrator.wait() == 0, migrator.stderr
    assert server_state.applied(database) == names
    assert server_state.versions(database) == names[-1:]


def test_session_that_is_gone_is_noticed_though_its_network_says_nothing(database: Dsn, proxy: Proxy) -> None:
    """After a failover something between may keep the old flow open: who asks the new server is told that nobody runs there."""
    with closing(psycopg2.connect(proxy.dsn(database))) as migrating, Monitor(database, "watching") as monitor:
        pid = migrating.info.backend_pid
        monitor.watch(migrating, pid, "upgrade")
        eventually(lambda: monitor._seen, what="it is seen")
        proxy.cut()
        rows_of(database, "SELECT pg_terminate_backend(%s, 5000)", [pid])
        began = time.monotonic()
        with (
            interrupts.watching(),
            interrupts.limit(migrating, 10),
            interrupts.at_most(0.3),
            migrating.cursor() as cursor,
            pytest.raises(psycopg2.OperationalError),
        ):
            cursor.execute("SELECT 1")
        assert time.monotonic() - began < 5


@NEEDED
def test_pooler_without_a_free_server_does_not_end_a_migration(database: Dsn, server: Dsn, tmp_path: Path) -> None:
    """Whoever waits in PgBouncer's queue to ask how the migration does has been answered: by PgBouncer."""
    pooler = Pooler(server, tmp_path, pool=1)
    through = pooler.dsn(database)
    try:
        with (
            interrupts.watching(),
            interrupts.at_most(0.2),
            closing(psycopg2.connect(through)) as migrating,
            Monitor(through, "watching", pooled=True) as monitor,
            migrating.cursor() as cursor,
        ):
            cursor.execute("SELECT pg_backend_pid()")
            monitor.watch(migrating, migrating.info.backend_pid, "upgrade")
            cursor.execute("SELECT pg_sleep(1.5)")
    finally:
        pooler.end()


OVERTAKEN = f"""
DO $$ BEGIN {held_revision.WAITING} WHERE pid IN (0, pg_backend_pid())) LOOP PERFORM pg_sleep(0.01); END LOOP; END $$
"""

SLOW_COMMIT = """
CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN WHILE NOT EXISTS (SELECT FROM gate WHERE pid = -1) LOOP PERFORM pg_sleep(0.01); END LOOP; RETURN NULL; END $$;
CREATE CONSTRAINT TRIGGER slow AFTER UPDATE ON alembic_version DEFERRABLE INITIALLY DEFERRED
FOR EACH ROW EXECUTE FUNCTION slow()
"""
"""Makes COMMIT wait, once the version was moved."""


def test_commit_that_outlives_its_lock_is_no_failure_for_the_next_one(tree: Tree, database: Dsn) -> None:
    """Who took the lock while the one before him was still committing finds the column there: it looks, and is content."""
    tree.write("0001_gate", "op.execute('CREATE TABLE gate (pid int)')\nop.execute('CREATE TABLE thing (id int)')")
    assert tree.migrate().returncode == 0
    rows_of(database, SLOW_COMMIT)
    tree.write("0002_more", f'op.execute("""{OVERTAKEN}""")\nop.add_column("thing", sa.Column("a", sa.Text))')
    first = tree.start(*MIGRATE)
    [committing] = held_revision.reached(database)
    held_revision.open_for(database, committing)
    eventually(lambda: committing in server_state.running(database, "COMMIT"), what="it commits")
    holder = server_state.holder(database)
    assert holder is not None
    rows_of(database, "SELECT pg_terminate_backend(%s, 5000)", [holder.pid])
    second = tree.start(*MIGRATE)
    held_revision.reached(database)
    held_revision.open_for(database, -1)
    eventually(lambda: server_state.versions(database) == ["0002_more"], what="it is committed")
    held_revision.open_for(database)
    assert (first.wait(), second.wait()) == (0, 0), first.stderr + second.stderr
    assert 'column "a" of relation "thing" already exists' in second.stderr
    assert server_state.applied(database) == ["0001_gate", "0002_more"]


@pytest.mark.parametrize("after", [(), ("0003_more",)], ids=["last", "in the middle"])
def test_commit_that_loses_its_connection_is_told_in_the_words_of_postgresql(
    tree: Tree, database: Dsn, after: tuple[str, ...]
) -> None:
    """Not in those of the driver, which only knows that it is closed."""
    held_revision.at_commit(tree, "pg_terminate_backend(pg_backend_pid())", after)
    result = tree.migrate(MIGRATE_WAIT_LOCK="1s")
    assert result.returncode == 3, result.stderr
    assert "PostgreSQL server closed the connection unexpectedly" in result.stderr
    assert "already closed" not in result.stderr
    assert server_state.applied(database) == ["0001_thing"]


def test_connection_lost_outside_the_transaction(tree: Tree, database: Dsn, other_session: Connection) -> None:
    """In a verb and in a hand-written block alike the revision is run again from the top; no index stays INVALID."""
    tree.write("0001_thing", "op.execute('CREATE TABLE thing (id int)')\nop.execute('CREATE SEQUENCE tries')")
    assert tree.migrate().returncode == 0
    tree.write("0002_index", "op.create_index_concurrently('thing_id', 'thing', ['id'])")
    once = "SELECT CASE WHEN nextval('tries') = 1 THEN pg_terminate_backend(pg_backend_pid()) END"
    tree.write("0003_block", f'with op.get_context().autocommit_block():\n    op.execute("{once}")')
    with other_session.cursor() as writer:
        writer.execute("INSERT INTO thing VALUES (0)")  # which the build must wait for
    migrator = tree.start(*MIGRATE)
    eventually(
        lambda: server_state.running(database, "CREATE INDEX CONCURRENTLY"), within=30, what="the index is built"
    )
    [building] = server_state.running(database, "CREATE INDEX CONCURRENTLY")
    rows_of(database, "SELECT pg_terminate_backend(%s, 5000)", [building])
    eventually(lambda: "connecting again" in migrator.stderr, within=10, what="it notices")
    other_session.commit()
    assert migrator.wait() == 0, migrator.stderr
    assert migrator.stderr.count("connecting again") == 2
    assert rows_of(database, "SELECT last_value FROM tries") == [(2,)]
    assert server_state.invalid_indexes(database) == []
    assert server_state.applied(database) == ["0001_thing", "0002_index", "0003_block"]


def test_server_notices_that_the_host_of_a_migrator_has_vanished(tree: Tree, own_server: Server) -> None:
    """Over TCP the sessions of lock and migration ask for signs of life, so that tables are not locked for hours."""
    rows_of(own_server.dsn, "CREATE ROLE owner SUPERUSER LOGIN PASSWORD 'secret'")
    [port] = free_ports(1)
    own_server.stop()
    own_server.options.update(listen_addresses="127.0.0.1", port=str(port))
    own_server.start()
    far = Dsn.of(host="127.0.0.1", port=str(port), user="owner", password="secret", dbname="railhead")
    names = ["tcp_keepalives_idle", "tcp_keepalives_interval", "tcp_keepalives_count", "tcp_user_timeout"]
    values = ", ".join(f"current_setting('{name}')" for name in names)
    tree.write("0001_limits", f'op.execute("CREATE TABLE limits AS SELECT ARRAY[{values}] AS them")')
    assert Tree(tree.root, far).migrate().returncode == 0
    assert rows_of(own_server.dsn, "SELECT them FROM limits") == [(["10", "5", "3", "20000"],)]
    held = advisory_lock.Lock(connect(far, "holding"))
    assert held.try_take()
    assert fetch_all(held.connection, f"SELECT ARRAY[{values}]") == [(["10", "5", "3", "20000"],)]
    held.release()


def test_revision_that_always_ends_its_own_session_is_given_up(tree: Tree, database: Dsn) -> None:
    """It may be what brings the server down, so it is not tried for as long as there is time."""
    tree.write("0001_thing", "op.create_table('thing', sa.Column('id', sa.Integer, primary_key=True))")
    assert tree.migrate().returncode == 0
    tree.write("0002_deadly", "op.execute('SELECT pg_terminate_backend(pg_backend_pid())')")
    result = tree.migrate()
    assert result.returncode == 3, result.stderr
    assert re.search(r"revision +0002_deadly", result.stderr)
    assert "[connection-lost]" in result.stderr
    assert server_state.applied(database) == ["0001_thing"]
