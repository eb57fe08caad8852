"""The database goes away under people who are at work, and comes back."""

from __future__ import annotations

import copy
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest

from tests.chaos import load
from tests.ground import Tree, eventually, memory, rows_of
from tests.web.replica import Replica
from utils.cluster import Server

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


@pytest.mark.parametrize(("mode", "visitors"), [("fast", False), ("immediate", False), ("immediate", True)])
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


def _first_fault(replica: Replica) -> str:
    """Return the beginning of the first traceback in the log."""
    return replica.process.stdout.partition("Traceback")[2][:5000]
