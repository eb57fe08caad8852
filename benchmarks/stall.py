"""How long does traffic stand still while a revision waits behind a long reader?

One session reads the table and stays in its transaction, as a report or a backup does. A tool then migrates that table. Meanwhile a
client reads one row every 20 ms; its longest wait is the answer.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self, TypeVar

import psycopg2
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
    """Does the same every few milliseconds while it is entered, and remembers its longest wait for one answer."""

    def __init__(self, session: connection, turn: Sequence[sql.Composable], pause: float) -> None:
        """Execute `turn` every `pause` seconds through `session`, which it closes in the end; each statement gives rows."""
        self.session, self.turn, self.pause = session, turn, pause
        self.longest = 0.0
        self.failure: Exception | None = None
        self.over = threading.Event()
        self.thread = threading.Thread(target=self._work)

    def __enter__(self) -> Self:
        """Begin."""
        self.thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.over.set()
        self.thread.join()
        if self.failure:
            raise self.failure

    def _work(self) -> None:
        try:
            while not self.over.wait(self.pause):
                for statement in self.turn:
                    self._ask(statement)
        except psycopg2.Error as error:
            self.failure = error  # told at the end: a client that has gone away waits for nobody
        self.session.close()

    def _ask(self, statement: sql.Composable) -> None:
        began = time.perf_counter()
        with self.session.cursor() as cursor:
            cursor.execute(statement)
            cursor.fetchall()
        self.longest = max(self.longest, time.perf_counter() - began)


def longest_wait(
    connect: Callable[[], connection], table: str, seconds: float, migrate: Callable[[], T]
) -> tuple[float, T]:
    """Return the longest wait of a client, in seconds, while `migrate` runs behind a reader of `seconds`, and what it returns."""
    with Client(connect(), [_first_row(table)], PAUSE) as client, LongReader(connect(), table, seconds):
        done = migrate()
    return client.longest, done


def _first_row(table: str) -> sql.Composed:
    return sql.SQL("SELECT * FROM {} LIMIT 1").format(sql.Identifier(table))
