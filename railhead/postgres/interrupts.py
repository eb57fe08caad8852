"""What ends a wait that PostgreSQL does not end? Signals and dead networks.

psycopg2 waits in C, where no Python signal handler runs and no timeout exists on the client's side. One thread watches for
both: on SIGTERM or SIGINT it cancels what runs, and a query that has outlived its `limit` loses its socket.
It never touches a process that is not watching, but for the connections that a server of pages puts under `guard`.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from weakref import WeakSet

import psycopg2
from psycopg2.extensions import connection as Connection

LAST_RESORT = 0.8
"""Seconds after which a signal ends the process even when the driver does not return (in a DNS look-up for instance)."""

ANSWER_TIMEOUT = 15.0
"""Seconds within which a question that costs the server nothing is answered, or the network is gone."""

SHORTEST_ANSWER_TIMEOUT = 3.0
"""The same where the budget is small: a busy server takes a second now and then."""

_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_CANCEL_EVERY = 0.1
_connections: WeakSet[Connection] = WeakSet()
_registering = threading.Lock()


class Interrupted(BaseException):
    """SIGTERM or SIGINT came while we were watching; what ran is cancelled and rolled back by whoever catches this last."""

    def __init__(self, signum: int) -> None:
        super().__init__(signal.Signals(signum).name)
        self.signum = signum
        self.exit_code = 128 + signum
        self.half_done: str | None = None
        """The revision that had left its transaction when the signal came."""
        self.unconfirmed: tuple[str, ...] = ()
        """The revisions that are committed, and that a synchronous replica had not confirmed when the signal came."""
        self.doubtful: tuple[str, ...] = ()
        """The revisions of which nobody could say whether they are committed."""
        self.done: str | None = None
        """What was done to the database before, and stays."""

    def __str__(self) -> str:
        parts = [
            f"committed here, not yet confirmed by the synchronous replica: {', '.join(self.unconfirmed)}"
            if self.unconfirmed
            else "",
            f"nobody could say whether it is committed: {', '.join(self.doubtful)}" if self.doubtful else "",
            "" if self.unconfirmed or self.doubtful else "what was not committed is rolled back",
            f"what {self.half_done} did outside its transaction stays, and is not done twice" if self.half_done else "",
            self.done or "",
        ]
        return "; ".join([str(self.args[0]), *filter(None, parts)])


class _Watchdog:
    """The thread, the pipe that wakes it, and what it watches."""

    def __init__(self) -> None:
        self._inbox, self._outbox = socket.socketpair()
        self._outbox.setblocking(False)
        self._deadlines: dict[Connection, float] = {}
        self._sleeps_until = float("inf")
        self._lock = threading.Lock()
        self.signum = 0
        self._last_resort = 0.0
        self._ended = False
        self._before: dict[signal.Signals, object] = {}
        self._wakeup_before = -1
        self._attending = False
        self._thread = threading.Thread(target=self._watch, name="railhead-watchdog", daemon=True)

    def take_signals(self) -> None:
        # another's handler in C cannot be put back
        catchable = [signum for signum in _SIGNALS if signal.getsignal(signum) is not None]
        if catchable and threading.current_thread() is threading.main_thread():
            self._wakeup_before = signal.set_wakeup_fd(self._outbox.fileno(), warn_on_full_buffer=False)
            self._before = {signum: signal.signal(signum, self._raise) for signum in catchable}

    def attend(self) -> None:
        """Start the thread, unless it runs. Until then a signal is noticed wherever Python waits, and only there."""
        with self._lock:
            if not self._attending:
                self._attending = True
                self._thread.start()

    def stop(self) -> None:
        self._ended = True
        if self._before:
            signal.set_wakeup_fd(self._wakeup_before)
            for signum, handler in self._before.items():
                signal.signal(signum, handler)  # type: ignore[arg-type]  # what signal() itself gave us
        if self._attending:
            self._wake()
            self._thread.join(timeout=1)
        self._inbox.close()
        self._outbox.close()

    def expect(self, connection: Connection, deadline: float | None) -> float | None:
        """Cut the connection at `deadline`, or never; return what was said of it before."""
        self.attend()
        with self._lock:
            before = self._deadlines.pop(connection, None)
            if deadline is None:
                return before
            self._deadlines[connection] = deadline
            # the thread will have looked by then: waking it costs more than this
            in_time = self._sleeps_until <= deadline
        if not in_time:
            self._wake()
        return before

    def _raise(self, signum: int, frame: FrameType | None) -> None:
        if not self._last_resort:
            self._last_resort = time.monotonic() + LAST_RESORT
        first, self.signum = not self.signum, signum
        # a decoder was called by the driver, which would print and swallow it: see assert_undisturbed
        decoding = frame is not None and str(frame.f_globals.get("__name__")).startswith("encodings")
        if first and not decoding:
            raise Interrupted(signum)

    def _wake(self) -> None:
        try:
            self._outbox.send(b"\0")
        except (BlockingIOError, OSError):
            pass  # the thread is awake already, or gone

    def _watch(self) -> None:
        signum = 0
        poll = select.poll()
        poll.register(self._inbox, select.POLLIN)
        while not self._ended:
            if poll.poll(self._pause(signum)):
                signum = max(signum, *(byte for byte in self._inbox.recv(64) if byte in _SIGNALS), 0)
                if signum and not self._last_resort:
                    self._last_resort = time.monotonic() + LAST_RESORT
            if signum and not self._ended:
                self._insist(signum)
            self._expire()

    def _pause(self, signum: int) -> float | None:
        """Return the milliseconds until there is something to do; None for never."""
        if signum:
            return _CANCEL_EVERY * 1000
        with self._lock:
            self._sleeps_until = min(self._deadlines.values(), default=float("inf"))
            if not self._deadlines:
                return None
            return max(0.0, self._sleeps_until - time.monotonic()) * 1000 + 1

    def _insist(self, signum: int) -> None:
        """Cancel again and again: a cancel that comes just before a statement starts would be lost."""
        if time.monotonic() > self._last_resort:
            os._exit(128 + signum)
        with _registering:
            connections = list(_connections)
        for connection in connections:
            threading.Thread(target=_cancel, args=(connection,), daemon=True).start()

    def _expire(self) -> None:
        now = time.monotonic()
        with self._lock:  # held to the end: whose limit is taken back meanwhile may be somebody else's by then
            for connection in [watched for watched, deadline in self._deadlines.items() if deadline <= now]:
                del self._deadlines[connection]
                hang_up(connection)


_current: _Watchdog | None = None
_guardian: _Watchdog | None = None
_starting = threading.Lock()
_longest = float("inf")


@contextmanager
def watching() -> Iterator[None]:
    """While inside, SIGTERM and SIGINT cancel what runs in PostgreSQL and raise Interrupted; limits are kept.

    May be nested: the outermost counts. The handlers that were there before come back at the end.
    """
    global _current
    if _current is not None:
        yield
        return
    watchdog = _current = _Watchdog()
    watchdog.take_signals()
    if _connections:
        watchdog.attend()
    try:
        yield
        assert_undisturbed()
    except Exception:
        assert_undisturbed()
        raise
    finally:
        _current = None
        watchdog.stop()


def assert_undisturbed() -> None:
    """Raise Interrupted when a signal has come which could not be told at once, because the driver was decoding what it was sent."""
    if _current is not None and _current.signum:
        raise Interrupted(_current.signum)


def attend() -> None:
    """From now on a signal ends, while somebody is watching, what waits in C as well: a connection, a DNS look-up.

    The thread for it is started here and not by `watching`, because it costs as much as the quickest start in all.
    """
    if _current is not None:
        _current.attend()


def register(connection: Connection) -> None:
    """Let a signal cancel what runs on this connection."""
    attend()
    with _registering:
        _connections.add(connection)


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """While inside, no `limit` is longer than `seconds`: who may wait for eight seconds in all does not give one answer fifteen."""
    global _longest
    before, _longest = _longest, seconds
    try:
        yield
    finally:
        _longest = before


def longest(seconds: float) -> float:
    """Return `seconds`, or what `at_most` leaves of them."""
    return min(seconds, _longest)


@contextmanager
def limit(connection: Connection, seconds: float) -> Iterator[None]:
    """What is inside and not done within `seconds` fails as a lost connection (while somebody is `watching`).

    May be nested: afterwards the outer limit holds again.
    """
    watchdog = _current
    if watchdog is None:
        yield
        return
    before = watchdog.expect(connection, time.monotonic() + longest(seconds))
    try:
        yield
    finally:
        watchdog.expect(connection, before)


@contextmanager
def guard(connection: Connection, seconds: float) -> Iterator[None]:
    """As `limit`, but whether somebody is `watching` or not: for a process that serves pages and keeps its signal handlers.

    The thread begins with the first guard in each process. A connection is under one guard at a time.
    """
    guardian = _guardian or _begin()
    guardian.expect(connection, time.monotonic() + seconds)
    try:
        yield
    finally:
        guardian.expect(connection, None)


def _begin() -> _Watchdog:
    global _guardian
    with _starting:
        if _guardian is None:
            _guardian = _Watchdog()
        return _guardian


def _forget() -> None:
    """In a child: no thread outlives a fork, and who held a lock is not there to let go."""
    global _guardian, _starting, _registering
    _guardian, _starting, _registering = None, threading.Lock(), threading.Lock()


os.register_at_fork(after_in_child=_forget)


def hang_up(connection: Connection) -> None:
    """Cut the connection's socket, so that whoever waits on it gets an error at once."""
    try:
        with socket.socket(fileno=os.dup(connection.fileno())) as twin:
            twin.shutdown(socket.SHUT_RDWR)
    except (OSError, psycopg2.Error):
        pass  # closed already


def _cancel(connection: Connection) -> None:
    try:
        connection.cancel()
    except psycopg2.Error:
        pass  # closed, or the server is away: nothing runs there for us
