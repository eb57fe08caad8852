"""A safe verb is killed at any moment; the next run completes it, nothing is there twice and nothing is INVALID."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from multiprocessing.connection import Connection as Pipe

import pytest

from railhead.dsn import Dsn
from tests.databases import rows_of
from tests.processes import eventually
from tests.verbs import INDEX_ON_PARTITIONS, TABLES, VERBS, Call, answer, is_ended, run

pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")

ALL = {**VERBS, "create_index_concurrently on partitions": INDEX_ON_PARTITIONS}

MOMENTS = 20
ROWS = 20_000

LARGE = f"""
INSERT INTO shop."Item" SELECT i, 'other ' || i, 1, i % 10 + 1 FROM generate_series(501, {ROWS}) i;
"""

INVALID = "SELECT indexrelid::regclass::text FROM pg_index WHERE NOT indisvalid"

FORK = multiprocessing.get_context("fork")


@pytest.mark.parametrize("name", ALL)
def test_verb_killed_at_random_moments_is_completed_by_the_next_run(database: Dsn, name: str) -> None:
    """Twenty times: the process gets SIGKILL in the middle of its work, and the verb is run again from the top."""
    verb = ALL[name]
    rows_of(database, TABLES + LARGE + verb.before)
    span = timed(lambda: run(database, verb.call))
    expected = answer(database, verb)
    dice = random.Random(name)
    killed = 0
    while killed < MOMENTS:
        rows_of(database, TABLES + LARGE + verb.before)
        after = span * dice.uniform(0, 1)
        if is_killed(database, verb.call, after):
            killed += 1
        else:
            span *= 0.9  # it was done before that
        if killed % 2:
            server_has_noticed(database)  # else it may still be at the killed process's statement
        run(database, verb.call)
        server_has_noticed(database)
        assert answer(database, verb) == expected, f"moment {killed}: killed after {after * 1000:.1f} ms"
        assert rows_of(database, INVALID) == []


@pytest.mark.parametrize("name", ALL)
def test_verb_completes_after_its_session_was_killed_before_any_statement(database: Dsn, name: str) -> None:
    """Wherever the session ends, the next run of the verb finishes the work; nothing is there twice or INVALID."""
    verb = ALL[name]
    survived = False
    number = 0
    while not survived:
        number += 1
        rows_of(database, TABLES + verb.before)
        survived = not is_ended(database, verb.call, number)
        run(database, verb.call)
        assert answer(database, verb) == verb.answer, f"killed before statement {number}"
        assert rows_of(database, INVALID) == []
    assert number > 2


def test_backfill_of_a_million_rows_goes_on_where_it_was_killed(database: Dsn) -> None:
    """No transaction holds more than one batch; after SIGKILL the finished batches are not written again."""
    for statement in (
        "CREATE TABLE event (id int PRIMARY KEY, note text)",
        "INSERT INTO event SELECT i, 'event ' || i FROM generate_series(1, 1000000) i",
        "ANALYZE event",
        "ALTER TABLE event ADD kind int",  # the planner knows nothing of it, and would read the whole table in parallel
    ):
        rows_of(database, statement)
    call: Call = lambda op: op.backfill("event", "kind = 1", "kind IS NULL")  # noqa: E731
    done = "SELECT count(*) FROM event WHERE kind = 1"

    process = started(database, call)
    eventually(lambda: int(str(rows_of(database, done)[0][0])) > 200_000, within=120)
    kill(process)
    server_has_noticed(database)
    before = {str(row[0]) for row in rows_of(database, "SELECT xmin::text FROM event WHERE kind = 1")}
    finished = int(str(rows_of(database, done)[0][0]))
    seconds = timed(lambda: run(database, call))

    assert 200_000 < finished < 1_000_000
    kept = rows_of(database, "SELECT count(*) FROM event WHERE xmin::text = ANY (%s)", [list(before)])
    assert kept == [(finished,)]
    sizes = rows_of(database, "SELECT max(n), count(*) FROM (SELECT count(*) AS n FROM event GROUP BY xmin::text) b")
    assert sizes[0][0] == 5000
    assert rows_of(database, done) == [(1_000_000,)]
    single = timed(lambda: rows_of(database, "UPDATE event SET kind = 2"))
    rate = (1_000_000 - finished) / seconds
    print(
        f"backfill {rate:.0f} rows/s in batches of 5000; one single UPDATE {1_000_000 / single:.0f} rows/s",
        file=sys.stderr,
    )


def timed(work: Callable[[], object]) -> float:
    """Return the seconds that `work` takes."""
    began = time.monotonic()
    work()
    return time.monotonic() - began


def started(database: Dsn, call: Call) -> multiprocessing.process.BaseProcess:
    """Return a process that has just begun with the verb."""
    here, there = FORK.Pipe(duplex=False)
    process = FORK.Process(target=_work, args=(database, call, there))
    process.start()
    here.recv()
    return process


def _work(database: Dsn, call: Call, begun: Pipe) -> None:
    def begin(op: object) -> None:
        begun.send(None)
        call(op)  # type: ignore[arg-type]

    try:
        run(database, begin)
    finally:
        os._exit(0)  # whatever the test process has open is not this one's to close


def is_killed(database: Dsn, call: Call, after: float) -> bool:
    """Kill a process that runs the verb `after` seconds from its beginning; tell whether it was still at work."""
    process = started(database, call)
    process.join(after)
    alive = process.is_alive()
    kill(process)
    return alive


def kill(process: multiprocessing.process.BaseProcess) -> None:
    """Kill the process."""
    assert process.pid is not None
    if process.is_alive():
        os.kill(process.pid, signal.SIGKILL)
    process.join()


def server_has_noticed(database: Dsn) -> None:
    """Return when PostgreSQL has ended what the killed process had begun."""
    others = (
        "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        " AND backend_type = 'client backend'"
    )
    eventually(lambda: not rows_of(database, others), within=60)
