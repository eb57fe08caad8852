"""Waits that PostgreSQL does not end, ended."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from weakref import WeakSet

import psycopg2
import pytest
from psycopg2.extensions import connection as Connection

from railhead.dsn import Dsn
from railhead.postgres import failures, interrupts
from railhead.postgres.activity import Monitor
from railhead.postgres.connection import connect, fetch_value
from tests.databases import rows_of
from tests.processes import eventually

LONG = "SELECT pg_sleep(30)"

WATCHERS = (
    "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'watching (progress)'"
)


@pytest.fixture
def watched(database: Dsn) -> Iterator[Connection]:
    """A connection that a signal cancels and a limit cuts."""
    connection = connect(database, "watched")
    with connection.cursor() as cursor:
        cursor.execute("SET client_connection_check_interval = 50")  # so that what was cut off ends soon
    yield connection
    connection.close()


def run(connection: Connection) -> None:
    """Wait for the long statement."""
    with connection.cursor() as cursor:
        cursor.execute(LONG)


def test_answer_that_does_not_come_is_a_lost_connection(watched: Connection) -> None:
    """When the limit is over the socket is cut, and the waiting call fails as if the server had gone."""
    began = time.monotonic()
    with interrupts.watching(), pytest.raises(psycopg2.OperationalError) as caught, interrupts.limit(watched, 0.2):
        run(watched)
    assert 0.2 <= time.monotonic() - began < 10
    assert failures.is_lost(caught.value)


def test_answer_in_time_is_left_alone(watched: Connection) -> None:
    """A limit ends with its block: what comes later may take its time."""
    with interrupts.watching(), watched.cursor() as cursor:
        with interrupts.limit(watched, 0.2):
            cursor.execute("SELECT 1")
        cursor.execute("SELECT pg_sleep(0.4)")


def test_no_limit_is_longer_than_the_run_allows(watched: Connection) -> None:
    """Inside `at_most` a longer limit is cut short, and afterwards is what it says again."""
    began = time.monotonic()
    with (
        interrupts.watching(),
        interrupts.at_most(0.2),
        pytest.raises(psycopg2.OperationalError),
        interrupts.limit(watched, 30),
    ):
        run(watched)
    assert time.monotonic() - began < 10
    assert interrupts.longest(30) == 30


def test_outer_limit_holds_again_after_an_inner_one(watched: Connection) -> None:
    """A question with a limit of its own does not make what surrounds it endless."""
    began = time.monotonic()
    with interrupts.watching(), interrupts.limit(watched, 0.3):
        fetch_value(watched, "SELECT 1")
        with pytest.raises(psycopg2.OperationalError):
            run(watched)
    assert time.monotonic() - began < 10


def test_connections_are_made_while_others_are_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread may register a connection while a signal cancels what runs; the list of them waits for it."""

    class Another(WeakSet[Connection]):
        """Connects in the middle of being looked at, as the thread that tells the progress may."""

        def __iter__(self) -> Iterator[Connection]:
            thread = threading.Thread(target=interrupts.register, args=(_Open(),), daemon=True)
            thread.start()
            thread.join(0.05)
            yield from super().__iter__()
            assert thread.is_alive(), "it did not wait"

    monkeypatch.setattr(interrupts, "_connections", Another())
    guardian = interrupts._Watchdog()
    guardian._last_resort = time.monotonic() + 60
    guardian._insist(signal.SIGTERM)
    guardian._inbox.close()
    guardian._outbox.close()


class _Open:
    """Something that can be kept by weak reference."""


def test_handler_that_is_not_pythons_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a server in C handles the signals, Python knows no handler to put back: nothing is installed, nothing fails."""
    installed: list[object] = []
    monkeypatch.setattr(signal, "getsignal", lambda _: None)
    monkeypatch.setattr(signal, "signal", lambda _, handler: installed.append(handler))
    with interrupts.watching():
        pass
    assert installed == []


def test_without_a_watch_nothing_is_cut(watched: Connection) -> None:
    """In a web worker, which does not watch, a limit has no effect."""
    with interrupts.limit(watched, 0.01), watched.cursor() as cursor:
        cursor.execute("SELECT pg_sleep(0.1)")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_cancels_what_runs(watched: Connection, database: Dsn, number: signal.Signals) -> None:
    """A statement of half a minute ends at once, and whoever waited for it is told which signal came."""
    before = signal.getsignal(number)
    began = time.monotonic()
    _when_it_runs(database, lambda: os.kill(os.getpid(), number))
    with pytest.raises(interrupts.Interrupted) as caught, interrupts.watching():
        run(watched)
    assert time.monotonic() - began < 10
    assert (caught.value.signum, caught.value.exit_code) == (number, 128 + number)
    assert signal.getsignal(number) is before
    assert not rows_of(
        database,
        "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND state = 'active' AND query = %s",
        [LONG],
    )


def test_watches_may_be_nested(watched: Connection) -> None:
    """The outermost counts: its handlers stay until it ends."""
    before = signal.getsignal(signal.SIGTERM)
    with interrupts.watching():
        ours = signal.getsignal(signal.SIGTERM)
        with interrupts.watching():
            assert signal.getsignal(signal.SIGTERM) == ours
        assert signal.getsignal(signal.SIGTERM) == ours
        with pytest.raises(psycopg2.OperationalError), interrupts.limit(watched, 0.1):
            run(watched)
    assert signal.getsignal(signal.SIGTERM) is before


def test_hanging_up_a_closed_connection_is_no_error(watched: Connection) -> None:
    """Whoever cuts a connection need not know whether somebody closed it meanwhile."""
    watched.close()
    interrupts.hang_up(watched)


def test_nobody_watches_any_more_when_the_run_has_ended(database: Dsn) -> None:
    """A server forks next: no thread, and no connection, of the monitor is left then."""
    with psycopg2.connect(database) as connection, Monitor(database, "watching") as monitor:
        monitor.watch(connection, connection.info.backend_pid, "upgrade")
        eventually(lambda: rows_of(database, WATCHERS), what="it watches")
    assert "railhead-progress" not in {thread.name for thread in threading.enumerate()}
    eventually(lambda: not rows_of(database, WATCHERS))
    connection.close()


def test_refusal_of_a_question_is_an_answer(database: Dsn) -> None:
    """A role whose own limits end what the monitor asks is no dead network: the migration keeps its connection."""
    view = "CREATE SCHEMA odd; CREATE VIEW odd.pg_stat_activity AS SELECT 1 / (random() * 0)::int AS pid,"
    rows_of(
        database,
        f"{view} '' AS state, '' AS query, 'watching' AS application_name, '' AS wait_event_type, now() AS query_start",
    )
    odd = database.with_(options="-csearch_path=odd,pg_catalog")
    _assert_kept(database, Monitor(odd, "watching"))


def _assert_kept(database: Dsn, monitor: Monitor) -> None:
    """A statement that takes longer than the monitor has patience comes to its end."""
    with interrupts.watching(), interrupts.at_most(0.2), closing(psycopg2.connect(database)) as connection, monitor:
        monitor.watch(connection, connection.info.backend_pid, "upgrade")
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_sleep(1.5)")


def _when_it_runs(dsn: Dsn, act: Callable[[], None]) -> None:
    """Call `act` from a thread, as soon as PostgreSQL shows the long statement."""

    def wait() -> None:
        eventually(
            lambda: rows_of(
                dsn,
                "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND state = 'active' AND query = %s",
                [LONG],
            )
        )
        act()

    threading.Thread(target=wait, daemon=True).start()


@pytest.mark.parametrize(
    ("known", "words"),
    [
        ({}, "SIGTERM; what was not committed is rolled back"),
        (
            {"half_done": "0002"},
            "SIGTERM; what was not committed is rolled back; what 0002 did outside its transaction stays, and is not done twice",
        ),
        (
            {"unconfirmed": ("0001", "0002")},
            "SIGTERM; committed here, not yet confirmed by the synchronous replica: 0001, 0002",
        ),
        ({"doubtful": ("0002",)}, "SIGTERM; nobody could say whether it is committed: 0002"),
        (
            {"unconfirmed": ("0001",), "doubtful": ("0002",), "done": "everything was dropped"},
            (
                "SIGTERM; committed here, not yet confirmed by the synchronous replica: 0001;"
                " nobody could say whether it is committed: 0002; everything was dropped"
            ),
        ),
    ],
)
def test_a_signal_says_what_became_of_the_work(known: dict[str, object], words: str) -> None:
    """Rolled back is said of nothing that may be committed."""
    interrupted = interrupts.Interrupted(signal.SIGTERM)
    for name, value in known.items():
        setattr(interrupted, name, value)
    assert str(interrupted) == words
