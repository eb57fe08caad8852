"""How does SQLAlchemy speak over connections of ours? The only module of this room that knows SQLAlchemy.

What a revision sees of it is true: `op.get_bind().engine.url` names the database that is migrated, and so does the URL in Alembic's
configuration, whatever alembic.ini says. Connects to nothing: who asks for an engine hands in the connections.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

import sqlalchemy
from psycopg2.extensions import connection as Driver
from sqlalchemy import URL, Connection, Engine, Pool

from railhead.dsn import Dsn
from railhead.errors import Stop

if TYPE_CHECKING:
    from alembic.config import Config

    from railhead.postgres.observed import Observed

_DIALECT = "postgresql+psycopg2"


def engine_over(driver: Driver) -> Engine:
    """Return an SQLAlchemy engine whose one connection is `driver`."""
    return sqlalchemy.create_engine(f"{_DIALECT}://", creator=lambda: driver, poolclass=sqlalchemy.StaticPool)


def engine_of(
    dsn: Dsn, connect: Callable[[], Driver], pool: type[Pool] = sqlalchemy.NullPool, **options: int
) -> Engine:
    """Return an engine of the connections that `connect` makes, which knows where they lead."""
    engine = sqlalchemy.create_engine(url_of(dsn), creator=connect, poolclass=pool, **options)
    logging.getLogger(f"{pool.__module__}.{pool.__qualname__}").addFilter(_is_no_refusal)
    return engine


def _is_no_refusal(record: logging.LogRecord) -> bool:
    """Tell whether a line of SQLAlchemy's is about something else than a refusal of ours, which is told in our own words."""
    return not (record.exc_info and isinstance(record.exc_info[1], Stop))


def url_of(dsn: Dsn) -> URL:
    """Return what SQLAlchemy calls this database; its password is in it, and hidden in its text."""
    parameters = dsn.parameters()
    user, password, name = (parameters.pop(key, None) for key in ("user", "password", "dbname"))
    host, port = parameters.get("host", ""), parameters.get("port", "")
    if not host or host.startswith("/") or "," in host or not port.isdecimal():
        return URL.create(_DIALECT, user, password, database=name, query=parameters)
    del parameters["host"], parameters["port"]
    return URL.create(_DIALECT, user, password, host, int(port), name, query=parameters)


def set_url(config: Config, dsn: Dsn) -> None:
    """Let Alembic's configuration name this database, in memory only; `%` would begin an interpolation there."""
    config.set_main_option("sqlalchemy.url", url_of(dsn).render_as_string(hide_password=False).replace("%", "%%"))


def driver_of(connection: Connection) -> Observed:
    """Return psycopg2's connection below SQLAlchemy's, for statements that SQLAlchemy must not see."""
    return cast("Observed", connection.connection.dbapi_connection)


def settle(connection: Connection) -> None:
    """Let a connection be one that works in transactions again, whatever somebody has switched on or ended by hand."""
    driver = driver_of(connection)
    if driver.autocommit:
        if connection.in_transaction():
            connection.commit()
        connection.execution_options(isolation_level=connection.default_isolation_level)
        driver.autocommit = False
    if driver.is_loose:
        driver.rollback()  # psycopg2 believes in a transaction that is no more
