"""What is PostgreSQL doing for us right now, and who is in the way?

While a migration's statement runs, its own connection can tell nothing. A thread with a connection of its own looks at
pg_stat_activity: it logs what takes long, remembers who blocks us, and notices when the network is gone for good.
It ends nobody's session but the one that it watches: when this very process waits for it elsewhere, and would for ever. A wait for locks
that has spent the budget is cancelled.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

import psycopg2
from psycopg2.extensions import connection as Connection

from railhead.dsn import Dsn
from railhead.logs import log
from railhead.postgres import blockers, failures, interrupts, standoff
from railhead.postgres.blockers import Blocker
from railhead.postgres.connection import connect, fetch_all, fetch_value
from railhead.postgres.pulse import Pulse
from railhead.postgres.standoff import Standoff, Waiter

TELL_EVERY = 5.0
"""Seconds between two lines about the same long statement."""

_LOOK_EVERY = 0.025
"""Seconds; two looks fit into the shortest lock timeout."""

_UNANSWERED = 2

_WAITERS_EVERY = 1.0
_SHORTEST_WAIT = 1.0
"""Seconds that a statement may wait for locks in any case: what tidies up comes when nothing is left of the budget."""

_LOOK = """
SELECT a.pid, coalesce(a.state, ''), coalesce(a.wait_event_type = 'Lock', false),
       coalesce(a.wait_event, '') = 'SyncRep', extract(epoch FROM clock_timestamp() - a.query_start),
       left(regexp_replace(a.query, '\\s+', ' ', 'g'), 60),
       p.phase, CASE WHEN p.blocks_total > 0 THEN 100 * p.blocks_done / p.blocks_total END, a.query_start::text
  FROM pg_stat_activity a LEFT JOIN pg_stat_progress_create_index p USING (pid)
 WHERE CASE WHEN %(pooled)s THEN a.datname = current_database() AND a.application_name = %(name)s AND a.pid <> %(lock)s
                 AND (a.state = 'active' OR a.state LIKE 'idle in transaction%%')
            ELSE a.pid = %(pid)s END
 ORDER BY a.state, a.query_start LIMIT 1
"""
"""Behind a pooler no pid is ours for longer than a transaction: what has worked for longest under our name is meant."""

_CANCEL = """
SELECT pg_cancel_backend(pid) FROM pg_stat_activity
 WHERE pid = %s AND query_start::text = %s AND wait_event_type = 'Lock'
"""

_CANCEL_COMMIT = _CANCEL.replace("wait_event_type = 'Lock'", "wait_event = 'SyncRep'")

_UNCONFIRMED = (
    "committed here, not yet confirmed by the synchronous replica, which is waited for no longer with locks held"
    " (synchronous_standby_names)"
)


class _Silence:
    """For how long nobody has answered. Cuts the migration's connection when that lasts: it would wait for ever."""

    def __init__(self) -> None:
        self._unanswered = 0
        self._answered = time.monotonic()
        self._cut: Connection | None = None
        """The connection that was cut: once is enough."""

    @property
    def seconds(self) -> float:
        """Return for how long it lasts, 0 while somebody answers."""
        return time.monotonic() - self._answered if self._unanswered else 0.0

    def hear(self) -> None:
        """Somebody has answered."""
        self._unanswered, self._answered = 0, time.monotonic()

    def doubt(self, watched: Connection | None, label: str, words: str | None) -> None:
        """Nobody has answered, old connection or new; without `words` the session that is watched is gone."""
        if self._cut is not None and watched is self._cut:
            return
        self._unanswered += 1
        patient = self.seconds < interrupts.longest(interrupts.ANSWER_TIMEOUT)
        if self._unanswered >= _UNANSWERED and not patient and watched is not None and not watched.closed:
            unheard = f"the database has not answered for {self.seconds:.0f} s: {words}"
            log.warning("%s", unheard if words else f"{label}: the session that migrates is gone")
            self._cut = watched
            interrupts.hang_up(watched)


class _LockWait:
    """For how long the statement at hand has waited for locks, and all statements together, in seconds."""

    def __init__(self) -> None:
        self.seconds = self.total = 0.0
        self._statement: object = None
        self._since: float | None = None

    def count(self, statement: object, now: float | None) -> None:
        """Look at it again: `now` it waits; None, it does not."""
        if statement != self._statement:
            self._statement, self.seconds, self._since = statement, 0.0, None
        if now is not None and self._since is not None:
            self.seconds += now - self._since
            self.total += now - self._since
        self._since = now


def _still_working(age: float, query: str, phase: object, percent: object, blocker: Blocker | None) -> str:
    """Return what is said of a statement that takes long."""
    doing = f", {phase}" if phase else ""
    done = f", {percent} %" if percent is not None else ""
    waits = f", waits for {blocker}" if blocker else ""
    return f"still working after {age:.0f} s{doing}{done}{waits}: {query}"


class Monitor:
    """Watches the session that migrates, from its own thread, while it is entered."""

    def __init__(
        self,
        dsn: Dsn,
        name: str,
        *,
        pooled: bool = False,
        lock: int = 0,
        left: Callable[[], float] = lambda: float("inf"),
        commit: float = float("inf"),
    ) -> None:
        """`name` is what the session that migrates calls itself; `pooled`, a pooler chooses its backends; `lock` is another pid of that name.

        `left` tells for how many seconds locks may still be waited for; a COMMIT may wait for a replica for `commit` seconds.
        """
        self.blockers: list[Blocker] = []
        """Who was last seen in the way of the statement that runs or has just failed."""
        self.gave_up: list[Blocker] | None = None
        """Who was in the way when a wait was cancelled because it had spent the budget."""
        self.standoff: Standoff | None = None
        """Who of this process waited for the session that migrates, when that was ended for it."""
        self.bystanders: list[Waiter] = []
        """Who was last seen waiting for the session that migrates while that asked nothing."""
        self.replicating = False
        """Whether the COMMIT that is under way, or the last one, had to wait for a synchronous replica: it is committed here."""
        self.pulse = Pulse()
        self._lock_wait = _LockWait()
        self._dsn = dsn
        self._name = name
        self._pooled = pooled
        self._lock = lock
        self._left = left
        self._commit = commit
        self._watched: Connection | None = None
        self._pid = self._watching = self._beats = 0
        self._busy = self._idled = 0.0
        self._still_since = self._waiters_at = self._told = 0.0
        self._stack: tuple[tuple[str, int], ...] = ()
        self._commits_since: float | None = None
        self._label, self._seen = "", False
        self._silence = _Silence()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="railhead-progress", daemon=True)

    def __enter__(self) -> Self:
        self.pulse.start()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Return when nobody watches any more, so that no connection is open when the process forks."""
        self._ended.set()
        self._thread.join(timeout=1)
        self.pulse.stop()

    def watch(self, connection: Connection, pid: int, label: str) -> None:
        """Look at the session `pid` of `connection` from now on, and call what it does `label`; behind a pooler `pid` is nobody's."""
        self._watched, self._pid, self._label = connection, pid, label
        self._told, self._seen = time.monotonic(), False
        self._watching = threading.get_ident()
        self._busy, self._idled = self.pulse.awake, 0.0
        self.pulse.forget()
        self.standoff, self.gave_up, self.bystanders, self._stack = None, None, [], ()
        self._silence.hear()

    def beat(self) -> None:
        """A statement begins: it is looked at when there is still none after it."""
        self._beats += 1
        self.replicating = False
        self._idled, self._busy = self.pulse.awake - self._busy, self.pulse.awake

    @property
    def waited(self) -> float:
        """Return the seconds for which statements have waited for locks, in all."""
        return self._lock_wait.total

    @property
    def idle(self) -> float:
        """Return the seconds for which the session that migrates was last asked nothing, without those in which this process stood still."""
        return max(self._idled, self.pulse.awake - self._busy)

    @property
    def silence(self) -> float:
        """Return the seconds for which nobody has answered, 0 while somebody does."""
        return self._silence.seconds

    def forget_blockers(self) -> None:
        """Start to look anew at who is in the way."""
        self.blockers = []

    def _run(self) -> None:
        connection: Connection | None = None
        pause = _LOOK_EVERY
        beats, lapsed = 0, 0.0
        while not self._ended.wait(pause):
            pause = _LOOK_EVERY
            if self.pulse.lapse > lapsed:
                lapsed = self.pulse.lapse
                self._silence.hear()  # nobody could have answered us meanwhile
            if not self._pid:
                continue
            if beats != self._beats:
                beats = self._beats
                continue  # a new statement has begun since: none takes long
            try:
                connection = connection or self._connect()
                self._look(connection)
            except psycopg2.Error as error:
                connection, pause = None, 0.5
                if error.pgcode is not None or "FATAL" in str(error):
                    self._silence.hear()  # a refusal is an answer
                else:
                    self._doubt(failures.server_words(error))
        if connection is not None:
            connection.close()

    def _connect(self) -> Connection:
        connection = connect(self._dsn, f"{self._name} (progress)")
        if self._pooled:
            self._silence.hear()  # the pooler is there; that it has no server left for our question harms nobody
        return connection

    def _look(self, connection: Connection) -> None:
        values = {"pooled": self._pooled, "name": self._name, "pid": self._pid, "lock": self._lock}
        rows = fetch_all(connection, _LOOK, values)
        if rows or self._pooled or not self._seen:
            self._seen = self._seen or bool(rows)
            self._silence.hear()
        else:
            self._doubt(None)
        if not rows:
            return
        [(pid, state, blocked, replicating, age, query, phase, percent, statement)] = rows
        if state == "active":
            self._busy = self.pulse.awake
            self._count_waiting(connection, int(str(pid)), statement, blocked=bool(blocked))
            if replicating:
                self._count_commit(connection, int(str(pid)), statement)
            else:
                self._commits_since = None
        elif str(state).startswith("idle in transaction"):
            self._look_back(connection, int(str(pid)))
        now = time.monotonic()
        if state == "active" and float(str(age)) >= TELL_EVERY and now - self._told >= TELL_EVERY:
            self._told = now
            who = self.blockers[0] if blocked and self.blockers else None
            log.info("%s: %s", self._label, _still_working(float(str(age)), str(query), phase, percent, who))

    def _count_waiting(self, connection: Connection, pid: int, statement: object, *, blocked: bool) -> None:
        """Count for how long the statement waits for locks, and cancel it when it has waited for all that is left."""
        self._lock_wait.count(statement, self.pulse.awake if blocked else None)
        if not blocked:
            return
        self.blockers = blockers.blockers_of(connection, pid) or self.blockers
        if self._lock_wait.seconds > max(self._left(), _SHORTEST_WAIT):
            before, self.gave_up = self.gave_up, self.gave_up or self.blockers  # said before whoever waits is told
            if not fetch_value(connection, _CANCEL, (pid, statement)):
                self.gave_up = before  # it has just got its lock
            self._lock_wait.seconds = 0.0

    def _count_commit(self, connection: Connection, pid: int, statement: object) -> None:
        """End a COMMIT's wait for a synchronous replica when it lasts: it is committed here, and gives its locks back."""
        self.replicating = True
        self._commits_since = self.pulse.awake if self._commits_since is None else self._commits_since
        lasted = self.pulse.awake - self._commits_since >= self._commit
        if lasted and fetch_value(connection, _CANCEL_COMMIT, (pid, statement)):
            self._commits_since = None
            log.warning("%s: %s", self._label, _UNCONFIRMED)

    def _look_back(self, connection: Connection, pid: int) -> None:
        """See who waits for the session that asks nothing. When it is this very process, which stands still, end the session."""
        now = time.monotonic()
        if self.pulse.awake - self._busy < _WAITERS_EVERY or now - self._waiters_at < _WAITERS_EVERY:
            return
        self._waiters_at = now
        address, self.bystanders = standoff.waiters_for(connection, pid)
        stack = standoff.stack_of(self._watching) if self.bystanders else ()
        if not stack or stack != self._stack:
            self._stack, self._still_since = stack, now
            return
        if now - self._still_since >= standoff.ENDED_AFTER and self.standoff is None:
            ours = standoff.own(address, self.bystanders)
            if ours and self._watched is not None:
                self.standoff = Standoff(tuple(ours), stack)
                log.warning("%s: this process waits for itself: %s", self._label, ours[0])
                interrupts.hang_up(self._watched)
                return
        if now - self._told >= TELL_EVERY:
            self._told = now
            waiting = "; ".join(map(str, self.bystanders))
            log.warning("%s: asks nothing for %.0f s, while others wait for it: %s", self._label, self.idle, waiting)

    def _doubt(self, words: str | None) -> None:
        """Take note that nobody has answered, or that the session is gone."""
        if not self._ended.is_set():
            self._silence.doubt(self._watched, self._label, words)
