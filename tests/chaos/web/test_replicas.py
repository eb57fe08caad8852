"""Several replicas of several workers each: whoever answers, it is one application."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.databases import rows_of
from tests.processes import eventually
from tests.project_tree import Tree
from tests.web.replica import Replica

PASSWORD = "correct horse battery staple"
WORKERS = 4


@pytest.fixture
def variables() -> dict[str, str]:
    """What all replicas of one deploy share; each has several workers."""
    return {"ADMIN_PASSWORD": PASSWORD, "SECRET_KEY": "k" * 32, "WEB_CONCURRENCY": str(WORKERS)}


def workers(replica: Replica) -> list[int]:
    """Return the process ids of a replica's workers, once all are there."""
    children = Path(f"/proc/{replica.process.pid}/task/{replica.process.pid}/children")
    eventually(lambda: len(children.read_text().split()) == WORKERS, what="all workers are there")
    return [int(pid) for pid in children.read_text().split()]


def each_worker(replica: Replica) -> Iterator[int]:
    """Let one worker after the other answer, alone: the others stand still for as long."""
    found = workers(replica)
    for worker in found:
        others = [one for one in found if one != worker]
        for one in others:
            os.kill(one, signal.SIGSTOP)
        try:
            eventually(lambda others=others: all(_stands_still(one) for one in others), what="they stand still")
            yield worker
        finally:
            for one in others:
                os.kill(one, signal.SIGCONT)


def _stands_still(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


def test_sign_in_holds_on_every_worker_and_after_a_restart(project: Tree, variables: dict[str, str]) -> None:
    """A cookie and a token from one worker are good for every other, and after a restart; no worker takes a form without."""
    assert project.database is not None
    cookies: dict[str, str] = {}
    first = Replica(project, cookies, **variables)
    assert first.sign_in(PASSWORD).status == 303
    token = first.get("/projects").form(sends="name").fields["csrf_token"]

    def answers(replica: Replica, name: str) -> list[tuple[int, int]]:
        return [
            (
                replica.post("/projects", csrf_token=token, name=f"{name} {worker}").status,
                replica.post("/projects", name="without a token").status,
            )
            for worker in each_worker(replica)
        ]

    before = workers(first)
    assert answers(first, "Quay") == [(303, 400)] * WORKERS
    first.process.send(signal.SIGTERM)
    assert first.process.wait() == 0
    second = Replica(project, cookies, **variables)
    assert answers(second, "Pier") == [(303, 400)] * WORKERS
    kept = {str(name) for (name,) in rows_of(project.database, "SELECT name FROM project")}
    assert kept == {f"Quay {pid}" for pid in before} | {f"Pier {pid}" for pid in workers(second)}


def test_limit_on_wrong_passwords_is_one_for_all_workers(project: Tree, variables: dict[str, str]) -> None:
    """Guessing at one worker is counted at every other, on another replica too, and after a restart."""
    assert project.database is not None
    first, second = Replica(project, {}, **variables), Replica(project, {}, **variables)
    assert [first.sign_in("guess").status for _ in each_worker(first)] == [403] * WORKERS
    assert second.sign_in("guess").status == 403
    refused = [second.sign_in("guess").status for _ in each_worker(second)]
    assert 429 in refused, "each 403 doubles a wait that a slow machine sat out"
    assert rows_of(project.database, "SELECT failures FROM sign_in_attempt") == [(WORKERS + 1 + refused.count(403),)]
    first.process.send(signal.SIGTERM)
    assert first.process.wait() == 0
    third = Replica(project, {}, **variables)
    again = third.sign_in("guess").status
    if again == 403:  # starting took longer than the wait, which is doubled now
        again = second.sign_in("guess").status
    assert again == 429
