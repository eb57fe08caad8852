"""Backends end, servers crash, primaries die, networks vanish; the same process goes on, or says clearly why it cannot."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos import gate, sight
from tests.ground import MIGRATE, Tree, eventually, memory, rows_of
from utils.cluster import Server
from utils.settings import Dsn

pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")

QUICK = {"fsync": "off", "shared_buffers": "16MB", "max_wal_senders": "4", "wal_level": "replica"}


@pytest.fixture
def room() -> Iterator[Path]:
    """A folder for servers, in memory where that is possible."""
    with tempfile.TemporaryDirectory(dir=memory(), ignore_cleanup_errors=True) as place:
        yield Path(place)


@pytest.fixture
def own_server(room: Path) -> Iterator[Server]:
    """A server that a test may stop."""
    server = Server(room / "primary", QUICK)
    server.start()
    yield server
    server.stop("immediate")


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
    rows_of(database, "SELECT pg_terminate_backend(%s)", [holder.pid])
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
    standby = _standby_of(own_server, room / "standby")
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


def _standby_of(primary: Server, data: Path) -> Server:
    """Return a running copy of `primary` that follows it."""
    source = primary.dsn.with_(dbname="replication")
    primary.run("pg_basebackup", "-d", str(source), "-D", str(data), "-R", "-c", "fast", "--no-sync", "-X", "stream")
    standby = Server(data, QUICK)
    standby.start()
    return standby
