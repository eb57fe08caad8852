"""A process that migrates is killed without notice at any moment; the next start finishes its work."""

from __future__ import annotations

import os
import random
import re
import shutil
import time
from collections.abc import Iterator

import pytest

from railhead.dsn import Dsn
from tests.chaos import histories, server_state
from tests.databases import Databases, rows_of
from tests.forked_tree import Workshop
from tests.processes import Running, eventually
from tests.project_tree import MIGRATE, Tree, copy_project

REVISIONS = list(histories.THIRTY)
KILLS = 10
MOST_DATABASES = 30
SOME_DATA_FROM = 3
"""How many revisions most of the databases have at first, so that each later one is a transaction of its own."""


class Undisturbed:
    """What a run that nobody disturbs does, and how long it takes."""

    def __init__(self, workshop: Workshop, databases: Databases) -> None:
        """Run it in `workshop`, from nothing and from half way."""
        self.workshop = workshop
        self.half_way = databases.new()
        self.migrate(self.half_way, f"+{SOME_DATA_FROM}")
        whole, stepwise = databases.new(), databases.new(self.half_way.parameters()["dbname"])
        began = time.monotonic()
        self.migrate(whole)
        self.seconds = time.monotonic() - began
        said = self.migrate(stepwise)
        self.steps = {name: float(ms) / 1000 for name, ms in re.findall(r"upgrade: (\w+) in (\d+) ms", said)}
        self.schema = server_state.schema(whole)
        assert server_state.schema(stepwise) == self.schema

    def migrate(self, database: Dsn, target: str = "head") -> str:
        """Bring a database to `target` and return what was said meanwhile."""
        self.workshop.database = database
        result = self.workshop.migrate("upgrade", target)
        assert result.returncode == 0, result.stderr
        return result.stderr


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, server: Dsn, worker_id: str) -> Iterator[Undisturbed]:
    """A project with the thirty revisions, and what they come to."""
    root = tmp_path_factory.mktemp("kills") / "tree"
    copy_project(root)
    workshop = Workshop(root, root)
    shutil.rmtree(workshop.versions)
    workshop.versions.mkdir()
    histories.write_thirty(workshop)
    databases = Databases(server, f"railhead_kills_{worker_id}_{random.randrange(10**6)}")
    yield Undisturbed(workshop, databases)
    workshop.close()
    databases.drop()


@pytest.mark.parametrize("portion", range(5))
def test_killed_at_any_moment_the_next_start_finishes(
    undisturbed: Undisturbed, portion: int, databases: Databases
) -> None:
    """Ten kills, each in a database of its own: always head, the same schema, no revision twice, nothing INVALID, nobody left.

    Every other time the next start comes at once, when PostgreSQL may still be at the statement of the one that was killed.
    """
    seed = int(os.environ.get("CHAOS_SEED", random.randrange(10**9)))
    chance = random.Random(seed + portion)
    template = undisturbed.half_way.parameters()["dbname"]
    killed = 0
    for number in range(MOST_DATABASES):
        database = databases.new() if killed % 5 == 0 else databases.new(template)
        told = f"CHAOS_SEED={seed}, database {number}"
        killed += _kill_and_start_again(undisturbed, database, chance, told, at_once=number % 2 == 0)
        if killed == KILLS:
            break
    assert killed == KILLS, f"CHAOS_SEED={seed}: only {killed} processes were still at work when they were to be killed"


def _kill_and_start_again(
    undisturbed: Undisturbed, database: Dsn, chance: random.Random, told: str, *, at_once: bool
) -> bool:
    """Tell whether the process was still at work when it was killed; either way the next one finds its way."""
    doomed = Tree(undisturbed.workshop.root, database).start(*MIGRATE)
    moment = _wait_for_a_moment(doomed, database, undisturbed, chance)
    killed = doomed.process.poll() is None
    doomed.end()
    print(f"{told}: {'killed' if killed else 'ended'} {moment}{', next at once' if at_once else ''}")
    if not at_once:
        _nobody_is_left(database)
    undisturbed.migrate(database)
    _nobody_is_left(database)
    assert server_state.versions(database) == REVISIONS[-1:]
    assert sorted(server_state.applied(database)) == REVISIONS
    assert server_state.schema(database) == undisturbed.schema
    assert server_state.invalid_indexes(database) == []
    rows = rows_of(database, "SELECT DISTINCT sort, email LIKE 'a%@%' FROM entry JOIN account ON account.id = account")
    assert rows == [("older", True)]
    return killed


def _nobody_is_left(database: Dsn) -> None:
    eventually(
        lambda: not server_state.sessions(database) and not server_state.locks(database),
        within=2,
        what="nobody is left",
    )


def _wait_for_a_moment(doomed: Running, database: Dsn, undisturbed: Undisturbed, chance: random.Random) -> str:
    """Return at a random moment of the run, read off its log where it tells its steps, and say which."""
    eventually(
        lambda: server_state.sessions(database, "railhead upgrade%") or doomed.process.poll() is not None, within=30
    )
    if not server_state.versions(
        database
    ):  # from nothing, when one transaction holds all up to the first step that leaves it
        after = chance.uniform(0, undisturbed.seconds)
        time.sleep(after)
        return f"{after * 1000:.0f} ms after it connected"
    step = chance.randrange(SOME_DATA_FROM, len(REVISIONS))
    before = f"upgrade: {REVISIONS[step - 1]} in "
    if step > SOME_DATA_FROM:
        eventually(lambda: before in doomed.stderr or doomed.process.poll() is not None, within=30)
    after = chance.uniform(0, undisturbed.steps[REVISIONS[step]])
    time.sleep(after)
    return f"{after * 1000:.0f} ms after {REVISIONS[step]} began"
