"""Are we the only one, and still?

One transaction-scoped advisory lock on a connection of its own: exclusive on a direct connection and through a transaction
pooler alike, with no time-to-live, and free as soon as its owner is gone. A session-scoped lock would exclude nobody behind
PgBouncer (https://www.pgbouncer.org/features.html); a blocking one would deadlock with CREATE INDEX CONCURRENTLY, so we poll.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import psycopg2
from psycopg2.extensions import connection as Connection

from railhead.postgres import interrupts, session_limits
from railhead.postgres.connection import fetch_all, fetch_value

KEY = 7235_4192_0011
"""The advisory lock that means "somebody migrates this database"; advisory locks are per database."""

_CLASS, _OBJECT = KEY >> 32, KEY & 0xFFFFFFFF
_ROW = f"locktype = 'advisory' AND classid = {_CLASS} AND objid = {_OBJECT} AND objsubid = 1"
_BRAND = "railhead.lock"
_HERE = "(SELECT oid FROM pg_database WHERE datname = current_database())"

# The server must never end this transaction for being idle.
_TAKE = f"""
BEGIN; SET LOCAL idle_in_transaction_session_timeout = 0; SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = 0;
{"; ".join(f"SET LOCAL {name} = {value}" for name, value in session_limits.TCP.items())}; {{newer}}
SELECT pg_try_advisory_xact_lock({KEY}), pg_backend_pid(),
       (SELECT virtualtransaction FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'virtualxid' LIMIT 1),
       {session_limits.IS_REPLICATED}, {session_limits.HAS_REPLICAS}
"""


class Holder(NamedTuple):
    """Who holds the migration lock: `age` in seconds since the lock's transaction began."""

    pid: int
    application: str
    age: float

    def __str__(self) -> str:
        return f"pid {self.pid}, {self.application or 'an unnamed session'}, for {self.age:.0f} s"


class LockLost(Exception):
    """The migration lock is no longer ours: nothing of the current transaction may be committed."""


class Lock:
    """The migration lock, held or not, on a connection of its own."""

    def __init__(self, connection: Connection) -> None:
        """`connection` is in autocommit mode and used for nothing else; it is closed with the lock."""
        self.connection = connection
        self.pooled = False
        self.replicated = False
        """Whether a COMMIT would wait for a synchronous replica."""
        self.has_replicas = False
        """Whether one that asks for it would."""
        self.pid = 0
        self._virtual_transaction = ""

    def try_take(self) -> bool:
        """Tell whether the lock is ours now. Waits for nobody; holds a transaction open only when it is."""
        newer = "SET LOCAL transaction_timeout = 0;" if self.connection.server_version >= 170000 else ""
        with interrupts.limit(self.connection, interrupts.ANSWER_TIMEOUT), self.connection.cursor() as cursor:
            cursor.execute(_TAKE.format(newer=newer))
            row = cursor.fetchone()
            assert row is not None
            taken, self.pid, self._virtual_transaction = bool(row[0]), row[1], row[2]
            self.replicated, self.has_replicas = bool(row[3]), bool(row[4])
            self.pooled = self.pid != self.connection.info.backend_pid
            if not taken:
                cursor.execute("ROLLBACK")
        return taken

    @contextmanager
    def looking(self) -> Iterator[Connection]:
        """Give the lock's own connection for a look that leaves no lock on a table: a revision may alter our tables, too."""
        with self.connection.cursor() as cursor:
            cursor.execute("SAVEPOINT look")
            yield self.connection
            cursor.execute("ROLLBACK TO SAVEPOINT look")

    def brand(self) -> str:
        """Return the statement that marks the transaction it runs in as one that began under this lock.

        The mark ends with the transaction, so that one which somebody put in its place does not have it.
        """
        return f"SET LOCAL {_BRAND} = '{self._virtual_transaction}'"

    def held(self) -> tuple[str, tuple[object, ...]]:
        """Return an SQL condition, with its values: the lock's own transaction still holds it."""
        condition = f"EXISTS (SELECT FROM pg_locks WHERE {_ROW} AND granted AND pid = %s AND virtualtransaction = %s)"
        return condition, (self.pid, self._virtual_transaction)

    def branded(self) -> tuple[str, tuple[object, ...]]:
        """Return an SQL condition, with its values: the transaction that asks has our brand."""
        return f"current_setting('{_BRAND}', true) IS NOT DISTINCT FROM %s", (self._virtual_transaction,)

    def assert_held(self, connection: Connection) -> None:
        """Raise LockLost unless the lock is still ours, as `connection`'s server sees it. Read-only."""
        condition, values = self.held()
        if not fetch_value(connection, f"SELECT {condition}", values):
            raise LockLost

    def release(self) -> None:
        """Give the lock back, if we have it, and close its connection."""
        try:
            with interrupts.limit(self.connection, 2), self.connection.cursor() as cursor:
                cursor.execute("ROLLBACK")
        except psycopg2.Error:
            pass  # the connection is gone, and the lock with it
        self.connection.close()


HOLDER = (
    "SELECT l.pid, coalesce(a.application_name, '') AS application,"
    " coalesce(extract(epoch FROM clock_timestamp() - a.xact_start), 0) AS age"
    f" FROM pg_locks l LEFT JOIN pg_stat_activity a USING (pid) WHERE {_ROW} AND granted AND l.database = {_HERE}"
)
"""A query for the fields of a Holder; no row when nobody holds the lock."""


def holder(connection: Connection) -> Holder | None:
    """Return who holds the migration lock of this database, None when nobody does. Read-only."""
    rows = fetch_all(connection, HOLDER)
    return Holder(int(str(rows[0][0])), str(rows[0][1]), float(str(rows[0][2]))) if rows else None


def pauses() -> Iterator[float]:
    """Yield the seconds between two polls: 25 ms doubling to 1 s, with jitter, so that waiters do not march in step."""
    import random  # 3 ms that only those pay who wait

    pause = 0.025
    while True:
        yield pause * random.uniform(0.6, 1.0)
        pause = min(pause * 2, 1.0)
