"""Is the rule, or the index, that has this name in the database the one that models.py means?

Alembic compares names, and columns at most. Here each part is compared, and expressions as PostgreSQL understands them. Read-only.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg
from sqlalchemy.sql import operators

from railhead.autogenerate import same_sql
from railhead.autogenerate.facts import ConstraintFacts, IndexFacts, IndexPart
from railhead.autogenerate.same_sql import sql_of

_DESCENDING, _NULLS_FIRST = 1, 2
_MODIFIERS = (operators.asc_op, operators.desc_op, operators.nulls_first_op, operators.nulls_last_op)
_CLASS = re.compile(r"\s+(?:[\w\"]+\.)?(\w+_ops)(?:\s*\(.*\))?$", re.DOTALL)
_COLLATE = re.compile(r"\s+COLLATE\s+(?:\"?\w+\"?\.)?\"?([^\"\s]+)\"?$", re.IGNORECASE)
_ORDER = re.compile(r"\s+(ASC|DESC|NULLS\s+FIRST|NULLS\s+LAST)$", re.IGNORECASE)


def check_differs(connection: sa.Connection, wanted: sa.CheckConstraint, there: str) -> str | None:
    """Return what the check is and what it would be, None when that is the same."""
    condition = sql_of(wanted.sqltext, connection.dialect)
    assert wanted.table is not None
    same = not same_sql.differ(connection, there, condition, _table(wanted.table))
    return None if same else f"{there} to {condition}"


def index_differs(connection: sa.Connection, wanted: sa.Index, there: IndexFacts) -> str | None:
    """Return what differs, None when the index is the same."""
    assert wanted.table is not None
    options = wanted.dialect_options["postgresql"]
    ops: dict[str, str] = dict(options["ops"] or {})
    parts = [_wanted_part(expression, ops, connection.dialect) for expression in wanted.expressions]
    where = options["where"]
    return _index(
        connection,
        _table(wanted.table),
        there,
        _Wanted(
            str(options["using"] or "btree"),
            bool(wanted.unique),
            bool(options["nulls_not_distinct"]),
            _sql(where, connection.dialect),
            options["with"] or {},
            parts,
            tuple(str(getattr(name, "name", name)) for name in options["include"] or ()),
        ),
    )


def exclusion_differs(
    connection: sa.Connection, wanted: pg.ExcludeConstraint, there: ConstraintFacts, index: IndexFacts
) -> str | None:
    """Return what differs, None when the exclusion constraint is the same."""
    if deferring_differs(wanted, there):
        return deferring_differs(wanted, there)
    parts = []
    for expression, name, operator in wanted._render_exprs:  # noqa: SLF001  nothing else says them in order
        part = _wanted_part(expression, {}, connection.dialect)
        parts.append(part._replace(operator=operator, operator_class=part.operator_class or wanted.ops.get(name)))
    where = _sql(wanted.where, connection.dialect)
    shape = _Wanted(
        wanted.using or "gist", index.unique, nulls_not_distinct=False, predicate=where, parameters={}, parts=parts
    )
    return _index(connection, _table(wanted.table), index, shape)


def unique_differs(wanted: sa.UniqueConstraint, there: ConstraintFacts, index: IndexFacts | None) -> str | None:
    """Return what differs beside its columns, None when nothing does."""
    included = tuple(map(str, wanted.dialect_options["postgresql"].get("include") or ()))
    if index is not None and index.included != included:
        return f"includes {index.included} to {included}"
    return deferring_differs(wanted, there)


def deferring_differs(wanted: sa.Constraint, there: ConstraintFacts) -> str | None:
    """Return until when a violation may last, and until when it might; None when that is the same."""
    deferred = (wanted.initially or "").upper() == "DEFERRED"
    asked = (bool(wanted.deferrable) or deferred, deferred)
    is_so = (there.deferrable, there.deferred)
    return None if is_so == asked else f"{_deferring(*is_so)} to {_deferring(*asked)}"


def _deferring(deferrable: bool, deferred: bool) -> str:
    return "initially deferred" if deferred else "deferrable" if deferrable else "not deferrable"


class _WantedPart(NamedTuple):
    """What the models say of one place in an index."""

    sql: str
    column: str | None
    operator_class: str | None
    collation: str | None
    options: int
    operator: str | None = None


class _Wanted(NamedTuple):
    """What the models say of an index."""

    method: str
    unique: bool
    nulls_not_distinct: bool
    predicate: str | None
    parameters: dict[str, object]
    parts: list[_WantedPart]
    included: tuple[str, ...] = ()


def _wanted_part(expression: Any, ops: dict[str, str], dialect: sa.Dialect) -> _WantedPart:
    key = getattr(expression, "key", None)
    modifiers, collation = [], None
    while True:
        key = key or getattr(expression, "key", None)
        if isinstance(expression, sa.UnaryExpression) and expression.modifier in _MODIFIERS:
            modifiers.append(expression.modifier)
            expression = expression.element
        elif isinstance(expression, sa.sql.elements.BinaryExpression) and expression.operator is operators.collate:
            collation = str(expression.right.collation)
            expression = expression.left
        elif isinstance(expression, sa.sql.elements.Grouping):
            expression = expression.element
        else:
            break
    operator_class = ops.get(str(key)) or ops.get(str(getattr(expression, "name", None)))
    descending = operators.desc_op in modifiers
    first = operators.nulls_first_op in modifiers or (descending and operators.nulls_last_op not in modifiers)
    options = _DESCENDING * descending + _NULLS_FIRST * first
    if isinstance(expression, sa.Column):
        return _WantedPart(sql_of(expression, dialect), expression.name, _bare(operator_class), collation, options)
    sql = sql_of(expression, dialect)
    if isinstance(expression, sa.TextClause) or operator_class is None:
        return _typed_part(sql, operator_class, collation, options)
    return _WantedPart(sql, None, _bare(operator_class), collation, options)


def _typed_part(sql: str, operator_class: str | None, collation: str | None, options: int) -> _WantedPart:
    """Return what stands in SQL that somebody typed: PostgreSQL allows more behind an expression than belongs to it."""
    words = []
    while found := _ORDER.search(sql):
        words.append(" ".join(found[1].upper().split()))
        sql = sql[: found.start()]
    if words:
        descending = "DESC" in words
        first = "NULLS FIRST" in words or (descending and "NULLS LAST" not in words)
        options = _DESCENDING * descending + _NULLS_FIRST * first
    if found := _CLASS.search(sql):
        operator_class, sql = found[1], sql[: found.start()]
    if found := _COLLATE.search(sql):
        collation, sql = found[1], sql[: found.start()]
    plain = sql.strip().strip('"')
    is_column = re.fullmatch(r"\w+", plain) is not None
    return _WantedPart(sql, plain if is_column else None, _bare(operator_class), collation, options)


def _bare(operator_class: str | None) -> str | None:
    """Return an operator class without its schema and its parameters."""
    return re.sub(r"\s*\(.*$", "", operator_class).rpartition(".")[2].strip('"') if operator_class else None


def _index(connection: sa.Connection, table: str, there: IndexFacts, wanted: _Wanted) -> str | None:
    parameters = tuple(sorted(f"{name}={value}".lower() for name, value in wanted.parameters.items()))
    plain = {
        "method": (there.method, wanted.method.lower()),
        "unique": (there.unique, wanted.unique),
        "nulls not distinct": (there.nulls_not_distinct, wanted.nulls_not_distinct),
        "parameters": (there.parameters, parameters),
        "includes": (there.included, wanted.included),
        "columns": (len(there.parts), len(wanted.parts)),
    }
    differences = [f"{name} {old} to {new}" for name, (old, new) in plain.items() if old != new]
    if len(there.parts) == len(wanted.parts):
        differences += filter(None, map(_part_differs, there.parts, wanted.parts))
        pairs = [
            (old.expression, new.sql)
            for old, new in zip(there.parts, wanted.parts, strict=True)
            if not (old.is_column and new.column)
        ]
        differences += [f"{old} to {new}" for old, new in pairs if same_sql.differ(connection, old, new, table)]
    if same_sql.differ(connection, there.predicate, wanted.predicate, table):
        differences.append(f"where {there.predicate} to {wanted.predicate}")
    return "; ".join(differences) or None


def _part_differs(there: IndexPart, wanted: _WantedPart) -> str | None:
    if there.is_column and wanted.column and there.expression != wanted.column:
        return f"{there.expression} to {wanted.column}"
    if wanted.operator is not None and there.operator != wanted.operator:
        return f"{there.operator} to {wanted.operator}"
    is_class = (
        there.is_default_class if wanted.operator_class is None else there.operator_class == wanted.operator_class
    )
    if not is_class:
        return f"{there.operator_class} to {wanted.operator_class or 'the default operator class'}"
    if there.options != wanted.options:
        return f"order {there.options} to {wanted.options}"
    if there.is_column and there.collation != wanted.collation:
        return f"collation {there.collation} to {wanted.collation}"
    return None


def _sql(expression: Any, dialect: sa.Dialect) -> str | None:
    if expression is None:
        return None
    return expression if isinstance(expression, str) else sql_of(expression, dialect)


def _table(table: sa.FromClause) -> str:
    return same_sql.table_sql(getattr(table, "schema", None), str(getattr(table, "name", "")))
