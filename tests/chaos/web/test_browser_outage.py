"""The database goes away under people who are at work, and comes back."""

from __future__ import annotations

import copy
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import pytest
from psycopg2.extensions import connection as Connection

from railhead.devserver.server import Server
from railhead.dsn import Dsn
from tests.chaos.proxy import Proxy
from tests.chaos.web import load
from tests.databases import memory, rows_of
from tests.processes import eventually
from tests.project_tree import Tree
from tests.web.replica import Replica
from tests.web.visitor import Page

SECONDS = 10
"""For which fifty visitors look at the board meanwhile."""

QUICK = {"fsync": "off", "shared_buffers": "16MB"}
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")


@pytest.fixture
def own_server() -> Iterator[Server]:
    """A server that a test may stop."""
    with tempfile.TemporaryDirectory(dir=memory(), ignore_cleanup_errors=True) as place:
        server = Server(Path(place) / "postgres", QUICK)
        server.start()
        yield server
        server.stop("immediate")


class Worker(threading.Thread):
    """Somebody who adds one project after the other, and notes what was reported as done."""

    def __init__(self, replica: Replica, name: str) -> None:
        """Start with a cookie and a token of one's own."""
        super().__init__(name=name, daemon=True)
        self.replica = copy.copy(replica)
        self.replica.cookies = {}
        self.token = self.replica.get("/projects").form(sends="name").fields["csrf_token"]
        self.done: list[str] = []
        self.answers: Counter[object] = Counter()
        self.slowest = 0.0
        self.last_done = 0.0
        self.enough = threading.Event()

    def run(self) -> None:
        """Work until told that it is enough."""
        number = 0
        while not self.enough.is_set():
            number += 1
            name = f"{self.name} {number}"
            began = time.monotonic()
            answer = self._send(name)
            self.slowest = max(self.slowest, time.monotonic() - began)
            self.answers[answer] += 1
            if answer == 303:
                self.done.append(name)
                self.last_done = time.monotonic()

    def _send(self, name: str) -> object:
        try:
            return self.replica.post("/projects", csrf_token=self.token, name=name).status
        except OSError as error:
            return error


@pytest.mark.parametrize(
    ("mode", "visitors"),
    [
        ("fast", False),
        ("immediate", False),
        pytest.param("fast", True, marks=pytest.mark.alone),
        pytest.param("immediate", True, marks=pytest.mark.alone),
    ],
)
def test_outage_is_503_then_over_and_loses_nothing(
    project: Tree,
    own_server: Server,
    mode: Literal["fast", "immediate"],
    visitors: bool,
) -> None:
    """While the server is away every answer is 503; soon after it is back work goes on; what was reported as done is there."""
    tree = Tree(project.root, own_server.dsn)
    try:
        replica = Replica(tree, {}, APP_ENV="development")
        rows_of(own_server.dsn, load.SEED)
        workers = [Worker(replica, f"worker {number}") for number in range(4)]
        for worker in workers:
            worker.start()
        crowd = load.begin(tree, replica, SECONDS) if visitors else None
        eventually(lambda: all(worker.done for worker in workers), what="work begins")
        own_server.stop(mode)
        eventually(lambda: all(worker.answers[503] for worker in workers), what="they are told")
        own_server.start()
        back = time.monotonic()
        eventually(lambda: all(worker.last_done > back for worker in workers), within=10, what="work goes on")
        took = time.monotonic() - back
        for worker in workers:
            worker.enough.set()
            worker.join()
        seen = load.figures(crowd) if crowd else None
        kept = {str(row[0]) for row in rows_of(own_server.dsn, "SELECT name FROM project")}
    finally:
        tree.end()
    if seen:
        assert (seen.lost, seen.codes) == (0, {200, 503}), _first_fault(replica)
    assert {answer for worker in workers for answer in worker.answers} == {303, 503}
    assert {name for worker in workers for name in worker.done} <= kept
    assert took < 2
    assert max(worker.slowest for worker in workers) < 5


def test_server_that_says_nothing_costs_seconds(project: Tree, database: Dsn, other_session: Connection) -> None:
    """Behind a dead network, a statement under way or not, every answer is 503 in time, and the process says that it lives.

    Once the network is back, so is the board.
    """
    network = Proxy(database)
    tree = Tree(project.root, network.dsn(database))
    try:
        replica = Replica(tree, {}, APP_ENV="development")
        token = replica.get("/projects").form(sends="name").fields["csrf_token"]
        with other_session.cursor() as cursor:
            cursor.execute("LOCK TABLE project IN SHARE MODE")
        asked = [Asked(replica.post, "/projects", csrf_token=token, name="under way")]
        eventually(
            lambda: rows_of(database, "SELECT 1 FROM pg_locks WHERE NOT granted"), what="a statement is under way"
        )
        network.cut()
        asked += [Asked(replica.get, path) for path in ("/", "/schema", "/readyz")]
        asked += [Asked(replica.post, "/projects", csrf_token=token, name="Quay")]
        alive: list[Asked] = []

        def all_told() -> bool:
            alive.append(Asked(replica.get, "/healthz"))
            return alive[-1].told()[0] == 200 and not any(one.is_alive() for one in asked)

        eventually(all_told, within=20, what="everybody is told, and the process lives")
        assert [one.told()[0] for one in asked] == [503] * 5
        assert max(one.told()[1] for one in asked) < 15
        assert {one.told()[0] for one in alive} == {200}
        crowd = [Asked(replica.get, "/") for _ in range(50)]
        assert Asked(replica.get, "/healthz").told()[1] < 5
        assert {one.told()[0] for one in crowd} == {503}
        assert max(one.told()[1] for one in crowd) < 10
        other_session.rollback()
        network.mend()
        eventually(lambda: replica.get("/").status == 200, what="the board is back")
        # each worker finds out for itself, and tells those at the door for a second more
        eventually(lambda: replica.post("/projects", csrf_token=token, name="Pier").status == 303, what="work goes on")
    finally:
        tree.end()
        network.end()


class Asked(threading.Thread):
    """A question that was sent, and what became of it."""

    def __init__(self, ask: Callable[..., Page], path: str, **fields: str) -> None:
        """Send it."""
        super().__init__(daemon=True)
        self._ask, self._path, self._fields = ask, path, fields
        self._status, self._took = 0, 0.0
        self.start()

    def run(self) -> None:
        """Wait for the answer."""
        began = time.monotonic()
        self._status = self._ask(self._path, **self._fields).status
        self._took = time.monotonic() - began

    def told(self) -> tuple[int, float]:
        """Return the status and the seconds that it took."""
        self.join()
        return self._status, self._took


def _first_fault(replica: Replica) -> str:
    """Return the beginning of the first traceback in the log."""
    return replica.process.stdout.partition("Traceback")[2][:5000]
