"""A board of ten thousand tasks: what a visit takes, and fifty visitors at once."""

from __future__ import annotations

import re
from statistics import median

import pytest

from tests.chaos.web import load
from tests.databases import rows_of
from tests.processes import eventually
from tests.project_tree import Tree
from tests.web.replica import Replica

SECONDS = 20

LONGEST = 100
"""Milliseconds of the server's time that half of the visits may take at most."""

VISITS = 20


@pytest.mark.alone
def test_visit_takes_less_than_a_tenth_of_a_second(project: Tree, capsys: pytest.CaptureFixture[str]) -> None:
    """The board, searched, on a later page and filtered by a member, by the milliseconds in gunicorn's log."""
    replica = Replica(project, {}, APP_ENV="development", LOG_LEVEL="info")
    assert project.database is not None
    rows_of(project.database, load.SEED)
    [[somebody]] = rows_of(project.database, "SELECT min(id) FROM member")
    paths = ["/", "/?q=task", "/?todo=167", f"/?member={somebody}"]
    shown = {path: replica.get(path).html.count('<li class="card">') for path in paths}
    assert shown == {"/": 60, "/?q=task": 60, "/?todo=167": 53, f"/?member={somebody}": 60}
    for path in paths * VISITS:
        assert replica.get(path).status == 200

    def took(path: str) -> list[int]:
        return [int(ms) for ms in re.findall(rf"GET {re.escape(path)} 200 (\d+) ms", replica.process.stdout)]

    eventually(lambda: all(len(took(path)) == VISITS + 1 for path in paths), what="all visits are in the log")
    seen = {path: median(took(path)[1:]) for path in paths}
    with capsys.disabled():
        print("".join(f"\n{path}: {ms:.0f} ms" for path, ms in seen.items()), end="")
    assert max(seen.values()) < LONGEST, seen


@pytest.mark.alone
def test_fifty_connections_meet_no_error(project: Tree, capsys: pytest.CaptureFixture[str]) -> None:
    """For twenty seconds every request is answered well; a bare page of one query and one template says what that is worth."""
    (project.root / "bare.py").write_text(load.BARE)
    board = Replica(project, {}, APP_ENV="development", LOG_LEVEL="warning")
    assert project.database is not None
    rows_of(project.database, load.SEED)
    bare = Replica(project, {}, application="bare:app", APP_ENV="development", LOG_LEVEL="warning")
    assert "Task 60" in bare.get("/").text
    loads = {"board": (board, SECONDS), "bare": (bare, 5)}
    seen = {name: load.figures(load.begin(project, *one)) for name, one in loads.items()}
    with capsys.disabled():
        for name, one in seen.items():
            print(f"\n{name}: {one}", end="")
    assert {(one.lost, one.refused, one.codes) for one in seen.values()} == {(0, 0, frozenset({200}))}
