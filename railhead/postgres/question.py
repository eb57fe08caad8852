"""One question to a server, asked while the caller does something else: all that a start with nothing to do needs of PostgreSQL."""

from __future__ import annotations

import threading
import time
from contextlib import closing

import psycopg2
from psycopg2.extensions import connection as Connection

from railhead.dsn import Address, Dsn
from railhead.postgres import interrupts

_KEEPALIVES = {
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "20000",
}
"""libpq notices a vanished server within about 25 s; milliseconds for the last, seconds for the others."""

IDENTITY = """
SELECT (SELECT oid FROM pg_database WHERE datname = current_database()),
       CASE WHEN has_function_privilege('pg_control_system()', 'EXECUTE') THEN (SELECT system_identifier FROM pg_control_system()) END
"""


class Question:
    """One statement on a connection of its own, asked in a thread while the caller goes on with something else. Read-only.

    Most of a start with nothing to do is the time that it takes to be let in.
    """

    def __init__(self, address: Address, command: str, sql: str, *, timeout: float) -> None:
        """Begin to ask; it may take `timeout` seconds until the answer is there."""
        self._deadline = time.monotonic() + timeout
        name = address.session_name(command)
        self._dsn = parameters(
            address.dsn, name, connect_timeout=str(int(timeout) + 1)
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
            interrupts.hang_up(self._connection)

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


def parameters(dsn: Dsn, name: str, **more: str) -> Dsn:
    """Return what libpq is told to reach this database as `name`; `more` gives way to what the DSN says itself."""
    # UTF8, because psycopg2 reads the names of an SQL_ASCII database as ASCII otherwise
    fixed = {"application_name": name[:63], "client_encoding": "UTF8"}
    return Dsn.of(**{**more, **_KEEPALIVES, **dsn.parameters(), **fixed})
