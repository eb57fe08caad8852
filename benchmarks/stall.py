"""How long does traffic stand still while a revision waits behind a long reader?

One session reads the table and stays in its transaction, as a report or a backup does. A tool then migrates that table. Meanwhile a
client reads one row every 20 ms; its longest wait is the answer.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self, TypeVar

from psycopg2 import sql
from psycopg2.extensions import connection

T = TypeVar("T")
PAUSE = 0.02
"""Seconds between two reads of the client."""


class LongReader:
    """Holds a transaction that has read `table` for `seconds`, in a thread of its own, from the moment it is entered."""

    def __init__(self, session: connection, table: str, seconds: float) -> None:
        """Read `table` through `session`, which it closes in the end."""
        self.session, self.query, self.seconds = session, _first_row(table), seconds
        self.thread = threading.Thread(target=self._stay)

    def __enter__(self) -> Self:
        """Begin to read; the lock is held when this returns."""
        cursor = self.session.cursor()
        cursor.execute("BEGIN")
        cursor.execute(self.query)
        self.thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.thread.join()

    def _stay(self) -> None:
        time.sleep(self.seconds)
        self.session.cursor().execute("COMMIT")
        self.session.close()


class Client:
    """Reads one row every PAUSE seconds while it is entered, and remembers its longest wait."""

    def __init__(self, session: connection, table: str) -> None:
        """Read `table` through `session`, which it closes in the end."""
        self.session, self.query = session, _first_row(table)
        self.longest = 0.0
        self.over = threading.Event()
        self.thread = threading.Thread(target=self._read)

    def __enter__(self) -> Self:
        """Begin to read."""
        self.thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.over.set()
        self.thread.join()

    def _read(self) -> None:
        cursor = self.session.cursor()
        while not self.over.wait(PAUSE):
            began = time.perf_counter()
            cursor.execute(self.query)
            cursor.fetchall()
            self.longest = max(self.longest, time.perf_counter() - began)
        self.session.close()


def longest_wait(
    connect: Callable[[], connection], table: str, seconds: float, migrate: Callable[[], T]
) -> tuple[float, T]:
    """Return the longest wait of a client, in seconds, while `migrate` runs behind a reader of `seconds`, and what it returns."""
    with Client(connect(), table) as client, LongReader(connect(), table, seconds):
        done = migrate()
    return client.longest, done


def _first_row(table: str) -> sql.Composed:
    return sql.SQL("SELECT * FROM {} LIMIT 1").format(sql.Identifier(table))
