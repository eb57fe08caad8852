"""How do we reach PostgreSQL? Connect, wait, redact, tell passing from permanent failures, climb the retry ladder.

Knows nothing of revisions. Speaks the simple protocol of psycopg2 only, so that it works through every pooler.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import NamedTuple

import psycopg2
from psycopg2 import errorcodes
from psycopg2.extensions import connection as Connection
from psycopg2.extensions import cursor as Cursor

from railhead.errors import NobodyAnswers, Stop
from railhead.logs import log
from railhead.postgres import interrupts as watchdog
from railhead.settings import Address, Dsn

CONNECT_TIMEOUT = 10
"""Seconds that one attempt to connect may take, for each host."""

SHORTEST_ATTEMPT = 2.0
"""The least that libpq takes for such a limit, in seconds."""

_KEEPALIVES = {
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "20000",
}
"""libpq notices a vanished server within about 25 s; milliseconds for the last, seconds for the others."""

_PERMANENT = {
    "password authentication failed": ("wrong-password", "the server refuses the password"),
    "no password supplied": ("wrong-password", "the server wants a password"),
    "no such database": ("no-such-database", "there is no such database"),
    "no such user": ("no-such-role", "there is no such role"),
    "no pg_hba.conf entry": ("not-allowed", "the server does not let us in"),
    "is not permitted to log in": ("not-allowed", "the role may not log in"),
    "permission denied for database": ("not-allowed", "the role may not connect to this database"),
    "server does not support SSL": ("no-ssl", "the server does not speak TLS"),
    "certificate": ("certificate", "the server's certificate is not accepted"),
    "invalid sslmode": ("settings", "a connection parameter is wrong"),
    "invalid value": ("settings", "a connection parameter is wrong"),
}
"""What libpq says when waiting would not help. A failed connection carries no SQLSTATE, so the text must do."""

_QUOTED = re.compile(r'"[^"]*"')
"""A name in what libpq says: a host may be called `certificate-db`."""

_NO_ROOM = ("too many clients", "remaining connection slots", "too many connections for", "no more connections allowed")
"""What PostgreSQL and PgBouncer say when every connection is taken; it passes, so it is waited for."""

_ADVICE = {
    "too-many-connections": "see who has them, lower WEB_CONCURRENCY or the number of replicas, or raise max_connections:\n"
    "SELECT usename, application_name, count(*) FROM pg_stat_activity GROUP BY 1, 2 ORDER BY 3 DESC;",
    "wrong-password": "correct the password in {variable}",
    "no-such-database": "create it (createdb {dbname}) or correct the name in {variable}",
    "no-such-role": "create the role or correct the user in {variable}",
    "not-allowed": "give this role access (GRANT CONNECT, pg_hba.conf) or use another one in {variable}",
    "no-ssl": "use sslmode=prefer in {variable}, or switch TLS on at the server",
    "certificate": "correct sslmode, sslrootcert or the host name in {variable}",
    "settings": "correct {variable}; what libpq knows: https://www.postgresql.org/docs/current/libpq-connect.html",
    "unreachable": "see that the server runs and that {variable} names it, then start again",
}

_LOST = {
    errorcodes.ADMIN_SHUTDOWN,
    errorcodes.CRASH_SHUTDOWN,
    errorcodes.CANNOT_CONNECT_NOW,
    errorcodes.DATABASE_DROPPED,
    errorcodes.TOO_MANY_CONNECTIONS,
    "25P03",  # idle_in_transaction_session_timeout
    "25P04",  # transaction_timeout
    "57P05",  # idle_session_timeout
}
_LOCK_MISSED = {errorcodes.LOCK_NOT_AVAILABLE, errorcodes.DEADLOCK_DETECTED}


def connect(dsn: Dsn, name: str, *, timeout: int = CONNECT_TIMEOUT) -> Connection:
    """Return a connection in autocommit mode that pg_stat_activity shows as `name`. Read-only.

    A signal cancels what runs on it while somebody is watching. Raises psycopg2.OperationalError.
    """
    seconds = max(int(SHORTEST_ATTEMPT), int(watchdog.longest(timeout)))
    watchdog.attend()
    connection = psycopg2.connect(_parameters(dsn, name, connect_timeout=str(seconds)))
    connection.autocommit = True
    watchdog.register(connection)
    return connection


class Question:
    """One statement on a connection of its own, asked in a thread while the caller goes on with something else. Read-only.

    Most of a start with nothing to do is the time that it takes to be let in.
    """

    def __init__(self, address: Address, command: str, sql: str, *, timeout: int) -> None:
        """Begin to ask; it may take `timeout` seconds until the answer is there."""
        self._deadline = time.monotonic() + timeout
        name = address.session_name(command)
        self._dsn = _parameters(
            address.dsn, name, connect_timeout=str(timeout + 1)
        )  # `answer` is the one that gives up
        self._sql = sql
        self._rows: list[tuple[object, ...]] = []
        self._error: Exception | None = None
        self._connection: Connection | None = None
        self._wanted = True
        self._thread = threading.Thread(target=self._ask, name="railhead-question", daemon=True)
        self._thread.start()

    def answer(self) -> list[tuple[object, ...]]:
        """Return the rows. Raises psycopg2.Error, also when time is up."""
        self._thread.join(max(0.0, self._deadline - time.monotonic()))
        if self._thread.is_alive():
            raise psycopg2.OperationalError("the server did not answer in time")
        if self._error is not None:
            raise self._error
        return self._rows

    def close(self) -> None:
        """Take the question back; an answered one is over already."""
        self._wanted = False
        if self._thread.is_alive() and self._connection is not None:
            watchdog.hang_up(self._connection)

    def _ask(self) -> None:
        try:
            with closing(psycopg2.connect(self._dsn)) as connection:
                self._connection = connection
                if self._wanted:
                    connection.autocommit = True
                    with connection.cursor() as cursor:
                        cursor.execute(self._sql)
                        self._rows = cursor.fetchall()
        except Exception as error:  # whatever it is, it is raised where the answer is wanted
            self._error = error


def _parameters(dsn: Dsn, name: str, **more: str) -> Dsn:
    # UTF8, because psycopg2 reads the names of an SQL_ASCII database as ASCII otherwise
    fixed = {"application_name": name[:63], "client_encoding": "UTF8"}
    return Dsn.of(**{**more, **_KEEPALIVES, **dsn.parameters(), **fixed})


class Allowance(NamedTuple):
    """How long something may take, in seconds, and which setting says so."""

    seconds: float
    setting: str

    def __str__(self) -> str:
        return f"{self.seconds:.0f} s ({self.setting})"


def reach(address: Address, command: str, allowance: Allowance) -> Connection:
    """Return a connection for a command, waiting for a server that does not answer yet. Read-only.

    Raises Stop at once for what waiting cannot mend (password, role, missing database), and `unreachable` in the end.
    """
    import random  # 3 ms that only those pay who wait

    started = time.monotonic()
    pause = 0.1
    told = 0.0
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
            if waited >= told:
                log.warning("the database does not answer, for %.0f s now: %s", waited, said(error))
                told = waited + 5
            if min(SHORTEST_ATTEMPT, waited - (began - started)) > left:  # the next one would last as long
                time.sleep(left)
                raise cannot_connect(error, address, allowance) from error
        time.sleep(min(pause * random.uniform(0.5, 1.0), left))
        pause = min(pause * 2, 2.0)


def permanent(error: psycopg2.Error) -> str | None:
    """Return the slug of a failed connection that waiting cannot mend, else None."""
    found = _permanent(error)
    return found[0] if found else None


def cannot_connect(error: psycopg2.Error, address: Address, allowance: Allowance | None = None) -> Stop:
    """Return what a person needs to know about a connection that failed, after all of `allowance` was waited."""
    slug, headline = _permanent(error) or _passing(error)
    facts = [("server", str(address)), ("PostgreSQL", said(error))]
    if not _permanent(error) and allowance:
        facts.append(("waited", str(allowance)))
    advice = _ADVICE[slug].format(variable=address.variable, dbname=address.dsn.parameters().get("dbname", ""))
    kind = Stop if permanent(error) else NobodyAnswers
    return kind(slug, headline, facts=facts, database="not touched", next_step=advice)


def said(error: BaseException) -> str:
    """Return the driver's or the server's own words, on as many lines as it used, without the SQL that it adds."""
    diagnosis = getattr(error, "diag", None)
    primary = getattr(diagnosis, "message_primary", None)
    if primary:
        details = [diagnosis.message_detail, diagnosis.message_hint] if diagnosis else []
        return "\n".join([primary, *(detail for detail in details if detail)])
    return "\n".join(line.strip() for line in str(error).strip().splitlines()) or type(error).__name__


def is_lock_miss(error: BaseException) -> bool:
    """Tell whether the server gave up waiting for a table lock, or chose us to break a deadlock."""
    return getattr(error, "pgcode", None) in _LOCK_MISSED


def is_lost(error: BaseException) -> bool:
    """Tell whether the connection is gone, or the server is going away or has become a standby."""
    if not isinstance(error, psycopg2.Error):
        return False
    code = error.pgcode
    if code is None:
        # libpq without a word of its own makes psycopg2 raise the plain class
        wordless = type(error) is psycopg2.DatabaseError
        known = isinstance(error, psycopg2.OperationalError | psycopg2.InterfaceError)
        return (known or wordless) and not permanent(error)
    return code in _LOST or code.startswith("08")


def is_pooled(connection: Connection) -> bool:
    """Tell whether a pooler stands between us and the server: libpq's backend is not the one that answers. Read-only."""
    return bool(connection.info.backend_pid != scalar(connection, "SELECT pg_backend_pid()"))


def scalar(connection: Connection, sql: str, values: tuple[object, ...] | None = None) -> object:
    """Return the first column of the first row that `sql` gives, None if there is no row."""
    with watchdog.limit(connection, watchdog.ANSWER_TIMEOUT), connection.cursor() as cursor:
        cursor.execute(sql, values)
        row = cursor.fetchone()
    return row[0] if row else None


def rows(
    connection: Connection, sql: str, values: tuple[object, ...] | dict[str, object] | None = None
) -> list[tuple[object, ...]]:
    """Return all rows that `sql` gives."""
    with watchdog.limit(connection, watchdog.ANSWER_TIMEOUT), connection.cursor() as cursor:
        cursor.execute(sql, values)
        return list(cursor.fetchall())


IN_NO_QUEUE = "SET LOCAL lock_timeout = '1s';"
"""Said before a question, in one message with it: whoever has the table for himself is waited for less long than an answer."""


@contextmanager
def gently(connection: Connection) -> Iterator[None]:
    """One transaction that stands in no lock queue for longer than half a second, and leaves no setting behind."""
    with connection.cursor() as cursor:
        cursor.execute("BEGIN; SET LOCAL lock_timeout = '500ms'")
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


def identity(connection: Connection) -> tuple[object, ...]:
    """Return what two connections share when they are in the same database of the same cluster. Read-only."""
    return rows(connection, IDENTITY)[0]


def open_now(address: Address, command: str) -> Connection:
    """Return a connection for a command, without waiting for the server. Raises Stop that says why there is none. Read-only."""
    try:
        return connect(address.dsn, address.session_name(command))
    except psycopg2.OperationalError as error:
        raise cannot_connect(error, address) from error


IDENTITY = """
SELECT (SELECT oid FROM pg_database WHERE datname = current_database()),
       CASE WHEN has_function_privilege('pg_control_system()', 'EXECUTE') THEN (SELECT system_identifier FROM pg_control_system()) END
"""


def _permanent(error: psycopg2.Error) -> tuple[str, str] | None:
    text = str(error)
    unnamed = _QUOTED.sub("", text)
    for words, answer in _PERMANENT.items():
        if words in unnamed:
            return answer
    if 'role "' in text and "does not exist" in text:
        return "no-such-role", "there is no such role"
    if 'database "' in text and "does not exist" in text:
        return "no-such-database", "there is no such database"
    return None


def _passing(error: psycopg2.Error) -> tuple[str, str]:
    if any(words in str(error) for words in _NO_ROOM):
        return "too-many-connections", "the server has no connection left for us"
    return "unreachable", "the database does not answer"
