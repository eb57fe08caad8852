"""What does a schema look like, as canonical text?

Reads PostgreSQL's own catalog in one statement (`catalog.sql`) and gives sorted lines that are equal for equal schemas,
whatever the role's settings are. Leaves no trace on the connection, takes no lock that outlives the reading, and knows
nothing of models or revisions.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import psycopg2
from psycopg2.extensions import TRANSACTION_STATUS_IDLE
from psycopg2.extensions import connection as Connection
from psycopg2.extensions import cursor as Cursor

from railhead.errors import TableBusy
from railhead.postgres import blockers, failures

FORMAT = 1
"""Grows when the same schema gives other lines than before: catalogs of two formats cannot be compared."""

LOCK_TIMEOUT = 3
"""Seconds that reading waits for a table that somebody has for himself (VACUUM FULL, a long ALTER TABLE)."""

_STATEMENT = Path(__file__).with_suffix(".sql")

PATIENT = (
    f"SELECT set_config('lock_timeout', '{LOCK_TIMEOUT}s', true)"
    f" WHERE current_setting('lock_timeout')::interval NOT BETWEEN '1ms' AND '{LOCK_TIMEOUT}s'"
)
"""Lets a transaction wait no longer than that for a lock; who is in more of a hurry stays so."""

_PINNED = f"""
SET LOCAL search_path = pg_catalog, pg_temp;
SET LOCAL TimeZone = 'UTC'; SET LOCAL DateStyle = 'ISO, YMD'; SET LOCAL IntervalStyle = 'postgres';
SET LOCAL bytea_output = 'hex'; SET LOCAL extra_float_digits = 1; SET LOCAL lc_monetary = 'C';
SET LOCAL quote_all_identifiers = off; SET LOCAL standard_conforming_strings = on; SET LOCAL jit = off;
SET LOCAL join_collapse_limit = 1; SET LOCAL from_collapse_limit = 1;
{PATIENT};
"""
"""Everything that the words of pg_get_expr and its kin follow. jit only costs time here, and so does looking for another order of
the joins: they are written in a good one, and most of the time goes into the plan."""

KEPT_PLAN = "railhead_catalog"
"""The statement's name where the server keeps its plan."""

_OWN_TRANSACTION = "TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY"

_ATTEMPTS = 10
"""How often to begin anew when another session drops what we look at. PostgreSQL then says "cache lookup failed"."""

_OBJECT = re.compile(r'(materialized view|\w+) (?:(.*)\.)?((?:"(?:[^"]|"")*"|[^".()]+)(?:\(.*\))?)', re.DOTALL)

_ESCAPES = {"\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r"}
_UNESCAPES = {escaped[1]: plain for plain, escaped in _ESCAPES.items()}


class CatalogLine(NamedTuple):
    """The fields of a line, between tabs; what they mean is told in catalog.sql."""

    identity: str
    definition: str = ""
    here: str = ""
    origin: str = ""

    @classmethod
    def parse(cls, text: str) -> CatalogLine:
        """Return the fields of a line as the catalog keeps it."""
        identity, *rest = text.split("\t")
        return cls(identity, *(_unescaped(field) for field in rest[:2]), *rest[2:3])

    def __str__(self) -> str:
        fields = (self.identity, _escaped(self.definition), _escaped(self.here), self.origin)
        return "\t".join(fields).rstrip("\t")

    def words(self) -> str:
        """Return how the object is made, with what only this server says of it."""
        return f"{self.definition}\n{self.here}" if self.definition and self.here else self.definition or self.here


class Catalog(NamedTuple):
    """A schema: one line for each object, sorted, and the major version of the server that told them."""

    lines: tuple[str, ...]
    server: int = 0
    format: int = FORMAT

    @property
    def definitions(self) -> dict[str, str]:
        """Return how each object is made, by what it is called: `column task.title` is `text not null`. It may take many lines."""
        return dict(map(_definition, self.lines))

    @classmethod
    def from_text(cls, text: str) -> Catalog:
        """Return the catalog that `text` holds. Raises ValueError when it is none."""
        head, *lines = text.split("\n")
        match = re.fullmatch(r"catalog format (\d+), PostgreSQL (\d+)", head)
        if match is None:
            raise ValueError("is no catalog: its first line does not name a format")
        return cls(tuple(lines), server=int(match[2]), format=int(match[1]))

    @property
    def text(self) -> str:
        """Return the form that can be kept: a heading, then the lines."""
        return "\n".join([f"catalog format {self.format}, PostgreSQL {self.server}", *self.lines])

    @property
    def fingerprint(self) -> str:
        """Return 16 hex digits that are the same for equal schemas on PostgreSQL 14 to 18.

        Leaves out what only one version says in these words, and what a partition merely inherits: the names of its
        indexes and constraints are PostgreSQL's choice.
        """
        fields = (line.split("\t") for line in self.lines)
        portable = [
            "\t".join(each[:2]) for each in fields if len(each) < 4 or each[0].startswith(("table ", "column "))
        ]
        return sha256("\n".join([str(self.format), *portable]).encode()).hexdigest()[:16]


def read(connection: Connection, *, often: bool = False) -> Catalog:
    """Return the schema that `connection` sees, its own uncommitted changes included. Read-only.

    Who asks `often` on a session of its own lets the server keep the plan: four fifths of the time go into making it.

    Works in a transaction of its own, or in a savepoint of the one that is open; either way settings and locks are as they
    were afterwards. Waits up to LOCK_TIMEOUT for a session that holds a table or view under ACCESS EXCLUSIVE, then raises
    LockNotAvailable, which `told_who` makes a Stop of. Raises psycopg2.Error.
    """
    for _ in range(_ATTEMPTS - 1):
        with suppress(_DroppedMeanwhile, psycopg2.errors.InternalError_):
            return _read(connection, often=often)
    return _read(connection, often=often)


@contextmanager
def told_who(connection: Connection) -> Iterator[None]:
    """Inside, a lock that could not be had raises Stop(`table-busy`), which names who has tables for himself. Read-only."""
    try:
        yield
    except psycopg2.errors.LockNotAvailable as error:
        who = blockers.find_blockers(connection, blockers.OWNERS_OF_TABLES)
        end = who[0].end if who else "look again"
        raise TableBusy(
            "table-busy",
            "a table is locked, so that the schema cannot be read",
            facts=[
                *([("blocker", str(one)) for one in who] or [("blocker", "gone when we looked")]),
                ("PostgreSQL", f"{failures.server_words(error)} (SQLSTATE {error.pgcode})"),
                ("waited", f"at most {LOCK_TIMEOUT} s"),
            ],
            database="unchanged",
            next_step=f"wait until they are done, or end the oldest by hand:\n{end}",
        ) from error


def split_identity(thing: str) -> tuple[str, str, str]:
    """Return the noun of an object, where it is, and its name, both as SQL writes them.

    `column archive.task.title` is ("column", "archive.task", "title"), and `table task` is ("table", "", "task").
    """
    match = _OBJECT.fullmatch(thing)
    return (match[1], match[2] or "", match[3]) if match else ("", "", thing)


class _DroppedMeanwhile(psycopg2.InternalError):
    """Another session dropped something while the catalog was read."""


def _read(connection: Connection, *, often: bool) -> Catalog:
    sql = _STATEMENT.read_text(encoding="utf-8")
    with _undone(connection) as cursor:
        if often:
            cursor.execute(f"{_PINNED} SELECT FROM pg_prepared_statements WHERE name = '{KEPT_PLAN}'")
            sql = f"EXECUTE {KEPT_PLAN}" if cursor.rowcount else f"PREPARE {KEPT_PLAN} AS {sql}; EXECUTE {KEPT_PLAN}"
        cursor.execute(_PINNED + sql)
        lines = sorted(str(line) for row in cursor.fetchall() for line in _lines(*row))
    return Catalog(tuple(lines), server=connection.info.server_version // 10000)


@contextmanager
def _undone(connection: Connection) -> Iterator[Cursor]:
    """Give a cursor whose settings and locks are gone afterwards: a rolled back transaction, or a rolled back savepoint."""
    idle = connection.info.transaction_status == TRANSACTION_STATUS_IDLE
    with connection.cursor(cursor_factory=Cursor) as cursor:
        if not idle:
            begin, end = "SAVEPOINT catalog", "ROLLBACK TO SAVEPOINT catalog; RELEASE SAVEPOINT catalog"
        elif connection.autocommit:
            begin, end = f"BEGIN {_OWN_TRANSACTION}", "ROLLBACK"
        else:
            begin, end = f"SET {_OWN_TRANSACTION}", ""  # psycopg2 sends BEGIN and must be the one that rolls back
        cursor.execute(begin)
        try:
            yield cursor
        finally:
            if end and not connection.closed:
                cursor.execute(end)
            elif not connection.closed:
                connection.rollback()


def _lines(
    identity: str, definition: str | None, here: str | None, origin: str, comment: str | None
) -> Iterator[CatalogLine]:
    if definition is None or here is None:
        raise _DroppedMeanwhile(f"{identity} was dropped while the catalog was read")
    name = _escaped(identity)
    yield CatalogLine(name, definition, here, _escaped(origin))
    if comment:
        yield CatalogLine(f"comment on {name}", comment)


@lru_cache(maxsize=1 << 16)
def _definition(text: str) -> tuple[str, str]:
    """Return what a line is about, and how that is made. Remembered: a replay looks at the same lines hundreds of times."""
    return CatalogLine.parse(text)[:2]


def _escaped(text: str) -> str:
    return re.sub(r"[\\\n\t\r]", lambda match: _ESCAPES[match[0]], text)


def _unescaped(text: str) -> str:
    if "\\" not in text:
        return text
    return re.sub(r"\\(.)", lambda match: _UNESCAPES[match[1]], text)
