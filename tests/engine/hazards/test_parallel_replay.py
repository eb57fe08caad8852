"""A long replay is spread over two processes, and ends as if it were one."""

from __future__ import annotations

import os

import pytest

from railhead.devserver.scratch import PREFIX
from railhead.dsn import Dsn
from railhead.hazards import history_replay, parallel_replay
from railhead.hazards.replay import Failed
from railhead.history import loader
from railhead.history.graph import History
from railhead.project import Project
from tests.databases import rows_of
from tests.forked_tree import Workshop
from tests.processes import eventually

pytestmark = pytest.mark.skipif(os.cpu_count() == 1, reason="this machine has one core: nothing is spread")


@pytest.fixture
def spread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let six revisions be worth another process."""
    monkeypatch.setattr(parallel_replay, "_WORTH_IT", 6)
    monkeypatch.setattr(parallel_replay, "_cores", lambda: 2)


def six(tree: Workshop, last: str = "print('a revision may print')") -> History:
    """Write six revisions, and return their history."""
    tree.write("0001_first", "op.execute('CREATE TABLE t (a int)')", "op.execute('DROP TABLE t')")
    for number in range(2, 6):
        tree.write(f"000{number}_more", f"op.execute('ALTER TABLE t ADD b{number} int')", "pass")
    tree.write("0006_last", f"{last}\nop.create_index('i', 't', ['a'])", "op.drop_index('i')")
    return loader.history(Project(root=tree.root))


@pytest.mark.usefixtures("spread")
def test_two_halves_are_the_whole(bare: Workshop, server: Dsn) -> None:
    """Both processes together give the same footprints in the same order as one alone, and each revision is told once."""
    history = six(bare)
    told: list[str] = []
    found = list(parallel_replay.footprints(server, history, history.by_id, told.append))
    alone = list(history_replay.footprints(server, history, history.by_id, lambda _: None))
    assert found == alone
    assert sorted(told) == list(history.by_id)


@pytest.mark.usefixtures("spread")
def test_failure_of_the_other_half_is_told_here(bare: Workshop, server: Dsn) -> None:
    """A revision that does not run is named with its error, whoever met it first; nothing is left on the server."""
    history = six(bare, "op.execute('SELEC 1')")
    found = []
    with pytest.raises(Failed, match="0006_last: syntax error"):
        found += [one.revision for one in parallel_replay.footprints(server, history, history.by_id, lambda _: None)]
    eventually(lambda: not scratch_databases(server), within=30, what="the scratch databases are gone")


@pytest.mark.usefixtures("spread")
def test_who_stops_asking_leaves_nothing_behind(bare: Workshop, server: Dsn) -> None:
    """Given up half way, both processes drop what they have made."""
    history = six(bare)
    footprints = parallel_replay.footprints(server, history, history.by_id, lambda _: None)
    assert next(footprints).revision == "0001_first"
    footprints.close()
    eventually(lambda: not scratch_databases(server), within=30, what="the scratch databases are gone")


def scratch_databases(server: Dsn) -> list[tuple[object, ...]]:
    """Return the scratch databases on the server."""
    return rows_of(server, "SELECT datname FROM pg_database WHERE starts_with(datname, %s)", [PREFIX])
