"""Backends end, servers crash, primaries die, networks vanish; the same process goes on, or says clearly why it cannot."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from psycopg2.extensions import connection as Connection

from tests.chaos import gate, sight
from tests.chaos.ports import free_ports
from tests.chaos.proxy import Proxy
from tests.chaos.servers import standby_of
from tests.ground import MIGRATE, Tree, eventually, rows_of
from utils import diagnosis, lock
from utils.cluster import Server
from utils.settings import Dsn

pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")

SLACK = 3.0
"""Seconds beyond the budget that the last attempt to connect may take: libpq does not give up in less than two."""


@pytest.fixture
def proxy(server: Dsn) -> Iterator[Proxy]:
    """A network between a migrator and the server of the tests."""
    proxy = Proxy(server)
    yield proxy
    proxy.end()


@pytest.fixture
def gated(tree: Tree) -> Iterator[tuple[Tree, list[str]]]:
    """A project whose third revision waits at a gate, and the names of its revisions."""
    return tree, gate.write(tree)


def test_lock_terminated_in_the_middle_of_a_revision(gated: tuple[Tree, list[str]], database: Dsn) -> None:
    """What ran under a lost lock is not committed; the waiting migrator does it instead, and both end at head."""
    tree, names = gated
    gate.prepare(tree)
    first = tree.start(*MIGRATE)
    [migrating] = gate.reached(database)
    second = tree.start(*MIGRATE)
    eventually(lambda: "waiting for the migration lock, held by pid" in second.stderr, within=30, what="it waits")
    holder = sight.holder(database)
    assert holder is not None
    rows_of(database, "SELECT pg_terminate_backend(%s, 5000)", [holder.pid])
    gate.open_for(database, migrating)
    eventually(lambda: "the migration lock was lost" in first.stderr, within=30, what="the first one notices")
    assert sight.applied(database) == names[:2]
    gate.open_for(database)
    assert (first.wait(), second.wait()) == (0, 0), first.stderr + second.stderr
    assert sight.applied(database) == names
    assert sight.versions(database) == names[-1:]


def test_server_crashes_and_starts_again_in_the_middle_of_a_run(
    gated: tuple[Tree, list[str]], own_server: Server
) -> None:
    """The same process waits for the server, looks where the database is, and ends at head."""
    tree, names = Tree(gated[0].root, own_server.dsn), gated[1]
    gate.prepare(tree)
    migrator = tree.start(*MIGRATE)
    gate.reached(own_server.dsn)
    own_server.stop("immediate")
    eventually(lambda: "connecting again" in migrator.stderr, within=10, what="it notices")
    own_server.start()
    gate.open_for(own_server.dsn)
    assert migrator.wait() == 0, migrator.stderr
    assert sight.applied(own_server.dsn) == names
    assert sight.versions(own_server.dsn) == names[-1:]


def test_primary_dies_and_the_standby_is_promoted_in_the_middle_of_a_run(
    gated: tuple[Tree, list[str]], own_server: Server, room: Path
) -> None:
    """With both hosts in the URL the same process ends at head on the new primary, each revision once there."""
    standby = standby_of(own_server, room / "standby")
    try:
        hosts = [one.dsn.parameters()["host"] for one in (own_server, standby)]
        both = own_server.dsn.with_(host=",".join(hosts), port="5432,5432", target_session_attrs="read-write")
        tree, names = Tree(gated[0].root, both), gated[1]
        gate.prepare(tree)
        migrator = tree.start(*MIGRATE)
        gate.reached(own_server.dsn)
        eventually(lambda: sight.applied(standby.dsn) == names[:2], what="the standby has what was committed")
        own_server.stop("immediate")
        rows_of(standby.dsn, "SELECT pg_promote()")
        gate.open_for(standby.dsn)
        assert migrator.wait() == 0, migrator.stderr
        assert sight.applied(standby.dsn) == names
        assert sight.versions(standby.dsn) == names[-1:]
    finally:
        standby.stop("immediate")


def test_waiter_whose_network_vanishes_ends_within_its_budget(
    gated: tuple[Tree, list[str]], database: Dsn, proxy: Proxy, other_session: Connection
) -> None:
    """It says that the database does not answer, and for how long it has waited."""
    with other_session.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", (lock.KEY,))
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
    gate.prepare(tree)
    migrator = tree.start(*MIGRATE, MIGRATE_WAIT_LOCK="8s", MIGRATE_WAIT_DATABASE="4s")
    gate.reached(database)
    proxy.cut()
    began = time.monotonic()
    assert migrator.wait(30) == 3
    assert time.monotonic() - began < 8 + SLACK
    assert "[connection-lost]" in migrator.stderr
    assert "0003_gated" in migrator.stderr
    assert diagnosis.NOBODY_ANSWERS in migrator.stderr
    proxy.end()
    gate.open_for(database)


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


def test_revision_that_always_ends_its_own_session_is_given_up(tree: Tree, database: Dsn) -> None:
    """It may be what brings the server down, so it is not tried for as long as there is time."""
    tree.write("0001_thing", "op.create_table('thing', sa.Column('id', sa.Integer, primary_key=True))")
    assert tree.migrate().returncode == 0
    tree.write("0002_deadly", "op.execute('SELECT pg_terminate_backend(pg_backend_pid())')")
    result = tree.migrate()
    assert result.returncode == 3, result.stderr
    assert re.search(r"revision +0002_deadly", result.stderr)
    assert "[connection-lost]" in result.stderr
    assert sight.applied(database) == ["0001_thing"]
