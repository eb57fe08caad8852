"""How does a request reach the database? One session a request, opened at first use and gone at its end.

Nothing here connects before the first request. A server that went away costs a request seconds, never a hang, and is
found again by itself.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TypeVar

import psycopg2
from flask import Flask, abort, current_app, g
from psycopg2 import errorcodes
from sqlalchemy import Connection, Engine, ExceptionContext, create_engine, event
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session, sessionmaker

from models import Base
from utils import embedded
from utils.settings import Dsn, Settings

T = TypeVar("T", bound=Base)

POOL = 5
"""Connections a worker may hold: one for each of its threads, and one to spare."""

LONGEST_STATEMENT = "8s"

_REACH = {
    "connect_timeout": "3",
    "keepalives_idle": "5",
    "keepalives_interval": "2",
    "keepalives_count": "2",
    "tcp_user_timeout": "6000",
}
"""So that a server that vanished is noticed within seconds. All in seconds but the last, which libpq takes in milliseconds."""

_TROUBLE = {"08", "53", "57", "58", "25", "40"}
"""Classes of SQLSTATE that say the server cannot do it now: connection, resources, operator, system, read-only, conflict."""

_UNFIT = {errorcodes.UNDEFINED_TABLE, errorcodes.UNDEFINED_COLUMN, errorcodes.UNDEFINED_OBJECT}
_REFUSED = {errorcodes.LOCK_NOT_AVAILABLE, errorcodes.INSUFFICIENT_PRIVILEGE}


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
        creator=lambda: psycopg2.connect(_dsn(settings)),  # a libpq string: it may name several hosts
        hide_parameters=True,  # what people typed does not belong in a log
        pool_pre_ping=True,
        pool_size=POOL,
        max_overflow=0,
        pool_timeout=3,
        pool_recycle=1800,
    )
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


def sqlstate(error: DBAPIError) -> str | None:
    """Return the server's code; None when the server did not answer."""
    return getattr(error.orig, "pgcode", None)


def _dsn(settings: Settings) -> Dsn:
    """Return where to connect. Without a name, as in `flask shell`, that is the embedded server, which then starts."""
    named = embedded.fill(settings).database
    assert named is not None
    return Dsn.of(**{**_REACH, "application_name": f"railhead web @ {settings.replica}", **named.parameters()})


def _limit(connection: Connection) -> None:
    # SET LOCAL, because behind a transaction pooler a plain SET would reach other clients
    connection.exec_driver_sql(f"SET LOCAL statement_timeout = '{LONGEST_STATEMENT}'")


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
