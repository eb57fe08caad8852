"""Whose is what stands in this database: ours, an extension's, or another tool's?

Ours is what a revision of the history has made and what the models know. What belongs to an extension never is, nor what the project
says is none of its business. Read-only.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, NamedTuple

from psycopg2.extensions import connection as Connection

from railhead.history.made_by_sql import EXTENSION, RELATION, ROUTINE, SCHEMA, TYPE, split_name
from railhead.history.made_objects import MadeObjects
from railhead.postgres.connection import fetch_all
from railhead.postgres.quoting import full_name
from railhead.project import IS_OWN
from railhead.schema.kept_lines import split_identity
from railhead.schema.objects import COMMENT

if TYPE_CHECKING:
    from sqlalchemy import MetaData

MOST_NAMES = 10

_KINDS = {
    "table": RELATION,
    "view": RELATION,
    "materialized view": RELATION,
    "sequence": RELATION,
    "enum": TYPE,
    "domain": TYPE,
    "range": TYPE,
    "type": TYPE,
    "function": ROUTINE,
    "procedure": ROUTINE,
    "aggregate": ROUTINE,
    "schema": SCHEMA,
    "extension": EXTENSION,
}
"""What the catalog calls things that stand for themselves. Everything else belongs to a table, or is rare enough to be ours."""

_IN_EVERY_DATABASE = frozenset({("schema", "public"), ("extension", "plpgsql")})

_BELONGINGS = frozenset({"column", "constraint", "index", "trigger", "rule", "policy"})


class DatabaseObject(NamedTuple):
    """Something that stands for itself in a database."""

    kind: str
    schema: str
    name: str
    of_extension: bool = False
    parent_schema: str | None = None
    """Of the table that this one is a partition, or another heir, of, the topmost of them; of one that has a column of this type."""
    parent: str | None = None


class Ownership:
    """What is ours in one database. `of_models` are the tables and types of the models, `ignored` what the project leaves to others."""

    def __init__(
        self,
        home: str,
        things: Sequence[DatabaseObject],
        made: MadeObjects,
        of_models: Collection[tuple[str, str]],
        ignored: Sequence[str],
        *,
        is_certain: bool = True,
    ) -> None:
        """`home` is the schema where new tables go."""
        self.is_certain = is_certain
        """Whether all that was made is known; not where the database is at a revision that this code does not have."""
        self.home = home
        self.there = tuple(things)
        self._made = made
        self._known = frozenset(of_models)
        self._ignored = tuple(ignored)
        self._users: dict[tuple[str, str], list[tuple[str, str]]] = {}
        for thing in things:
            if thing.kind == TYPE and thing.parent_schema and thing.parent:
                self._users.setdefault((thing.schema, thing.name), []).append((thing.parent_schema, thing.parent))
        self._of_extensions = {(thing.kind, thing.schema, thing.name) for thing in things if thing.of_extension}

    def parents_of(self, schema: str | None, name: str) -> list[str]:
        """Return the names of the tables that a table is a partition, or another heir, of: of the topmost."""
        place = (RELATION, schema or self.home, name)
        return [one.parent for one in self.there if one[:3] == place and one.parent]

    def is_made(self, kind: str, schema: str, name: str) -> bool:
        """Tell whether a revision has made this."""
        return self._made.holds(kind, schema, name, at_home=schema == self.home)

    def is_left_out(self, kind: str, schema: str, name: str) -> bool:
        """Tell whether this is an extension's, or one that the project leaves to others: whatever the models and revisions say."""
        names = {name, full_name(schema, name)}
        ignored = any(fnmatchcase(spelling, pattern) for spelling in names for pattern in self._ignored)
        return ignored or (kind, schema, name) in self._of_extensions

    def is_ours(self, kind: str, schema: str, name: str) -> bool:
        """Tell whether this is for our revisions to change."""
        if self.is_left_out(kind, schema, name):
            return False
        if (schema, name) in self._known or self.is_made(kind, schema, name):
            return True
        users = self._users.get((schema, name), ()) if kind == TYPE else ()
        return any(self.is_ours(RELATION, *table) for table in users)

    def owns(self, identity: str) -> bool:
        """Tell whether an object of the catalog is ours, or belongs to something that is."""
        noun, place, name = split_identity(identity.removeprefix(COMMENT))
        if noun in _BELONGINGS:
            return self.is_ours(RELATION, *self._placed(place))
        if noun in {"schema", "extension"}:
            plain = self._placed(name)[1]
            return (noun, plain) in _IN_EVERY_DATABASE or self.is_ours(_KINDS[noun], self.home, plain)
        whole = f"{place}.{name}" if place else name
        return noun not in _KINDS or self.is_ours(_KINDS[noun], *self._placed(whole.partition("(")[0]))

    def left_alone(self, schemas: Collection[str] | None = None) -> list[str]:
        """Return the names of the tables that are nobody's whom we know, in these schemas or in all."""
        return [
            self._told(thing.schema, thing.name)
            for thing in self.there
            if thing.kind == RELATION
            and thing.parent is None
            and not thing.of_extension
            and (schemas is None or thing.schema in schemas)
            and not self.is_ours(*thing[:3])
        ]

    @property
    def ours(self) -> list[tuple[str, str]]:
        """Return the schema and the name of each table that a revision has made and that is there."""
        return [
            (thing.schema, thing.name)
            for thing in self.there
            if thing.kind == RELATION and self.is_made(*thing[:3]) and not self.is_left_out(*thing[:3])
        ]

    @property
    def is_empty(self) -> bool:
        """Tell whether there is no table that could be ours, and no revision makes one."""
        return not self._made and not any(
            thing.kind == RELATION and not self.is_left_out(*thing[:3]) for thing in self.there
        )

    def _placed(self, written: str) -> tuple[str, str]:
        schema, name = split_name(written)
        return schema or "public", name

    def _told(self, schema: str, name: str) -> str:
        return full_name(None if schema in {"public", self.home} else schema, name)


def ownership(
    connection: Connection,
    made: MadeObjects,
    metadata: MetaData | None = None,
    ignored: Sequence[str] = (),
    *,
    is_certain: bool = True,
) -> Ownership:
    """Return whose the things in this database are. Read-only."""
    rows = fetch_all(connection, _THERE)
    home = str(rows[0][0] or "public")
    things = [DatabaseObject(*row[1:]) for row in rows if row[1] is not None]  # type: ignore[arg-type]
    of_models = _known(metadata, home) if metadata is not None else ()
    return Ownership(home, things, made, of_models, ignored, is_certain=is_certain)


def _known(metadata: MetaData, home: str) -> set[tuple[str, str]]:
    """Return the schema and the name of each table of the models, and of each type that its columns have a name for."""
    named = [(table.schema or home, table.name) for table in metadata.tables.values()]
    for table in metadata.tables.values():
        for column in table.columns:
            kind = getattr(column.type, "item_type", column.type)
            name, schema = getattr(kind, "name", None), getattr(kind, "schema", None)
            if isinstance(name, str):
                named.append((schema or table.schema or home, name))
                named.append((home, name))
    return set(named)


def few(names: Iterable[str]) -> str:
    """Return names for a sentence, not too many of them."""
    names = list(names)
    more = [f"{len(names) - MOST_NAMES} more"] if len(names) > MOST_NAMES else []
    return ", ".join([*names[:MOST_NAMES], *more])


_OF_EXTENSION = (
    "EXISTS (SELECT FROM pg_depend d WHERE d.classid = '{}'::regclass AND d.objid = c.oid AND d.deptype = 'e')"
)

_THERE = f"""
WITH space AS (SELECT oid, nspname FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'),
parent AS (
    SELECT i.inhrelid AS child, n.nspname AS schema, p.relname AS name
      FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
      JOIN pg_class p ON p.oid = coalesce(pg_partition_root(i.inhrelid), i.inhparent) JOIN pg_namespace n ON n.oid = p.relnamespace
     WHERE c.relkind IN ('r', 'p', 'f') AND i.inhseqno = 1
)
SELECT current_schema(), told.*
  FROM (SELECT) AS always LEFT JOIN (
    SELECT '{RELATION}', n.nspname, c.relname, {_OF_EXTENSION.format("pg_class")}, p.schema, p.name
      FROM pg_class c JOIN space n ON n.oid = c.relnamespace LEFT JOIN parent p ON p.child = c.oid
     WHERE c.relkind IN ('r', 'p', 'f') AND NOT {IS_OWN}
     UNION ALL
    SELECT DISTINCT '{TYPE}', n.nspname, c.typname, {_OF_EXTENSION.format("pg_type")}, m.nspname, r.relname
      FROM pg_type c JOIN space n ON n.oid = c.typnamespace
      LEFT JOIN (pg_attribute a JOIN pg_class r ON r.oid = a.attrelid AND r.relkind IN ('r', 'p', 'f') AND NOT a.attisdropped
                                JOIN space m ON m.oid = r.relnamespace) ON a.atttypid IN (c.oid, c.typarray)
     WHERE c.typtype = 'e'
     ORDER BY 1, 2, 3
  ) AS told ON true
"""
