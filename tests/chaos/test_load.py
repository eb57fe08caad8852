"""Fifty visitors at once on a board of ten thousand tasks."""

from __future__ import annotations

import pytest

from tests.chaos import load
from tests.ground import Tree, rows_of
from tests.web.replica import Replica

SECONDS = 20


def test_fifty_connections_meet_no_error(project: Tree, capsys: pytest.CaptureFixture[str]) -> None:
    """For twenty seconds every request is answered well; a bare page of one query and one template says what that is worth."""
    (project.root / "bare.py").write_text(load.BARE)
    board = Replica(project, {}, APP_ENV="development", LOG_LEVEL="warning")
    assert project.database is not None
    rows_of(project.database, load.SEED)
    bare = Replica(project, {}, application="bare:app", APP_ENV="development", LOG_LEVEL="warning")
    assert "Task 60" in bare.get("/").text
    seen = {name: load.figures(load.begin(project, one, SECONDS)) for name, one in (("board", board), ("bare", bare))}
    with capsys.disabled():
        for name, one in seen.items():
            print(f"\n{name}: {one}", end="")
    assert {(one.lost, one.refused, one.codes) for one in seen.values()} == {(0, 0, frozenset({200}))}
