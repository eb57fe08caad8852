"""What is there that SQLAlchemy does not reflect, or not so that it can be compared?

Asked once for a comparison, all tables at a time, and kept where SQLAlchemy keeps what it reflects. Read-only.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any, NamedTuple

import sqlalchemy as sa

Place = tuple[str, str]
"""A table: its schema and its name."""


class ColumnFacts(NamedTuple):
    """A column."""

    type: str
    """As PostgreSQL writes it."""
    collation: str | None
    """None where it is that of the type."""
    default: str | None
    """What computes a generated column, too."""
    generated: str
    """`s` stored, `v` virtual, or nothing."""
    serial: str | None
    """The sequence, as SQL names it, that belongs to the column and gives its default."""


class IndexPart(NamedTuple):
    """What an index has in one place."""

    expression: str
    is_column: bool
    operator_class: str
    is_default_class: bool
    collation: str | None
    """None where it is that of the column, or where there is none."""
    options: int
    """1: descending; 2: NULLs first."""
    operator: str | None
    """Of an exclusion constraint."""


class IndexFacts(NamedTuple):
    """An index, or an exclusion constraint."""

    method: str
    unique: bool
    nulls_not_distinct: bool
    predicate: str | None
    parameters: tuple[str, ...]
    parts: tuple[IndexPart, ...]
    included: tuple[str, ...]


class ConstraintFacts(NamedTuple):
    """A constraint: `p` primary key, `u` unique, `x` exclusion, `f` foreign key, `c` check."""

    kind: str
    name: str
    columns: tuple[str, ...]
    deferrable: bool
    deferred: bool
    match: str
    definition: str
    referred: tuple[str, str, tuple[str, ...]] | None
    """Schema, table and columns that a foreign key refers to."""
    needed_by: tuple[str, ...]
    """Foreign keys that lean on it, as `table.name`."""


class TableFacts(NamedTuple):
    """A table, a view or whatever else has rows."""

    kind: str
    persistence: str
    parameters: tuple[str, ...]
    partition_key: str | None
    columns: dict[str, ColumnFacts]
    indexes: dict[str, IndexFacts]
    constraints: dict[str, ConstraintFacts]

    @property
    def primary_key(self) -> ConstraintFacts | None:
        """The primary key, if there is one."""
        return next((constraint for constraint in self.constraints.values() if constraint.kind == "p"), None)


def tables(inspector: sa.Inspector) -> dict[Place, TableFacts]:
    """Return what is there. Read-only."""
    kept = inspector.info_cache.get(_TABLES)
    if kept is None:
        with inspector._operation_context() as connection:  # noqa: SLF001  as SQLAlchemy's own questions
            kept = inspector.info_cache[_TABLES] = _read(connection)
    return kept


def _read(connection: sa.Connection) -> dict[Place, TableFacts]:
    columns: dict[int, dict[str, ColumnFacts]] = defaultdict(dict)
    for oid, name, *facts in connection.execute(sa.text(_COLUMNS)):
        columns[oid][name] = ColumnFacts(*facts)
    indexes: dict[int, dict[str, IndexFacts]] = defaultdict(dict)
    has_nulls = connection.dialect.server_version_info >= (15,)  # type: ignore[operator]
    query = _INDEXES.replace("i.indnullsnotdistinct", "i.indnullsnotdistinct" if has_nulls else "false")
    for oid, name, method, unique, nulls, predicate, parameters, parts, included in connection.execute(sa.text(query)):
        keys = tuple(IndexPart(*_part(part)) for part in parts)
        indexes[oid][name] = IndexFacts(method, unique, nulls, predicate, _sorted(parameters), keys, tuple(included))
    constraints: dict[int, dict[str, ConstraintFacts]] = defaultdict(dict)
    for row in connection.execute(sa.text(_CONSTRAINTS)):
        oid, kind, name, own, deferrable, deferred, match, definition, schema, table, others, needed = row
        referred = (schema, table, tuple(others)) if table else None
        constraints[oid][name] = ConstraintFacts(
            kind, name, tuple(own or ()), deferrable, deferred, match, definition, referred, tuple(needed or ())
        )
    return {
        (schema, name): TableFacts(
            kind, persistence, _sorted(parameters), key, columns[oid], indexes[oid], constraints[oid]
        )
        for oid, schema, name, kind, persistence, parameters, key in connection.execute(sa.text(_TABLES))
    }


def _part(part: dict[str, Any]) -> tuple[Any, ...]:
    return (
        part["expression"],
        part["is_column"],
        part["class"],
        part["is_default"],
        part["collation"],
        part["options"],
        part["operator"],
    )


def _sorted(parameters: list[str] | None) -> tuple[str, ...]:
    return tuple(sorted(parameter.lower() for parameter in parameters or ()))


_OURS = "n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'"

_TABLES = f"""
SELECT c.oid, n.nspname, c.relname, c.relkind, c.relpersistence, c.reloptions, pg_get_partkeydef(c.oid)
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND {_OURS}
"""

_COLUMNS = f"""
SELECT a.attrelid, a.attname, format_type(a.atttypid, a.atttypmod),
       CASE WHEN a.attcollation <> t.typcollation THEN l.collname END,
       pg_get_expr(d.adbin, d.adrelid), a.attgenerated, s.oid::regclass::text
  FROM pg_attribute a
  JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_type t ON t.oid = a.atttypid
  LEFT JOIN pg_collation l ON l.oid = a.attcollation
  LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
  LEFT JOIN pg_depend p ON p.classid = 'pg_class'::regclass AND p.refclassid = 'pg_class'::regclass AND p.deptype = 'a'
       AND p.refobjid = a.attrelid AND p.refobjsubid = a.attnum AND EXISTS (
           SELECT FROM pg_depend u WHERE u.classid = 'pg_attrdef'::regclass AND u.objid = d.oid AND u.refobjid = p.objid)
  LEFT JOIN pg_class s ON s.oid = p.objid AND s.relkind = 'S'
 WHERE a.attnum > 0 AND NOT a.attisdropped AND c.relkind IN ('r', 'p', 'f') AND {_OURS}
"""

_INDEXES = f"""
SELECT i.indrelid, x.relname, m.amname, i.indisunique, i.indnullsnotdistinct, pg_get_expr(i.indpred, i.indrelid), x.reloptions,
       (SELECT json_agg(json_build_object(
                   'expression', CASE WHEN k.attnum = 0 THEN pg_get_indexdef(i.indexrelid, k.place::int, false) ELSE a.attname::text END,
                   'is_column', k.attnum <> 0, 'class', o.opcname, 'is_default', o.opcdefault AND NOT EXISTS (
                       SELECT FROM pg_attribute y WHERE y.attrelid = i.indexrelid AND y.attnum = k.place AND y.attoptions IS NOT NULL),
                   'collation', CASE WHEN i.indcollation[k.place - 1] <> coalesce(a.attcollation, i.indcollation[k.place - 1])
                       THEN l.collname END,
                   'options', i.indoption[k.place - 1], 'operator', r.oprname) ORDER BY k.place)
          FROM unnest(i.indkey::int2[]) WITH ORDINALITY AS k (attnum, place)
          JOIN pg_opclass o ON o.oid = i.indclass[k.place - 1]
          LEFT JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum AND k.attnum <> 0
          LEFT JOIN pg_collation l ON l.oid = i.indcollation[k.place - 1]
          LEFT JOIN pg_operator r ON r.oid = e.conexclop[k.place]
         WHERE k.place <= i.indnkeyatts),
       ARRAY(SELECT a.attname FROM unnest(i.indkey::int2[]) WITH ORDINALITY AS k (attnum, place)
               JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
              WHERE k.place > i.indnkeyatts ORDER BY k.place)::text[]
  FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid JOIN pg_am m ON m.oid = x.relam
  JOIN pg_class c ON c.oid = i.indrelid JOIN pg_namespace n ON n.oid = c.relnamespace
  LEFT JOIN pg_constraint e ON e.conindid = i.indexrelid AND e.contype = 'x'
 WHERE {_OURS}
"""

_CONSTRAINTS = f"""
SELECT k.conrelid, k.contype, k.conname,
       ARRAY(SELECT a.attname FROM unnest(k.conkey) WITH ORDINALITY AS y (attnum, place)
               JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = y.attnum ORDER BY y.place)::text[],
       k.condeferrable, k.condeferred, k.confmatchtype, pg_get_constraintdef(k.oid), fn.nspname, f.relname,
       ARRAY(SELECT a.attname FROM unnest(k.confkey) WITH ORDINALITY AS y (attnum, place)
               JOIN pg_attribute a ON a.attrelid = k.confrelid AND a.attnum = y.attnum ORDER BY y.place)::text[],
       ARRAY(SELECT q.conrelid::regclass::text || '.' || q.conname FROM pg_constraint q
              WHERE q.contype = 'f' AND q.conindid = k.conindid AND k.contype IN ('p', 'u') AND q.conparentid = 0 ORDER BY 1)
  FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace
  LEFT JOIN pg_class f ON f.oid = k.confrelid LEFT JOIN pg_namespace fn ON fn.oid = f.relnamespace
 WHERE k.contype IN ('p', 'u', 'x', 'f', 'c') AND {_OURS}
"""
