"""Does whoever waits for the migration lock say at once who holds it, whatever the command?"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator

import pytest

from railhead.dsn import Dsn
from railhead.execution.exclusive import TELL_EVERY
from railhead.postgres.advisory_lock import Lock
from railhead.postgres.connection import connect
from tests.databases import rows_of
from tests.forked_tree import Workshop
from tests.processes import Running, eventually
from tests.project_tree import MIGRATE

START = (sys.executable, "-c", "from app import create_app; create_app()")


@pytest.fixture
def held(database: Dsn) -> Iterator[Lock]:
    """The migration lock of the database, held by somebody else."""
    lock = Lock(connect(database, "railhead upgrade @ elsewhere"))
    assert lock.try_take()
    yield lock
    lock.release()


def adopting(tree: Workshop, database: Dsn) -> Running:
    """Return `adopt`, at work on a database without a version."""
    rows_of(database, "DROP TABLE alembic_version, migration_ledger")
    return tree.start(*MIGRATE, "adopt", LOG_FORMAT="text")


def resetting(tree: Workshop, database: Dsn) -> Running:
    """Return `reset`, agreed to."""
    return tree.start(*MIGRATE, "reset", f"--yes={database.parameters()['dbname']}", LOG_FORMAT="text")


def falling_back(tree: Workshop, database: Dsn) -> Running:
    """Return a start that makes the tables of the models, because its history cannot be read."""
    del database
    tree.write("0003_broken", "this is no Python")
    return tree.start(*START, DEV_CREATE_TABLES="true", LOG_FORMAT="text")


@pytest.mark.parametrize(("doing", "begin"), [("adopt", adopting), ("reset", resetting), ("create_all", falling_back)])
def test_who_holds_the_lock_is_said_while_it_is_waited_for(
    at_head: Workshop, database: Dsn, held: Lock, doing: str, begin: Callable[[Workshop, Dsn], Running]
) -> None:
    """Within seconds, with the pid and the name of the holder; once he is gone, the work is done."""
    assert TELL_EVERY <= 5
    running = begin(at_head, database)
    line = f"{doing}: waiting for the migration lock, held by pid {held.pid}, railhead upgrade @ elsewhere"
    eventually(lambda: line in running.stdout + running.stderr, within=TELL_EVERY + 15, what=line)
    held.release()
    assert running.wait() == 0, running.stderr
