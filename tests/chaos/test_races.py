"""Many processes start at the same moment: one migrates, all are content."""

from __future__ import annotations

import re
import signal
import urllib.request
from collections.abc import Callable
from contextlib import closing

import pytest
from psycopg2.extensions import connection as Connection

from railhead.dsn import Dsn
from railhead.postgres import advisory_lock
from tests.chaos import histories, server_state
from tests.chaos.pooler import NEEDED, Pooler
from tests.chaos.ports import free_ports
from tests.processes import Running, eventually
from tests.project_tree import GUNICORN, MIGRATE, Tree

pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")

WAITS = "waiting for the migration lock"

WITHOUT_PRELOAD = """\
from pathlib import Path
exec(Path(__file__).with_name("gunicorn.conf.py").read_text())
preload_app = False
workers = 4
"""


@pytest.fixture
def hundred(tree: Tree) -> Tree:
    """A project with a hundred revisions."""
    histories.write_hundred(tree)
    return tree


def test_32_processes_start_together_on_an_empty_database(
    hundred: Tree, database: Dsn, other_session: Connection
) -> None:
    """All 32 end well, and each of the hundred revisions is applied exactly once."""
    release = _hold(other_session)
    started = [hundred.start(*MIGRATE) for _ in range(32)]
    eventually(lambda: len(server_state.sessions(database, "railhead upgrade%")) == 32, within=90, what="all 32 wait")
    release()
    assert [one.wait(120) for one in started] == [0] * 32, _errors(started)
    assert server_state.applied(database) == histories.HUNDRED
    assert server_state.versions(database) == histories.HUNDRED[-1:]
    assert sum("100 revisions" in one.stdout for one in started) == 1


def test_four_gunicorns_without_preload_start_together(hundred: Tree, database: Dsn) -> None:
    """All 16 workers of 4 masters serve, and each of the hundred revisions is applied exactly once."""
    (hundred.root / "chaos.conf.py").write_text(WITHOUT_PRELOAD)
    ports = free_ports(4)
    command = (*GUNICORN, "-c", "chaos.conf.py", "app:create_app()")
    masters = [hundred.start(*command, PORT=str(port), LOG_FORMAT="text") for port in ports]
    eventually(lambda: all(_ready_workers(one) == 4 for one in masters), within=120, what="all 16 workers are ready")
    assert server_state.applied(database) == histories.HUNDRED
    assert server_state.versions(database) == histories.HUNDRED[-1:]
    assert [_status(port) for port in ports] == [200] * 4
    for one in masters:
        one.send(signal.SIGTERM)
    assert [one.wait() for one in masters] == [0] * 4, _errors(masters)
    assert [one.stdout.count("Booting worker") for one in masters] == [4] * 4


@NEEDED
def test_16_processes_start_together_behind_pgbouncer(
    hundred: Tree, database: Dsn, other_session: Connection, pooler: Pooler
) -> None:
    """In transaction mode the lock excludes just as well, is left by nobody, and the log names the way around the pooler."""
    pooled = Tree(hundred.root, pooler.dsn(database))
    try:
        release = _hold(other_session)
        started = [pooled.start(*MIGRATE) for _ in range(16)]
        eventually(lambda: all(WAITS in one.stderr for one in started), within=90, what="all 16 wait")
        release()
        assert [one.wait(120) for one in started] == [0] * 16, _errors(started)
    finally:
        pooled.end()
    assert server_state.applied(database) == histories.HUNDRED
    assert server_state.holder(database) is None
    assert [one for one in server_state.locks(database) if one[1] == "advisory"] == []
    migrated = [one for one in started if "100 revisions" in one.stdout]
    assert len(migrated) == 1
    assert re.search(r"a pooler .*MIGRATE_DATABASE_URL", migrated[0].stderr)


def _hold(session: Connection) -> Callable[[], None]:
    """Keep everybody waiting until what this returns is called."""
    with session.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", (advisory_lock.KEY,))
    return session.rollback


def _errors(started: list[Running]) -> str:
    return "\n".join(one.stderr + one.stdout for one in started if one.process.poll())[-4000:]


def _ready_workers(master: Running) -> int:
    assert master.process.poll() is None, master.stdout + master.stderr
    return len(re.findall(r"upgrade: .*the database is at|start: the database is at head", master.stdout))


def _status(port: int) -> int:
    with closing(urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=10)) as answer:
        return int(answer.status)
