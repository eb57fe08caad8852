"""How do we reach PostgreSQL? Connect, wait, redact, tell passing from permanent failures, climb the retry ladder.

Knows nothing of revisions. Speaks the simple protocol of psycopg2 only, so that it works through every pooler.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import TypeVar

import psycopg2
from psycopg2.extensions import connection as Connection
from psycopg2.extensions import cursor as Cursor

from railhead.dsn import Address, Dsn
from railhead.logs import log
from railhead.postgres import interrupts, session_limits
from railhead.postgres.failures import cannot_connect, headline, permanent, server_words
from railhead.postgres.question import IDENTITY, parameters
from railhead.postgres.retry_budget import Allowance

C = TypeVar("C", bound=Connection)

CONNECT_TIMEOUT = 10
"""Seconds that one attempt to connect may take, for each host."""

SHORTEST_ATTEMPT = 2.0
"""The least that libpq takes for such a limit, in seconds."""


def connect(dsn: Dsn, name: str, *, timeout: int = CONNECT_TIMEOUT) -> Connection:
    """Return a connection in autocommit mode that pg_stat_activity shows as `name`. Read-only.

    A signal cancels what runs on it while somebody is watching. Raises psycopg2.OperationalError.
    """
    return connect_as(Connection, dsn, name, timeout=timeout)


def connect_as(kind: type[C], dsn: Dsn, name: str, *, timeout: int = CONNECT_TIMEOUT) -> C:
    """Return what `connect` does, as a connection of this kind. Read-only. Raises psycopg2.OperationalError."""
    seconds = max(int(SHORTEST_ATTEMPT), int(interrupts.longest(timeout)))
    interrupts.attend()
    connection = psycopg2.connect(parameters(dsn, name, connect_timeout=str(seconds)), connection_factory=kind)
    connection.autocommit = True
    interrupts.register(connection)
    return connection


def reach(address: Address, command: str, allowance: Allowance) -> Connection:
    """Return a connection for a command, waiting for a server that does not answer yet. Read-only.

    Raises Stop at once for what waiting cannot mend (password, role, missing database), and `unreachable` in the end.
    """
    import random  # 3 ms that only those pay who wait

    started = time.monotonic()
    pause = 0.1
    tell_at = 0.0
    while True:
        began = time.monotonic()
        left = allowance.seconds - (began - started)
        try:
            return connect(address.dsn, address.session_name(command), timeout=min(CONNECT_TIMEOUT, int(left)))
        except psycopg2.OperationalError as error:
            waited = time.monotonic() - started
            left = max(0.0, allowance.seconds - waited)
            if permanent(error) or not left:
                raise cannot_connect(error, address, allowance) from error
            if waited >= tell_at:
                log.warning("%s, for %.0f s now: %s", headline(error), waited, server_words(error))
                tell_at = waited + 5
            if min(SHORTEST_ATTEMPT, waited - (began - started)) > left:  # the next one would last as long
                time.sleep(left)
                raise cannot_connect(error, address, allowance) from error
        time.sleep(min(pause * random.uniform(0.5, 1.0), left))
        pause = min(pause * 2, 2.0)


def is_pooled(connection: Connection) -> bool:
    """Tell whether a pooler stands between us and the server: libpq's backend is not the one that answers. Read-only."""
    return bool(connection.info.backend_pid != fetch_value(connection, "SELECT pg_backend_pid()"))


def knows_transactions(address: Address, command: str) -> bool:
    """Tell whether one may be begun there: a pooler in statement mode hangs up for that. True, too, when nobody answers at all. Read-only."""
    try:
        connection = connect(address.dsn, address.session_name(command))
        if not is_pooled(connection):
            return True
    except psycopg2.Error:
        return True
    with closing(connection):
        try:
            fetch_all(connection, "SELECT 1")
            fetch_all(connection, "BEGIN; SELECT 1")
        except psycopg2.Error:
            return False
    return True


def fetch_value(connection: Connection, sql: str, values: tuple[object, ...] | None = None) -> object:
    """Return the first column of the first row that `sql` gives, None if there is no row."""
    with interrupts.limit(connection, interrupts.ANSWER_TIMEOUT), connection.cursor() as cursor:
        cursor.execute(sql, values)
        row = cursor.fetchone()
    return row[0] if row else None


def fetch_all(
    connection: Connection, sql: str, values: tuple[object, ...] | dict[str, object] | None = None
) -> list[tuple[object, ...]]:
    """Return all rows that `sql` gives."""
    with interrupts.limit(connection, interrupts.ANSWER_TIMEOUT), connection.cursor() as cursor:
        cursor.execute(sql, values)
        return list(cursor.fetchall())


IN_NO_QUEUE = "SET LOCAL lock_timeout = '1s';"
"""Said before a question, in one message with it: whoever has the table for himself is waited for less long than an answer."""


@contextmanager
def gently(connection: Connection) -> Iterator[None]:
    """One transaction that stands in no lock queue for longer than half a second, waits for no replica, and leaves no setting behind."""
    with connection.cursor() as cursor:
        cursor.execute(f"BEGIN; SET LOCAL lock_timeout = '500ms'; {session_limits.COMMIT_HERE}")
        try:
            yield
        except BaseException:
            _roll_back(cursor)
            raise
        cursor.execute("COMMIT")


def _roll_back(cursor: Cursor) -> None:
    try:
        cursor.execute("ROLLBACK")
    except psycopg2.Error:
        pass  # the connection is gone, and the transaction with it


def server_version(connection: Connection) -> str:
    """Return `PostgreSQL 18.6`, without asking the server again. Read-only."""
    return "PostgreSQL " + str(connection.info.parameter_status("server_version")).split(" ", 1)[0]


def database_identity(connection: Connection) -> tuple[object, ...]:
    """Return what two connections share when they are in the same database of the same cluster. Read-only."""
    return fetch_all(connection, IDENTITY)[0]


def open_now(address: Address, command: str) -> Connection:
    """Return a connection for a command, without waiting for the server. Raises Stop that says why there is none. Read-only."""
    try:
        return connect(address.dsn, address.session_name(command))
    except psycopg2.OperationalError as error:
        raise cannot_connect(error, address) from error
