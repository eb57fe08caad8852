"""What is PostgreSQL doing for us right now, and who is in the way?

While a migration's statement runs, its own connection can tell nothing. A thread with a connection of its own looks at
pg_stat_activity: it logs what takes long, remembers who blocks us, and notices when the network is gone for good.
It never ends anybody's session.
"""

from __future__ import annotations

import threading
import time
from types import TracebackType
from typing import Self

import psycopg2
from psycopg2.extensions import connection as Connection

from railhead.dsn import Dsn
from railhead.logs import log
from railhead.postgres import blockers, failures, interrupts
from railhead.postgres.blockers import Blocker
from railhead.postgres.connection import connect, fetch_all

TELL_EVERY = 5.0
"""Seconds between two lines about the same long statement."""

_LOOK_EVERY = 0.025
"""Seconds; two looks fit into the shortest lock timeout."""

_UNANSWERED = 2

_LOOK = """
SELECT a.pid, a.state = 'active', coalesce(a.wait_event_type = 'Lock', false),
       extract(epoch FROM clock_timestamp() - a.query_start),
       left(regexp_replace(a.query, '\\s+', ' ', 'g'), 60),
       p.phase, CASE WHEN p.blocks_total > 0 THEN 100 * p.blocks_done / p.blocks_total END
  FROM pg_stat_activity a LEFT JOIN pg_stat_progress_create_index p USING (pid)
 WHERE CASE WHEN %(pooled)s THEN a.state = 'active' AND a.application_name = %(name)s ELSE a.pid = %(pid)s END
 ORDER BY a.query_start LIMIT 1
"""
"""Behind a pooler no pid is ours for longer than a transaction: what has worked for longest under our name is meant."""


class Monitor:
    """Watches the session that migrates, from its own thread, while it is entered."""

    def __init__(self, dsn: Dsn, name: str, *, pooled: bool = False) -> None:
        """`name` is what the session that migrates calls itself; `pooled`, a pooler chooses its backends."""
        self.blockers: list[Blocker] = []
        """Who was last seen in the way of the statement that runs or has just failed."""
        self._dsn = dsn
        self._name = name
        self._pooled = pooled
        self._watched: Connection | None = None
        self._pid = 0
        self._beats = 0
        self._label = ""
        self._told = 0.0
        self._seen = False
        self._unanswered = 0
        self._answered = time.monotonic()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="railhead-progress", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Return when nobody watches any more, so that no connection is open when the process forks."""
        self._ended.set()
        self._thread.join(timeout=1)

    def watch(self, connection: Connection, pid: int, label: str) -> None:
        """Look at the session `pid` of `connection` from now on, and call what it does `label`; behind a pooler `pid` is nobody's."""
        self._watched, self._pid, self._label = connection, pid, label
        self._told, self._seen = time.monotonic(), False
        self._hear()

    def beat(self) -> None:
        """A statement begins: it is looked at when there is still none after it."""
        self._beats += 1

    @property
    def silence(self) -> float:
        """Return the seconds for which nobody has answered, 0 while somebody does."""
        return time.monotonic() - self._answered if self._unanswered else 0.0

    def forget_blockers(self) -> None:
        """Start to look anew at who is in the way."""
        self.blockers = []

    def _run(self) -> None:
        connection: Connection | None = None
        pause = _LOOK_EVERY
        beats = 0
        while not self._ended.wait(pause):
            pause = _LOOK_EVERY
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
                    self._hear()  # a refusal is an answer
                else:
                    self._doubt(failures.server_words(error))
        if connection is not None:
            connection.close()

    def _connect(self) -> Connection:
        connection = connect(self._dsn, f"{self._name} (progress)")
        if self._pooled:
            self._hear()  # the pooler is there; that it has no server left for our question harms nobody
        return connection

    def _look(self, connection: Connection) -> None:
        asked = {"pooled": self._pooled, "name": self._name, "pid": self._pid}
        found = fetch_all(connection, _LOOK, asked)
        if found or self._pooled or not self._seen:
            self._seen = self._seen or bool(found)
            self._hear()
        else:
            self._doubt("the session that migrates is gone")
        pid, active, blocked, age, query, phase, percent = found[0] if found else (0, False, False, 0.0, "", None, None)
        if blocked:
            self.blockers = blockers.blockers_of(connection, int(str(pid))) or self.blockers
        now = time.monotonic()
        if active and float(str(age)) >= TELL_EVERY and now - self._told >= TELL_EVERY:
            self._told = now
            log.info("%s", self._line(float(str(age)), str(query), phase, percent, blocked=bool(blocked)))

    def _line(self, age: float, query: str, phase: object, percent: object, *, blocked: bool) -> str:
        doing = f", {phase}" if phase else ""
        done = f", {percent} %" if percent is not None else ""
        waits = f", waits for {self.blockers[0]}" if blocked and self.blockers else ""
        return f"{self._label}: still working after {age:.0f} s{doing}{done}{waits}: {query}"

    def _hear(self) -> None:
        """Somebody has answered."""
        self._unanswered, self._answered = 0, time.monotonic()

    def _doubt(self, told: str) -> None:
        """Cut the migration's connection when nobody answers, old connection or new, or its session is gone: it would wait for ever."""
        if self._ended.is_set():
            return
        self._unanswered += 1
        patient = self.silence < interrupts.longest(interrupts.ANSWER_TIMEOUT)
        if self._unanswered >= _UNANSWERED and not patient and self._watched is not None and not self._watched.closed:
            log.warning("the database has not answered for %.0f s: %s", self.silence, told)
            interrupts.hang_up(self._watched)
