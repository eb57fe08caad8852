"""Somebody tells a process that migrates to stop, or kills it: it is gone at once, and so is what it did in PostgreSQL."""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from railhead.dsn import Dsn
from tests.chaos import held_revision, server_state
from tests.chaos.namespaces import may_unshare, with_files
from tests.chaos.ports import free_ports
from tests.databases import named
from tests.processes import Running, eventually
from tests.project_tree import ALEMBIC, GUNICORN, MIGRATE, Tree

WITHIN = 1.0
"""Seconds in which a process that is told to stop has ended."""

FACTORY = (sys.executable, "-c", "import app; app.create_app()")

WAYS = {"migrate.py": MIGRATE, "alembic": (*ALEMBIC, "upgrade", "head"), "factory": FACTORY}


@pytest.fixture
def sleeping(tree: Tree) -> Tree:
    """A project whose second revision takes a minute."""
    tree.write("0001_thing", "op.create_table('thing', sa.Column('id', sa.Integer, primary_key=True))")
    assert tree.migrate().returncode == 0
    tree.write("0002_long", "op.add_column('thing', sa.Column('a', sa.Text))\nop.execute('SELECT pg_sleep(60)')")
    tree.write("0003_more", "op.add_column('thing', sa.Column('b', sa.Text))")
    return tree


@pytest.mark.alone
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)], ids=["SIGTERM", "SIGINT"])
def test_told_to_stop_in_a_long_statement(sleeping: Tree, database: Dsn, way: str, number: int, code: int) -> None:
    """It ends within a second with the code of the signal; nothing is applied, and no session stays."""
    migrator = sleeping.start(*WAYS[way])
    _sleeps(database)
    began = time.monotonic()
    migrator.send(number)
    assert migrator.wait(10) == code, migrator.stderr
    assert time.monotonic() - began < WITHIN
    assert "what was not committed is rolled back" in migrator.stderr + migrator.stdout
    _nothing_left(database)


def test_told_to_stop_after_a_reset_has_dropped_everything(sleeping: Tree, database: Dsn) -> None:
    """The one line that is left says so: nobody must believe that all is as it was."""
    resetting = sleeping.start(*MIGRATE, "reset", named(database))
    _sleeps(database)
    resetting.send(signal.SIGTERM)
    assert resetting.wait(10) == 143, resetting.stderr
    assert "SIGTERM; what was not committed is rolled back; everything was dropped by this reset\n" in resetting.stderr
    eventually(lambda: not server_state.sessions(database), what="no session is left")


def test_told_to_stop_outside_the_transaction(tree: Tree, database: Dsn) -> None:
    """It says which revision may have left something behind."""
    block = "with op.get_context().autocommit_block():\n    op.execute('SELECT pg_sleep(60)')"
    tree.write("0001_long", block)
    migrator = tree.start(*MIGRATE)
    _sleeps(database)
    migrator.send(signal.SIGTERM)
    assert migrator.wait(10) == 143, migrator.stderr
    assert "what 0001_long did outside its transaction stays, and is not done twice" in migrator.stderr
    eventually(lambda: not server_state.sessions(database), within=WITHIN, what="no session is left")
    assert server_state.applied(database) == []


@pytest.mark.alone
@pytest.mark.parametrize("after", [(), ("0003_more",)], ids=["last", "in the middle"])
def test_told_to_stop_in_a_long_commit(tree: Tree, database: Dsn, after: tuple[str, ...]) -> None:
    """Where the driver is in the middle of something of its own, the signal is not taken for somebody's cancel."""
    held_revision.at_commit(tree, "pg_sleep(60)", after)
    migrator = tree.start(*MIGRATE)
    eventually(lambda: server_state.running(database, "COMMIT"), within=30, what="it commits")
    migrator.send(signal.SIGTERM)
    assert migrator.wait(10) == 143, migrator.stderr
    assert "Traceback" not in migrator.stderr
    _nothing_left(database)


@pytest.mark.alone
def test_told_to_stop_while_waiting_for_the_lock(sleeping: Tree, database: Dsn) -> None:
    """A waiter ends just as fast, and does not disturb the one that it waited for."""
    migrator = sleeping.start(*MIGRATE)
    _sleeps(database)
    waiter = sleeping.start(*MIGRATE)
    eventually(lambda: "waiting for the migration lock" in waiter.stderr, within=30)
    began = time.monotonic()
    waiter.send(signal.SIGTERM)
    assert waiter.wait(10) == 143, waiter.stderr
    assert time.monotonic() - began < WITHIN
    assert server_state.running(database, "pg_sleep(60)")
    migrator.send(signal.SIGTERM)
    assert migrator.wait(10) == 143, migrator.stderr


@pytest.mark.alone
@pytest.mark.skipif(
    not may_unshare("--fork", "--pid"), reason="needs `unshare --fork --pid`, which this user may not use here"
)
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)], ids=["SIGTERM", "SIGINT"])
def test_gunicorn_with_preload_told_to_stop_as_process_one(
    sleeping: Tree, database: Dsn, number: int, code: int
) -> None:
    """The first process of a container has no default for signals, and gunicorn none yet while it loads: it ends as fast."""
    master = sleeping.start("unshare", "--fork", "--pid", *GUNICORN, "app:create_app()", PORT=str(free_ports(1)[0]))
    _sleeps(database)
    [first] = _children(master)
    began = time.monotonic()
    os.kill(first, number)
    assert master.wait(10) == code, master.stdout + master.stderr
    assert time.monotonic() - began < WITHIN
    _nothing_left(database)


@pytest.mark.parametrize("way", ["migrate.py", "factory"])
def test_killed_in_a_long_statement(sleeping: Tree, database: Dsn, way: str) -> None:
    """Its sessions end within two seconds, long before the statement would."""
    migrator = sleeping.start(*WAYS[way])
    _sleeps(database)
    migrator.send(signal.SIGKILL)
    eventually(
        lambda: not server_state.sessions(database) and not server_state.locks(database),
        within=2,
        what="nobody is left",
    )
    _nothing_left(database)


@pytest.mark.alone
@pytest.mark.skipif(not may_unshare("--mount"), reason="needs `unshare --mount`, to have a name server of its own")
def test_told_to_stop_while_the_name_server_is_silent(sleeping: Tree, tmp_path: Path) -> None:
    """A look-up in the C library cannot be cancelled: the process ends all the same, with the code of the signal."""
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as name_server:
        name_server.bind(("127.0.0.54", 53))
        name_server.settimeout(20)
        resolver = tmp_path / "resolv.conf"
        resolver.write_text("nameserver 127.0.0.54\n")
        away = Tree(sleeping.root, Dsn.of(host="database.example", user="u", dbname="d"))
        migrator = away.start(*with_files(resolver), *MIGRATE)
        name_server.recv(512)
        began = time.monotonic()
        migrator.send(signal.SIGTERM)
        assert migrator.wait(10) == 143, migrator.stderr
        assert time.monotonic() - began < WITHIN


def _sleeps(database: Dsn) -> None:
    eventually(lambda: server_state.running(database, "SELECT pg_sleep(60)"), within=30, what="the long statement runs")


def _nothing_left(database: Dsn) -> None:
    eventually(lambda: not server_state.sessions(database), within=WITHIN, what="no session is left")
    assert server_state.locks(database) == []
    assert server_state.versions(database) == ["0001_thing"]
    assert server_state.applied(database) == ["0001_thing"]


def _children(running: Running) -> list[int]:
    return [int(pid) for pid in Path(f"/proc/{running.pid}/task/{running.pid}/children").read_text().split()]
