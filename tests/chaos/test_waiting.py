"""A database that does not answer yet is waited for; one that never will is told at once."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest

from railhead.devserver.server import Server
from railhead.dsn import Dsn
from railhead.execution import retry_policy
from tests.chaos import server_state
from tests.chaos.namespaces import may_unshare, with_files
from tests.chaos.ports import free_ports
from tests.chaos.proxy import Proxy
from tests.chaos.servers import standby_of
from tests.databases import rows_of
from tests.processes import Running, eventually
from tests.project_tree import MIGRATE, Tree

pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")

HEAD = "0001_thing"

SLACK = 3.0
"""Seconds that a process takes to begin and to end on a busy machine."""


@pytest.fixture
def one(tree: Tree) -> Tree:
    """A project with one revision."""
    tree.write(HEAD, "op.create_table('thing', sa.Column('id', sa.Integer, primary_key=True))")
    return tree


def test_server_that_starts_later_is_waited_for(one: Tree, own_server: Server) -> None:
    """Refused connections are tried again until there is a server, and then it migrates."""
    own_server.stop()
    migrator = _start(one, own_server.dsn)
    eventually(lambda: "the database does not answer" in migrator.stderr, within=20)
    own_server.start()
    _ends_at_head(migrator, own_server.dsn)


def test_server_that_is_starting_up_is_waited_for(one: Tree, own_server: Server, room: Path) -> None:
    """A server in crash recovery takes no connections yet; it is asked again until it does."""
    own_server.stop("immediate")
    (own_server.data / "recovery.signal").touch()
    own_server.options["restore_command"] = f"while ! test -e '{room}/go'; do sleep 0.02; done; false"
    own_server.options["hot_standby"] = "off"
    own_server._launch()
    migrator = _start(one, own_server.dsn)
    said = r"the database does not answer, .*(starting up|not yet accepting connections|not accepting connections)"
    eventually(lambda: re.search(said, migrator.stderr.replace("\n", " ")), within=20, what=said)
    (room / "go").touch()
    _ends_at_head(migrator, own_server.dsn)


def test_server_that_only_follows_is_waited_for(one: Tree, own_server: Server, room: Path) -> None:
    """A standby takes connections but no changes; it migrates there as soon as it is promoted."""
    standby = standby_of(own_server, room / "standby")
    try:
        migrator = _start(one, standby.dsn)
        eventually(lambda: "connecting again" in migrator.stderr, within=20)
        rows_of(standby.dsn, "SELECT pg_promote()")
        _ends_at_head(migrator, standby.dsn)
    finally:
        standby.stop("immediate")


def test_server_that_only_follows_for_long_is_waited_for(one: Tree, own_server: Server, room: Path) -> None:
    """It is no revision's fault that nothing can be changed there, however often it is tried within the budget."""
    assert Tree(one.root, own_server.dsn).migrate().returncode == 0
    one.write("0002_more", "op.add_column('thing', sa.Column('a', sa.Text))")
    standby = standby_of(own_server, room / "standby")
    try:
        migrator = _start(one, standby.dsn)
        eventually(lambda: migrator.stderr.count("connecting again") > retry_policy.MOST_LOSSES, within=30)
        rows_of(standby.dsn, "SELECT pg_promote()")
        assert migrator.wait() == 0, migrator.stderr
        assert server_state.applied(standby.dsn) == [HEAD, "0002_more"]
    finally:
        standby.stop("immediate")


@pytest.mark.skipif(not may_unshare("--mount"), reason="needs `unshare --mount`, to have a hosts file of its own")
def test_name_that_resolves_later_is_waited_for(one: Tree, database: Dsn, proxy: Proxy, tmp_path: Path) -> None:
    """In the first minute of a container the names of a private network may be unknown."""
    hosts, resolver = tmp_path / "hosts", tmp_path / "resolv.conf"
    hosts.write_text("127.0.0.1 localhost\n")
    resolver.write_text("nameserver 127.0.0.1\n")  # where nobody answers
    later = Tree(one.root, proxy.dsn(database).with_(host="database.example"))
    migrator = later.start(*with_files(hosts, resolver), *MIGRATE, MIGRATE_WAIT_DATABASE="60s")
    eventually(lambda: "could not translate host name" in migrator.stderr, within=30)
    with hosts.open("a") as more:
        more.write("127.0.0.1 database.example\n")
    _ends_at_head(migrator, database)


def test_server_behind_a_port_that_opens_later_is_waited_for(one: Tree, database: Dsn, server: Dsn) -> None:
    """The same over TCP, where nobody listens at first."""
    [port] = free_ports(1)
    later = Dsn.of(**{**database.parameters(), "host": "127.0.0.1", "port": str(port)}, sslmode="disable")
    migrator = _start(one, later)
    eventually(lambda: "onnection refused" in migrator.stderr, within=20)
    network = Proxy(server, port)
    try:
        _ends_at_head(migrator, database)
    finally:
        network.end()


@pytest.mark.parametrize(
    ("host", "said"), [("database.invalid", "could not translate host name"), ("127.0.0.1", "onnection refused")]
)
def test_waiting_ends_with_the_budget(one: Tree, host: str, said: str) -> None:
    """A name that does not resolve and a port that is closed are tried again, with growing pauses, until the time is over."""
    [port] = free_ports(1)
    tree = Tree(one.root, Dsn.of(host=host, port=str(port), user="u", dbname="d"))
    began = time.monotonic()
    result = tree.migrate(MIGRATE_WAIT_DATABASE="3s", APP_ENV="development")
    assert result.returncode == 3, result.stderr
    assert 3 <= time.monotonic() - began < 3 + SLACK
    assert said in result.stderr
    assert "3 s (MIGRATE_WAIT_DATABASE)" in result.stderr
    assert "[unreachable]" in result.stderr


@pytest.mark.parametrize("slug", ["wrong-password", "no-such-role", "no-such-database"])
def test_what_waiting_cannot_mend_is_told_at_once(one: Tree, own_server: Server, slug: str) -> None:
    """Password, role and missing database are not tried again, whatever MIGRATE_WAIT_DATABASE allows."""
    rows_of(own_server.dsn, "CREATE ROLE visitor LOGIN PASSWORD 'right'")
    [port] = free_ports(1)
    own_server.stop()
    own_server.options.update(listen_addresses="127.0.0.1", port=str(port))
    own_server.start()
    wrong = {
        "wrong-password": Dsn.of(host="127.0.0.1", port=str(port), user="visitor", password="wrong", dbname="railhead"),
        "no-such-role": own_server.dsn.with_(user="nobody_knows"),
        "no-such-database": own_server.dsn.with_(dbname="nobody_made"),
    }
    result = Tree(one.root, wrong[slug]).migrate(MIGRATE_WAIT_DATABASE="60s", within=30)
    assert result.returncode == 3, result.stderr
    assert f"[{slug}]" in result.stderr
    assert "does not answer" not in result.stderr
    assert "wrong'" not in result.stderr


def _start(tree: Tree, database: Dsn) -> Running:
    return Tree(tree.root, database).start(*MIGRATE, MIGRATE_WAIT_DATABASE="60s")


def _ends_at_head(migrator: Running, database: Dsn) -> None:
    assert migrator.wait() == 0, migrator.stderr
    assert server_state.versions(database) == [HEAD]
    assert server_state.applied(database) == [HEAD]
