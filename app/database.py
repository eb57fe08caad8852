"""How does a request reach the database? One session a request, opened at first use and gone at its end.

Nothing here connects before the first request. A server that went away costs a request seconds, never a hang, and is
found again by itself.
"""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TypeVar

import psycopg2
from flask import Flask, abort, current_app, g
from psycopg2 import errorcodes
from sqlalchemy import Connection, Engine, ExceptionContext, create_engine, event
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session, sessionmaker

import railhead
from models import Base
from railhead import PatientConnection, Settings

T = TypeVar("T", bound=Base)

POOL = 5
"""Connections a worker may hold: one for each of its threads, and one to spare."""

LONGEST_STATEMENT = 8
"""Seconds, kept by the server."""

PATIENCE = LONGEST_STATEMENT + 1.0
"""Seconds, kept by us: a server that is stopped, or behind a dead network, keeps nothing and says nothing."""

_SILENCE = 2.0
"""Seconds without a word after which a connection that fails has met nobody: who is there and refuses does so at once."""

_PAUSE = 1.0
_KNOCK = 5.0
"""Seconds in which somebody at the door is answered or gives up."""

_TROUBLE = {"08", "53", "57", "58", "25", "40"}
"""Classes of SQLSTATE that say the server cannot do it now: connection, resources, operator, system, read-only, conflict."""

_UNFIT = {
    errorcodes.UNDEFINED_TABLE,
    errorcodes.UNDEFINED_COLUMN,
    errorcodes.UNDEFINED_OBJECT,
    errorcodes.UNDEFINED_FUNCTION,  # so it calls `text = bigint`, too
    errorcodes.DATATYPE_MISMATCH,
}
"""What says that the schema is not the one that our statements were written for."""

_REFUSED = {errorcodes.LOCK_NOT_AVAILABLE, errorcodes.INSUFFICIENT_PRIVILEGE}


def connect(settings: Settings) -> PatientConnection:
    """Return a connection that waits for nobody for long. Read-only.

    Without a name, as in `flask shell`, it leads to the embedded server, which then starts. Raises psycopg2.OperationalError.
    """
    return railhead.connect(settings)


class _Door:
    """Where the engine's connections come from. While nobody answers one knocks at a time, the others are told at once.

    Else all threads would stand at the door, and none be left to say that the process is alive.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._silent = False
        self._closed_until = 0.0

    def open(self) -> PatientConnection:
        """Return a connection. Raises psycopg2.OperationalError."""
        began = time.monotonic()
        if began < self._closed_until:
            raise psycopg2.OperationalError("the server did not answer a moment ago")
        if self._silent:
            self._closed_until = began + _KNOCK
        try:
            connection = connect(self._settings)
        except psycopg2.OperationalError:
            self._silent = time.monotonic() - began > _SILENCE
            self._closed_until = time.monotonic() + _PAUSE if self._silent else 0.0
            raise
        self._silent, self._closed_until = False, 0.0
        return connection


def init_app(app: Flask, settings: Settings) -> None:
    """Give the application an engine and its sessions. Does not connect."""
    engine = make_engine(settings)
    app.extensions["engine"] = engine
    app.extensions["sessions"] = sessionmaker(engine, expire_on_commit=False)
    app.teardown_appcontext(_close)


def make_engine(settings: Settings) -> Engine:
    """Return an engine whose connections are tried before use, so that a restarted server is no error. Does not connect."""
    engine = create_engine(
        "postgresql+psycopg2://",
        creator=_Door(settings).open,
        hide_parameters=True,  # what people typed does not belong in a log
        pool_pre_ping=True,
        pool_size=POOL,
        max_overflow=0,
        pool_timeout=3,
        pool_recycle=1800,
    )
    event.listen(engine, "checkout", _work)
    event.listen(engine, "checkin", _rest)
    event.listen(engine, "begin", _limit)
    event.listen(engine, "handle_error", _forget_the_unfit)
    return engine


def session() -> Session:
    """Return the session of this request."""
    if "session" not in g:
        sessions: sessionmaker[Session] = current_app.extensions["sessions"]
        g.session = sessions()
    opened: Session = g.session
    return opened


def found(model: type[T], number: int) -> T:
    """Return the record of this number. Read-only. Answers 404 when there is none."""
    record = session().get(model, number)
    if record is None:
        abort(404)
    return record


def is_trouble(error: SQLAlchemyError) -> bool:
    """Tell whether the database is away, full, read-only or not at our schema, rather than our statement being wrong."""
    if isinstance(error, PoolTimeout):
        return True
    if not isinstance(error, DBAPIError):
        return False
    state = sqlstate(error)
    if state is None:  # psycopg2 tells a server that dies with one of these, or with the bare DatabaseError above them
        return isinstance(error, OperationalError | InterfaceError) or type(error.orig) is psycopg2.DatabaseError
    return state[:2] in _TROUBLE or state in _UNFIT | _REFUSED


def is_unfit(error: SQLAlchemyError) -> bool:
    """Tell whether the database answers, and its schema is not the one that we need."""
    return isinstance(error, DBAPIError) and sqlstate(error) in _UNFIT


def sqlstate(error: DBAPIError) -> str | None:
    """Return the server's code; None when the server did not answer."""
    return getattr(error.orig, "pgcode", None)


def _work(connection: object, *_: object) -> None:
    _have_patience(connection, PATIENCE)


def _rest(connection: object, *_: object) -> None:
    """The next question will be whether anybody answers."""
    _have_patience(connection, PatientConnection.patience)


def _have_patience(connection: object, seconds: float) -> None:
    if isinstance(connection, PatientConnection):  # there is none once it is lost
        connection.patience = seconds


def _limit(connection: Connection) -> None:
    # SET LOCAL, because behind a transaction pooler a plain SET would reach other clients
    connection.exec_driver_sql(f"SET LOCAL statement_timeout = '{LONGEST_STATEMENT}s'")


def _forget_the_unfit(context: ExceptionContext) -> None:
    """After a failover a pooled connection may lead to a server that is read-only now: all of them are made anew."""
    if getattr(context.original_exception, "pgcode", None) == errorcodes.READ_ONLY_SQL_TRANSACTION:
        context.is_disconnect = True


def _close(_error: BaseException | None) -> None:
    opened: Session | None = g.pop("session", None)
    if opened is None:
        return
    try:
        opened.close()
    except SQLAlchemyError as error:  # the server died with our transaction in it; the answer is made already
        current_app.logger.warning("the database was gone at the end of a request: %s", type(error).__name__)
        with suppress(SQLAlchemyError):
            opened.invalidate()
