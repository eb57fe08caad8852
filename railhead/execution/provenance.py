"""Whose connection did an error come from: the one that migrates, or another one that a revision has opened?

A revision may ask other servers, and this one through connections of its own. What becomes of those is the revision's own affair:
only the connection that migrates tells whether the database is away. Read-only.
"""

from __future__ import annotations

import psycopg2
from psycopg2.extensions import connection as Driver
from sqlalchemy import event
from sqlalchemy.engine import Connection, Engine, ExceptionContext
from sqlalchemy.exc import DBAPIError

from railhead.diagnosis import messages
from railhead.postgres import failures
from railhead.postgres.connection import fetch_value


class Provenance:
    """What SQLAlchemy was told of errors on the connection that migrates."""

    def __init__(self, engine: Engine) -> None:
        """Listen to `engine`, whose first connection of each attempt is named by `watch`."""
        self._connection: Connection | None = None
        self._driver: Driver | None = None
        self._own: BaseException | None = None
        event.listen(engine, "handle_error", self._hear)

    def watch(self, connection: Connection, driver: Driver) -> None:
        """Take this connection for the one that migrates."""
        self._connection, self._driver, self._own = connection, driver, None

    def is_foreign(self, error: BaseException) -> bool:
        """Tell whether it was another connection that failed, while the one that migrates is well.

        Asks the server only when neither the error nor the driver tells.
        """
        cause = messages.cause(error)
        if self._driver is not None and _is_passed_on(cause):
            return _is_well(self._driver)
        if self._driver is None or cause is self._own or not isinstance(error, psycopg2.Error | DBAPIError):
            return False
        cursor = getattr(cause, "cursor", None)
        if cursor is not None:
            return getattr(cursor, "connection", None) is not self._driver
        return _is_well(self._driver)

    def _hear(self, context: ExceptionContext) -> None:
        if context.connection is not None and context.connection is self._connection:
            self._own = context.original_exception


def _is_passed_on(cause: BaseException) -> bool:
    """Tell whether it may be another server's failure that ours has passed on: dblink and foreign tables do, and a session survives that."""
    severity = cause.diag.severity_nonlocalized if isinstance(cause, psycopg2.Error) else None
    return severity == "ERROR" and failures.is_lost(cause)


def _is_well(driver: Driver) -> bool:
    """Tell whether the connection is open and answers, whatever it answers."""
    if driver.closed:
        return False
    try:
        fetch_value(driver, "SELECT 1")
    except psycopg2.Error as error:
        return not failures.is_lost(error)
    return True
