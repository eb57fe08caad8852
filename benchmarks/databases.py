"""Where do the databases come from, and who drops them?

One server for all tools: TEST_DATABASE_URL, or the embedded one. Every timed run gets a database of its own under a new name;
all but the large ones are dropped at the very end, because a DROP DATABASE of many files makes what comes after it slower for a while
(ext4).
"""

from __future__ import annotations

import itertools
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from urllib.parse import quote, urlencode

import psycopg2
from psycopg2 import errors, sql
from psycopg2.extensions import ISOLATION_LEVEL_AUTOCOMMIT, connection

from benchmarks import places
from railhead.devserver.server import Server as Embedded
from railhead.dsn import Dsn, parse_url

CATALOG = """
SELECT format('%s.%s %s %s %s %s', c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attidentity,
              pg_get_expr(d.adbin, d.adrelid))
  FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
  LEFT JOIN pg_attrdef d ON (d.adrelid, d.adnum) = (a.attrelid, a.attnum)
 WHERE c.relkind = 'r' AND c.relname LIKE 'bench@_%' ESCAPE '@'
UNION ALL
SELECT format('%s %s', conname, pg_get_constraintdef(oid)) FROM pg_constraint WHERE conrelid::regclass::text LIKE 'bench@_%' ESCAPE '@'
UNION ALL
SELECT indexdef FROM pg_indexes WHERE tablename LIKE 'bench@_%' ESCAPE '@'
 ORDER BY 1
"""


class Server:
    """The server of one run of the benchmark, and the databases that the run made on it."""

    def __init__(self, dsn: Dsn) -> None:
        """Reach the server by `dsn`, whose role must be allowed to create databases."""
        self.dsn = dsn
        self.made: list[str] = []
        self.numbers = itertools.count()
        self.admin = _connect(dsn)

    def create(self, template: str = "template0") -> str:
        """Create a database like `template` and return its name. Connects to it once, as the first to come builds its caches."""
        name = f"railhead_bench_{os.getpid()}_{next(self.numbers)}"
        order = sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(template))
        self._when_left(order)
        self.made.append(name)
        self.connect(name).close()
        return name

    def drop(self, name: str) -> None:
        """Drop a database that `create` made before the run is over, because it is large."""
        self.admin.cursor().execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))
        self.made.remove(name)

    def settle(self) -> None:
        """Have the server write now what it would write in the middle of a measurement, where it lets us."""
        with suppress(errors.InsufficientPrivilege):
            self.admin.cursor().execute("CHECKPOINT")

    def connect(self, database: str) -> connection:
        """Return a connection to `database` that commits every statement."""
        return _connect(self.dsn.with_(dbname=database))

    def environment(self, database: str) -> dict[str, str]:
        """Return the variables by which every tool finds `database`: DATABASE_URL and libpq's own."""
        known = self.dsn.with_(dbname=database).parameters()
        if self.dsn.is_local():
            known.setdefault("sslmode", "disable")
        names = {"host": "PGHOST", "port": "PGPORT", "dbname": "PGDATABASE", "user": "PGUSER"}
        names |= {"password": "PGPASSWORD", "sslmode": "PGSSLMODE"}
        libpq = {names[key]: value for key, value in known.items() if key in names}
        return {**places.clean_environment(), **libpq, "DATABASE_URL": _url(known)}

    def catalog(self, database: str) -> list[str]:
        """Return the columns, constraints and indexes of the history's tables in `database`, sorted."""
        return [str(line) for (line,) in self.rows(database, CATALOG)]

    def rows(self, database: str, query: str) -> list[tuple[object, ...]]:
        """Return the rows of `query` in `database`."""
        session = self.connect(database)
        try:
            with session.cursor() as cursor:
                cursor.execute(query)
                return cursor.fetchall()
        finally:
            session.close()

    def drop_all(self) -> None:
        """Drop every database that `create` made."""
        for name in self.made:
            self.admin.cursor().execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))
        self.admin.close()

    def _when_left(self, order: sql.Composed) -> None:
        """Execute `order` as soon as the last session has left the template; one that has just ended takes a moment."""
        deadline = time.monotonic() + 30
        while True:
            try:
                return self.admin.cursor().execute(order)
            except errors.ObjectInUse:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.02)


@contextmanager
def server() -> Iterator[Server]:
    """Give the server that TEST_DATABASE_URL names, or a new embedded one; what the run made there goes when it is over."""
    named = os.environ.get("TEST_DATABASE_URL", "")
    with _named(named) if named else _embedded() as dsn:
        found = Server(dsn)
        try:
            yield found
        finally:
            found.drop_all()


@contextmanager
def _named(url: str) -> Iterator[Dsn]:
    dsn = parse_url(url)
    yield dsn if dsn.parameters().get("dbname") else dsn.with_(dbname="postgres")


@contextmanager
def _embedded() -> Iterator[Dsn]:
    """Start a server with PostgreSQL's own settings, but for room for every process of a crowd."""
    data = places.DATA / "postgres"
    own = Embedded(data, {"max_connections": "200"})
    own.stop()  # of a run that was killed
    shutil.rmtree(data, ignore_errors=True)
    own.start()
    try:
        yield own.dsn
    finally:
        own.stop()
        shutil.rmtree(data, ignore_errors=True)


def _connect(dsn: Dsn) -> connection:
    session = psycopg2.connect(dsn)
    session.set_isolation_level(ISOLATION_LEVEL_AUTOCOMMIT)
    return session


def _url(known: dict[str, str]) -> str:
    """Return the URL that every tool understands; a socket folder goes into the query."""
    user, password = quote(known.get("user", ""), safe=""), quote(known.get("password", ""), safe="")
    host, port = known.get("host", ""), known.get("port", "")
    inside = {"sslmode": known["sslmode"]} if "sslmode" in known else {}
    if host.startswith("/"):
        inside, host = {**inside, "host": host}, ""
        if port:
            inside, port = {**inside, "port": port}, ""
    secret = f":{password}" if password else ""
    place = f"{host}:{port}" if port else host
    return f"postgresql://{user}{secret}@{place}/{quote(known['dbname'], safe='')}?{urlencode(inside)}"
