"""Which databases does a test have? Its own, fresh, on the server of the run; each is gone afterwards, and nobody may still use it."""

from __future__ import annotations

import os
import shutil
import time
from urllib.parse import quote, urlencode

import psycopg2
from psycopg2 import sql
from psycopg2.extensions import connection as Connection

from railhead.dsn import Dsn


def memory() -> str | None:
    """Return a folder in memory where there is room: a database is made there in 15 ms, on a disk in 200."""
    place = "/dev/shm"
    roomy = os.access(place, os.W_OK) and shutil.disk_usage(place).free > 2 * 1024**3
    return place if roomy else None


def url_of(dsn: Dsn) -> str:
    """Return what one writes into DATABASE_URL to reach `dsn`, password included."""
    parameters = dsn.parameters()
    user, password = (quote(parameters.pop(key, ""), safe="") for key in ("user", "password"))
    dbname = quote(parameters.pop("dbname", ""), safe="")
    return f"postgresql://{user}{':' + password if password else ''}@/{dbname}?{urlencode(parameters)}"


def named(database: Dsn) -> str:
    """Return the argument with which `reset` is allowed to empty this database."""
    return f"--yes={database.parameters()['dbname']}"


class Databases:
    """Databases of one test, each fresh and empty, all gone afterwards."""

    def __init__(self, server: Dsn, prefix: str) -> None:
        """Make them on `server`, with names that begin with `prefix`."""
        self.server = server
        self.prefix = prefix
        self.made: list[str] = []

    def new(self, template: str = "template0") -> Dsn:
        """Return a database of its own, a copy of `template`."""
        name = f"{self.prefix}_{len(self.made)}"
        self._on_server(f"CREATE DATABASE {{}} TEMPLATE {{}} {self._strategy()}", name, template)
        self.made.append(name)
        return self.server.with_(dbname=name)

    def _strategy(self) -> str:
        """Return what makes a copy quickest: of files, which PostgreSQL 14 always did. The default writes it all to the WAL too."""
        return "STRATEGY file_copy" if self._administrator().info.server_version >= 150000 else ""

    def drop(self) -> None:
        """Drop them all. Fails, after dropping them, when somebody still uses one."""
        left = self._left_behind()
        for name in self.made:
            self._on_server("DROP DATABASE IF EXISTS {} WITH (FORCE)", name)
        assert not left, "left behind by the test: " + "; ".join(left)

    def _left_behind(self) -> list[str]:
        """Return the sessions and advisory locks in these databases that do not end within two seconds."""
        question = """
            SELECT datname || ': session ' || pid || ' ' || coalesce(state, '') || ' ' || left(query, 100)
            FROM pg_stat_activity WHERE datname = ANY (%(names)s) AND backend_type = 'client backend'
            UNION ALL
            SELECT datname || ': advisory lock of ' || coalesce(pid::text, 'a prepared transaction')
            FROM pg_locks JOIN pg_database ON pg_database.oid = pg_locks.database
            WHERE locktype = 'advisory' AND datname = ANY (%(names)s)
        """
        deadline = time.monotonic() + 2
        while left := _rows(self._administrator(), question, {"names": self.made}):
            if time.monotonic() > deadline:
                break
            time.sleep(0.01)
        return [str(row[0]) for row in left]

    def _on_server(self, statement: str, *names: str) -> None:
        _rows(self._administrator(), sql.SQL(statement).format(*map(sql.Identifier, names)))

    def _administrator(self) -> Connection:
        """Return the one session that this process keeps on the server: a new one for each statement costs more than most statements."""
        key = (os.getpid(), self.server)
        if key not in _administrators or _administrators[key].closed:
            _administrators[key] = psycopg2.connect(self.server)
            _administrators[key].autocommit = True
        return _administrators[key]


_administrators: dict[tuple[int, Dsn], Connection] = {}


def rows_of(dsn: Dsn, statement: str | sql.Composed, parameters: object = None) -> list[tuple[object, ...]]:
    """Return the rows of one statement, run and committed on a connection of its own."""
    connection = psycopg2.connect(dsn)
    try:
        connection.autocommit = True
        return _rows(connection, statement, parameters)
    finally:
        connection.close()


def _rows(connection: Connection, statement: str | sql.Composed, parameters: object = None) -> list[tuple[object, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        return cursor.fetchall() if cursor.description else []


def version_of(database: Dsn) -> object:
    """Return the revision at which a database is that has one head."""
    [(version,)] = rows_of(database, "SELECT version_num FROM alembic_version")
    return version


def run(connection: Connection, statements: str) -> None:
    """Run statements in the connection's transaction."""
    with connection.cursor() as cursor:
        cursor.execute(statements)
