"""What does a schema look like, as canonical text?

Reads PostgreSQL's own catalog in one statement (`catalog.sql`) and gives sorted lines that are equal for equal schemas,
whatever the role's settings are. Leaves no trace on the connection, takes no lock that outlives the reading, and knows
nothing of models or revisions.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Self

import psycopg2
from psycopg2.extensions import STRINGARRAY, TRANSACTION_STATUS_IDLE
from psycopg2.extensions import connection as Connection
from psycopg2.extensions import cursor as Cursor

from railhead.errors import TableBusy
from railhead.postgres import blockers, failures
from railhead.schema import kept_lines, objects
from railhead.schema.objects import COMMENT, CatalogObject, Facts, Text

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

_ATTEMPTS = 30
"""How often to begin anew when another session drops what we look at. PostgreSQL then says "cache lookup failed"."""

_FACTS: dict[str, Callable[..., Facts]] = {
    "table": objects.Table,
    "column": objects.Column,
    "constraint": objects.Constraint,
    "index": objects.Index,
    "view": objects.View.of,
    "materialized view": objects.View.of,
    "sequence": objects.FreeSequence,
    "trigger": objects.Trigger,
    "rule": objects.RewriteRule,
    "policy": objects.Policy,
    "enum": objects.Enum.of,
    "domain": objects.Domain.of,
    "type": objects.Composite.of,
}
"""What is made of the facts that catalog.sql gives, by kind; of all others it gives one."""

_HAS_DEFAULT, _EXPRESSION = 3, 4


@dataclass(frozen=True)
class Catalog:
    """A schema: one line for each object, sorted, and the major version of the server that told them."""

    lines: tuple[str, ...]
    server: int = 0
    format: int = FORMAT
    told: Mapping[str, CatalogObject] | None = field(default=None, compare=False, repr=False)
    """The objects as their server has told them; None where only the lines were kept."""

    def __getstate__(self) -> dict[str, object]:
        """Leave to another process what the lines say: it is a third of it."""
        return {"lines": self.lines, "server": self.server, "format": self.format, "told": None}

    @classmethod
    def from_text(cls, text: str) -> Self:
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

    @cached_property
    def objects(self) -> Mapping[str, CatalogObject]:
        """Return what there is, each by what it is called: `column task.title`."""
        if self.told is not None:
            return self.told
        return {thing.identity: thing for thing in map(kept_lines.parsed, self.lines)}

    def object_of(self, line: str) -> CatalogObject:
        """Return the object of one of the lines."""
        return self.told[line.partition("\t")[0]] if self.told is not None else kept_lines.parsed(line)

    @property
    def definitions(self) -> dict[str, str]:
        """Return how each object is made: `column task.title` is `text not null`. It may take many lines."""
        return {identity: thing.definition for identity, thing in self.objects.items()}

    def only(self, is_meant: Callable[[str], bool]) -> Self:
        """Return the part of it whose identities are meant."""
        lines = tuple(line for line in self.lines if is_meant(line.partition("\t")[0]))
        things = self.told and {line.partition("\t")[0]: self.object_of(line) for line in lines}
        return replace(self, lines=lines, told=things)

    @property
    def fingerprint(self) -> str:
        """Return 16 hex digits that are the same for equal schemas on PostgreSQL 14 to 18.

        Leaves out what only one version says in these words, and what a partition merely inherits: the names of its
        indexes and constraints are PostgreSQL's choice.
        """
        fields = (line.split("\t") for line in self.lines)
        portable = [
            "\t".join(words[:2]) for words in fields if len(words) < 4 or words[0].startswith(("table ", "column "))
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
        holders = blockers.find_blockers(connection, blockers.OWNERS_OF_TABLES)
        end = holders[0].end if holders else "look again"
        raise TableBusy(
            "table-busy",
            "a table is locked, so that the schema cannot be read",
            facts=[
                *([("blocker", str(blocker)) for blocker in holders] or [("blocker", "gone when we looked")]),
                ("PostgreSQL", f"{failures.server_words(error)} (SQLSTATE {error.pgcode})"),
                ("waited", f"at most {LOCK_TIMEOUT} s"),
            ],
            database="unchanged",
            next_step=f"wait until they are done, or end the oldest by hand:\n{end}",
        ) from error


class _DroppedMeanwhile(psycopg2.InternalError):
    """Another session dropped something while the catalog was read."""


def _read(connection: Connection, *, often: bool) -> Catalog:
    sql = _STATEMENT.read_text(encoding="utf-8")
    with _undone(connection) as cursor:
        if often:
            cursor.execute(f"{_PINNED} SELECT FROM pg_prepared_statements WHERE name = '{KEPT_PLAN}'")
            sql = f"EXECUTE {KEPT_PLAN}" if cursor.rowcount else f"PREPARE {KEPT_PLAN} AS {sql}; EXECUTE {KEPT_PLAN}"
        cursor.execute(_PINNED + sql)
        objects_of = _remembered if often else _objects
        things = {thing.identity: thing for row in cursor.fetchall() for thing in objects_of(*row)}
    return Catalog(
        tuple(sorted([thing.line for thing in things.values()])), connection.info.server_version // 10000, told=things
    )


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


def _objects(
    kind: str, schema: str, table: str, name: str, facts: str | None, here: str | None, origin: str, comment: str | None
) -> list[CatalogObject]:
    """Return an object, and the comment on it."""
    fields = STRINGARRAY(facts, None)
    if (
        fields is None
        or here is None
        or (fields and fields[0] is None)
        or (kind == "column" and _has_lost_default(fields))
    ):
        raise _DroppedMeanwhile(f"{kind} {name} was dropped while the catalog was read")
    full = f"{table}.{name}" if table else name
    full = f"{schema}.{full}" if schema else full
    made = _FACTS.get(kind, Text)(*fields)
    line = objects.line(f"{kind} {full}", made.definition, here, origin)
    things = [CatalogObject(line, kind, schema, table, name, made, here, objects.escaped(origin) if origin else "")]
    if comment:
        line = objects.line(f"{COMMENT}{kind} {full}", comment)
        things.append(CatalogObject(line, f"{COMMENT}{kind}", schema, table, name, Text(comment)))
    return things


_remembered = lru_cache(maxsize=1 << 16)(_objects)
"""A replay reads the same ones hundreds of times."""


def _has_lost_default(facts: list[str | None]) -> bool:
    return facts[_EXPRESSION] is None and facts[_HAS_DEFAULT] is not None
