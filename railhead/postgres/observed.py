"""What is asked of a connection, and what ends its transaction: SQL, the driver's own methods, or SQLAlchemy, which calls them?

All of it comes by here before it is sent. What an observer itself asks of the connection is not observed.
"""

from __future__ import annotations

import re
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import psycopg2
from psycopg2.extensions import ISOLATION_LEVEL_AUTOCOMMIT, STATUS_BEGIN, TRANSACTION_STATUS_IDLE
from psycopg2.extensions import connection as Connection
from psycopg2.extensions import cursor as Cursor
from psycopg2.sql import Composable

from railhead.masking import learn
from railhead.postgres import sql_text
from railhead.postgres.sql_text import End

_ROLE = re.compile(
    r"(?:\A|;)\s*(?:(RESET\s+(?:ROLE|ALL)\b|SET\s+(?:LOCAL\s+|SESSION\s+)?ROLE\s+NONE\b)"
    r"|SET\s+(?:LOCAL\s+|SESSION\s+)?(?:ROLE|SESSION\s+AUTHORIZATION)\s+('(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|\w+))",
    re.IGNORECASE,
)


class Observer:
    """Hears of what is asked of a connection. This one does nothing about it."""

    def before(self, connection: Observed, statement: str, values: object, *, many: bool) -> str | None:
        """Statements are about to be sent, none of which ends a transaction. Returns what is sent instead, if anything."""

    def failed(self, connection: Observed, statement: str, error: psycopg2.Error) -> bool:
        """They have failed. Returns whether that does not matter."""
        del connection, statement, error
        return False

    def after(self, connection: Observed, statement: str, tag: str) -> None:
        """They have run; `tag` is the first word of what the server said."""

    def ending(self, connection: Observed, how: End, *, alone: bool) -> None:
        """The transaction that is open, or has failed, is about to be ended; `alone`: each statement behind that commits itself."""

    def ended(self, connection: Observed, how: End, *, alone: bool) -> None:
        """It has been ended; a COMMIT that PostgreSQL has refused is a ROLLBACK."""


class FailedStatement(NamedTuple):
    """What failed first in a transaction: all that comes after it only hears that the transaction is aborted."""

    statement: str
    error: psycopg2.Error
    stack: tuple[tuple[str, int], ...]
    """File and line of each frame that had asked for it, innermost last."""


class Observed(Connection):
    """A connection that tells its observer, if it has one, and knows what nobody can ask an aborted transaction."""

    observer: Observer | None = None
    first_failure: FailedStatement | None = None
    """What aborted the transaction that is open."""
    role: str | None = None
    """The role that SQL has put into force, as it is written there; None where it is the one that has logged in."""

    def __init__(self, *arguments: object, **options: object) -> None:
        super().__init__(*arguments, **options)  # type: ignore[arg-type]
        self.cursor_factory = _ObservedCursor

    @property
    def is_loose(self) -> bool:
        """Tell whether each statement commits itself although the driver believes in a transaction: SQL has ended that one."""
        is_open = self.info.transaction_status != TRANSACTION_STATUS_IDLE
        return self.status == STATUS_BEGIN and not (is_open or self.autocommit)

    def commit(self) -> None:
        """Commit, as psycopg2 does."""
        with self.telling_of("COMMIT"):
            super().commit()

    def rollback(self) -> None:
        """Roll back, as psycopg2 does."""
        with self.telling_of("ROLLBACK"):
            super().rollback()

    def set_isolation_level(self, level: int | None) -> None:
        """Set it as psycopg2 does, which rolls back what is open."""
        with self.telling_of("ROLLBACK", alone=level == ISOLATION_LEVEL_AUTOCOMMIT):
            super().set_isolation_level(level)

    def reset(self) -> None:
        """Reset the session as psycopg2 does, which rolls back what is open."""
        with self.telling_of("ROLLBACK"):
            super().reset()

    @contextmanager
    def telling_of(self, how: End, *, alone: bool = False) -> Iterator[None]:
        """Tell of the end of a transaction that happens inside, if one is open."""
        if self.observer is None or self.closed or self.info.transaction_status == TRANSACTION_STATUS_IDLE:
            yield
            return
        with self.unobserved() as observer:
            observer.ending(self, how, alone=alone)
        try:
            yield
        except psycopg2.Error:
            if not self.closed:
                self._has_ended("ROLLBACK", alone=alone)
            raise
        self._has_ended(how, alone=alone)

    def _has_ended(self, how: End, *, alone: bool) -> None:
        with self.unobserved() as observer:
            observer.ended(self, how, alone=alone)

    @contextmanager
    def unobserved(self) -> Iterator[Observer]:
        """Inside, nothing is told; gives the observer that is told again afterwards."""
        observer, self.observer = self.observer, None
        try:
            yield observer or Observer()
        finally:
            self.observer = observer


class _ObservedCursor(Cursor):
    """A cursor of such a connection."""

    connection: Observed

    def execute(self, query: str | bytes | Composable, vars: object = None) -> None:  # noqa: A002  psycopg2's name
        """Execute as psycopg2 does, a text that ends its transaction piece by piece."""
        if self.connection.observer is None:
            super().execute(query, vars)  # type: ignore[arg-type]
            return
        text = _text(query, self)
        pieces = sql_text.pieces(text)
        if len(pieces) > 1 and vars and not isinstance(vars, dict):
            pieces, vars = sql_text.pieces(self.mogrify(text, vars).decode()), None  # type: ignore[arg-type]  # noqa: A001
        for sql, end in pieces:
            if end is None:
                self._send(sql, vars, many=False)
            else:
                with self.connection.telling_of(end, alone=True):
                    super().execute(sql, vars)  # type: ignore[arg-type]

    def executemany(self, query: str | bytes | Composable, vars_list: Iterable[Any]) -> None:
        """Execute as psycopg2 does."""
        if self.connection.observer is None:
            super().executemany(query, vars_list)
            return
        self._send(_text(query, self), vars_list, many=True)

    def _send(self, text: str, values: Any, *, many: bool) -> None:
        learn(text)  # an error of it may quote a password
        with self.connection.unobserved() as observer:
            instead = observer.before(self.connection, text, values, many=many)
        try:
            if instead is not None:
                super().execute(instead)
            elif many:
                super().executemany(text, values)
            else:
                super().execute(text, values)
        except psycopg2.Error as error:
            with self.connection.unobserved() as observer:
                if not observer.failed(self.connection, text, error):
                    self._remember(text, error)
                    raise
        with self.connection.unobserved() as observer:
            observer.after(self.connection, text, self._tag())
        self.connection.first_failure = None
        if role := _ROLE.search(text):
            self.connection.role = None if role[1] else role[2]

    def _remember(self, text: str, error: psycopg2.Error) -> None:
        """Keep what aborted the transaction, with the lines that led to it: a revision may catch it and go on."""
        if self.connection.first_failure is None:
            stack = tuple((frame.filename, frame.lineno or 0) for frame in traceback.extract_stack())
            self.connection.first_failure = FailedStatement(text, error, stack)

    def _tag(self) -> str:
        return (self.statusmessage or "").partition(" ")[0]


def own(connection: Connection) -> Cursor:
    """Return a cursor of which no observer hears."""
    return connection.cursor(cursor_factory=Cursor)


def _text(query: str | bytes | Composable, cursor: Cursor) -> str:
    if isinstance(query, Composable):
        return query.as_string(cursor)
    return query.decode() if isinstance(query, bytes) else query
