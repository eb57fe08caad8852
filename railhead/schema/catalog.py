"""What does a schema look like, as canonical text?

Reads PostgreSQL's own catalog in one statement (`catalog.sql`) and gives sorted lines that are equal for equal schemas,
whatever the role's settings are. Leaves no trace on the connection, takes no lock that outlives the reading, and knows
nothing of models or revisions.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import psycopg2
from psycopg2.extensions import TRANSACTION_STATUS_IDLE
from psycopg2.extensions import connection as Connection
from psycopg2.extensions import cursor as Cursor

from railhead.errors import TableBusy
from railhead.postgres import blockers
from railhead.postgres import connection as database

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

_KEPT = "railhead_catalog"
"""The statement's name where the server keeps its plan."""

_OWN_TRANSACTION = "TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY"

_ATTEMPTS = 10
"""How often to begin anew when another session drops what we look at. PostgreSQL then says "cache lookup failed"."""

_OBJECT = re.compile(r'(materialized view|\w+) (?:(.*)\.)?((?:"(?:[^"]|"")*"|[^".()]+)(?:\(.*\))?)', re.DOTALL)
_BELONGINGS = {"column", "constraint", "index", "trigger", "rule", "policy"}
_RELATIONS = ("table", "view", "materialized view")
_PLURALS = {"index": "indexes", "policy": "policies"}
_CAST = re.compile(
    r'::(?:"(?:[^"]|"")*"\.|\w+\.)?'
    r'(?:character varying|bit varying|double precision|time(?:stamp)?(?:\(\d\))? with(?:out)? time zone|"(?:[^"]|"")*"|\w+)'
    r"(?:\(\d+(?:,\d+)?\))?(?:\[\])*|[()\s]"
)
"""A cast as PostgreSQL writes it, and the brackets and blanks that come and go with it."""

_ESCAPES = {"\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r"}
_UNESCAPES = {escaped[1]: plain for plain, escaped in _ESCAPES.items()}


class _Line(NamedTuple):
    """The fields of a line, between tabs; what they mean is told in catalog.sql."""

    identity: str
    definition: str = ""
    here: str = ""
    origin: str = ""

    @classmethod
    def parse(cls, text: str) -> _Line:
        identity, *rest = text.split("\t")
        return cls(identity, *(_unescaped(field) for field in rest[:2]), *rest[2:3])

    def __str__(self) -> str:
        fields = (self.identity, _escaped(self.definition), _escaped(self.here), self.origin)
        return "\t".join(fields).rstrip("\t")

    def words(self) -> str:
        return f"{self.definition}\n{self.here}" if self.definition and self.here else self.definition or self.here


class Catalog(NamedTuple):
    """A schema: one line for each object, sorted, and the major version of the server that told them."""

    lines: tuple[str, ...]
    server: int = 0
    format: int = FORMAT

    @property
    def definitions(self) -> dict[str, str]:
        """Return how each object is made, by what it is called: `column task.title` is `text not null`."""
        return {line.identity: line.words() for line in map(_Line.parse, self.lines)}

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


class Change(NamedTuple):
    """One difference between two catalogs: `added`, `removed` or `changed`."""

    kind: str
    object: str
    """What it is and its name, on one line: `column task.due_on`, `table archive.task` (the schema public is left out)."""
    before: str | None
    after: str | None
    parts: tuple[Change, ...] = ()
    """What came or went with it: the columns of a table, the same change in each partition."""


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
        who = blockers.found(connection, blockers.OWNERS_OF_TABLES)
        end = who[0].end if who else "look again"
        raise TableBusy(
            "table-busy",
            "a table is locked, so that the schema cannot be read",
            facts=[
                *([("blocker", str(one)) for one in who] or [("blocker", "gone when we looked")]),
                ("PostgreSQL", f"{database.said(error)} (SQLSTATE {error.pgcode})"),
                ("waited", f"at most {LOCK_TIMEOUT} s"),
            ],
            database="unchanged",
            next_step=f"wait until they are done, or end the oldest by hand:\n{end}",
        ) from error


def difference(before: Catalog | Iterable[str], after: Catalog | Iterable[str]) -> list[Change]:
    """Return what changed, sorted by object; nothing when the two are equal.

    A changed object is one change. What belongs to an added or removed table is part of that one change, and so is what
    partitions inherit of a change to their parent. Between servers of two major versions only the words that both use are
    compared.
    """
    one, other = _catalog(before), _catalog(after)
    if one.lines == other.lines:
        return []  # so most comparisons end, and to take apart a thousand tables' lines costs more than to read them
    portable = bool(one.server and other.server and one.server != other.server)
    changes, origins = _changes(_by_identity(one, portable=portable), _by_identity(other, portable=portable))
    return _gathered(changes, origins)


def split(thing: str) -> tuple[str, str, str]:
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
            cursor.execute(f"{_PINNED} SELECT FROM pg_prepared_statements WHERE name = '{_KEPT}'")
            sql = f"EXECUTE {_KEPT}" if cursor.rowcount else f"PREPARE {_KEPT} AS {sql}; EXECUTE {_KEPT}"
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
) -> Iterator[_Line]:
    if definition is None or here is None:
        raise _DroppedMeanwhile(f"{identity} was dropped while the catalog was read")
    name = _escaped(identity)
    yield _Line(name, definition, here, _escaped(origin))
    if comment:
        yield _Line(f"comment on {name}", comment)


def _catalog(given: Catalog | Iterable[str]) -> Catalog:
    return given if isinstance(given, Catalog) else Catalog(tuple(given))


def _by_identity(catalog: Catalog, *, portable: bool) -> dict[str, _Line]:
    lines = map(_Line.parse, catalog.lines)
    return {line.identity: line._replace(here="") if portable else line for line in lines}


def _changes(before: dict[str, _Line], after: dict[str, _Line]) -> tuple[dict[str, Change], dict[str, str]]:
    """Return every line that differs, and the origin of each that has one; the origin itself is never a difference."""
    changes, origins = {}, {}
    for identity in sorted(before.keys() | after.keys()):
        old, new = before.get(identity), after.get(identity)
        if old and new and old.words() == new.words():
            continue
        kind = "added" if old is None else "removed" if new is None else "changed"
        changes[identity] = Change(kind, identity, old.words() if old else None, new.words() if new else None)
        origins[identity] = (new or old or _Line("")).origin
    return changes, origins


def _gathered(changes: dict[str, Change], origins: dict[str, str]) -> list[Change]:
    """Return the changes that stand for themselves, each with the others as its parts."""
    parts: dict[str, list[Change]] = {}
    for change in changes.values():
        owner = _owner(change, changes, origins)
        if owner:
            parts.setdefault(owner, []).append(change)

    def whole(change: Change) -> Change:
        with_parts = change._replace(parts=tuple(whole(part) for part in parts.get(change.object, ())))
        return _summed_up(with_parts) if change.object.startswith("table ") else with_parts

    owned = {change.object for group in parts.values() for change in group}
    return [whole(change) for change in changes.values() if change.object not in owned]


def _owner(change: Change, changes: dict[str, Change], origins: dict[str, str]) -> str | None:
    """Return the object whose change says everything that this one would."""
    for container in _containers(change.object):
        around = changes.get(container)
        if around and around.kind == change.kind != "changed":
            return container
    origin = changes.get(origins[change.object])
    if origin and _same(change, origin):
        return origin.object
    return _retyped_column(change, changes)


def _containers(identity: str) -> list[str]:
    commented = identity.removeprefix("comment on ")
    if commented != identity:
        twin = commented.replace("index ", "constraint ", 1)  # the index of a constraint has its name
        return [commented, twin, *_containers(commented)]
    noun, place, _ = split(identity)
    return [f"{relation} {place}" for relation in _RELATIONS] if noun in _BELONGINGS else []


def _retyped_column(change: Change, changes: dict[str, Change]) -> str | None:
    """Return the column whose new type gave other casts, and nothing else, to the index or constraint that changed."""
    noun, table, _ = split(change.object)
    if change.kind != "changed" or noun not in {"index", "constraint"}:
        return None
    if _CAST.sub("", change.before or "") != _CAST.sub("", change.after or ""):
        return None
    for other in changes.values():
        if other.kind == "changed" and split(other.object)[:2] == ("column", table):
            return other.object
    return None


def _same(change: Change, origin: Change) -> bool:
    """Tell whether `change` is what `origin` did to a partition: the same words came and went."""
    if change.kind != origin.kind:
        return False
    return change.kind != "changed" or _moved(change) <= _moved(origin)


def _moved(change: Change) -> Counter[str]:
    before, after = Counter((change.before or "").split()), Counter((change.after or "").split())
    return Counter({f"-{word}": count for word, count in (before - after).items()}) + Counter(
        {f"+{word}": count for word, count in (after - before).items()}
    )


def _summed_up(change: Change) -> Change:
    """Return the change of a table with its columns, and the number of its other parts, in its words."""
    if change.kind == "changed" or not change.parts:
        return change
    columns, others = [], Counter[str]()
    for part in change.parts:
        noun, _, name = part.object.partition(" ")
        if noun == "column":
            columns.append(f"{name[len(change.object) - len('table ') + 1 :]} {part.before or part.after}")
        elif noun != "comment":
            others[noun] += 1
    counted = [f"{count} {noun if count == 1 else _PLURALS.get(noun, f'{noun}s')}" for noun, count in others.items()]
    told = (change.before or change.after or "", ", ".join(columns) or "no columns", ", ".join(counted))
    words = "; ".join(filter(None, told))
    return change._replace(before=words) if change.kind == "removed" else change._replace(after=words)


def _escaped(text: str) -> str:
    return re.sub(r"[\\\n\t\r]", lambda match: _ESCAPES[match[0]], text)


def _unescaped(text: str) -> str:
    return re.sub(r"\\(.)", lambda match: _UNESCAPES[match[1]], text)
