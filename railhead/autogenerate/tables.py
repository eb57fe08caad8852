"""Has a table the keys, the exclusions and the properties that models.py gives it, and are its sequences and types there?

What Alembic compares of a table is left to it. Read-only.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from typing import Any

import sqlalchemy as sa
from alembic.autogenerate.api import AutogenContext
from alembic.operations import MigrateOperation, ops
from alembic.util import PriorityDispatchResult
from sqlalchemy.dialects import postgresql as pg

from railhead.autogenerate import compare
from railhead.autogenerate.facts import ConstraintFacts, TableFacts
from railhead.autogenerate.final_names import final_name
from railhead.autogenerate.same_sql import table_sql
from railhead.autogenerate.statements import ChangePrimaryKey, KeyShape, Statement
from railhead.postgres.quoting import full_name, quoted

Place = tuple[str | None, str]


def compare_table(
    context: AutogenContext,
    modify: ops.ModifyTableOps,
    schema: str | None,
    name: str,
    there: sa.Table | None,
    wanted: sa.Table | None,
) -> PriorityDispatchResult:
    """Add to `modify` what differs."""
    if there is None or wanted is None:
        return PriorityDispatchResult.CONTINUE
    found = context.migration_context.impl.facts().get((schema or str(context.dialect.default_schema_name), name))  # type: ignore[attr-defined]
    if found is None:
        return PriorityDispatchResult.CONTINUE
    place = (schema, name)
    modify.ops.extend(_primary_key(context, place, wanted, found))
    modify.ops.extend(_exclusions(context, place, wanted, found))
    modify.ops.extend(_foreign_keys(context, place, wanted, found))
    modify.ops.extend(_properties(place, wanted, found))
    return PriorityDispatchResult.CONTINUE


def _primary_key(
    context: AutogenContext, place: Place, wanted: sa.Table, table: TableFacts
) -> Iterator[MigrateOperation]:
    columns = tuple(column.name for column in wanted.primary_key.columns)
    key = table.primary_key
    old = KeyShape(key.name, key.columns) if key else None
    name = final_name(wanted.primary_key, context.dialect)
    new = KeyShape(name or (old.name if old else f"{place[1]}_pkey"), columns) if columns else None
    if old is None and new is None:
        return
    if old and new and old.columns == new.columns:
        if name and old.name != name:
            yield rename(place, old.name, name)
        return
    yield ChangePrimaryKey(place, old, new, key.needed_by if key else ())


def rename(place: Place, old: str, new: str, kind: str = "constraint") -> Statement:
    """Return what gives a constraint, or an index, another name."""
    table = table_sql(*place)
    if kind == "index":
        path = table_sql(place[0], old), table_sql(place[0], new)
        forth, back = (
            f"ALTER INDEX {path[0]} RENAME TO {quoted(new)}",
            f"ALTER INDEX {path[1]} RENAME TO {quoted(old)}",
        )
    else:
        forth, back = (
            f"ALTER TABLE {table} RENAME CONSTRAINT {quoted(one)} TO {quoted(another)}"
            for one, another in ((old, new), (new, old))
        )
    thing = f"{kind} {full_name(*place)}.{old}"
    return Statement(thing, "changed", [forth], [back], place=place, shape=(f"named {new}", f"named {old}"))


def _exclusions(context: AutogenContext, place: Place, wanted: sa.Table, there: TableFacts) -> Iterator[Statement]:
    connection = context.connection
    assert connection is not None
    models = {
        final_name(constraint, connection.dialect) or _given_name(wanted, constraint): constraint
        for constraint in wanted.constraints
        if isinstance(constraint, pg.ExcludeConstraint)
    }
    existing = {name: constraint for name, constraint in there.constraints.items() if constraint.kind == "x"}
    for name in sorted({*models, *existing}):
        constraint, old = models.get(name), existing.get(name)
        thing = f"constraint {full_name(*place)}.{name}"
        drop = f"ALTER TABLE {table_sql(*place)} DROP CONSTRAINT {quoted(name)}"
        if constraint is None and old is not None:
            if context.run_object_filters(None, name, "exclude_constraint", True, None):  # type: ignore[arg-type]
                yield Statement(
                    thing, "added", [drop], [_add(place, name, old)], place=place, shape=("not there", "there")
                )
            continue
        assert constraint is not None
        add = exclusion_sql(place, name, constraint, connection.dialect)
        if old is None:
            yield Statement(thing, "removed", [add], [drop], place=place, remarks=_BUILT)
        elif compare.exclusion_differs(connection, constraint, old, there.indexes[name]):
            back = [drop, _add(place, name, old)]
            shape = (add.partition(" EXCLUDE ")[2], old.definition)
            yield Statement(thing, "changed", [drop, add], back, place=place, remarks=_BUILT, shape=shape)


_BUILT = (
    "PostgreSQL builds the index of this constraint while nobody can write: fine for a small table. There is no way to do that beside",
    "traffic; it fails while two rows exclude each other.",
)


def _given_name(table: sa.Table, constraint: pg.ExcludeConstraint) -> str:
    columns = [str(name) for _, name, _ in constraint._render_exprs if name]  # noqa: SLF001
    return "_".join([table.name, *columns, "excl"])[:63]


def exclusion_sql(place: Place, name: str, constraint: pg.ExcludeConstraint, dialect: sa.Dialect) -> str:
    """Return the statement that adds an exclusion constraint."""
    compiler: Any = dialect.ddl_compiler(dialect, None)  # type: ignore[arg-type]
    definition = compiler.visit_exclude_constraint(constraint).replace("%%", "%")
    definition = "EXCLUDE" + definition.partition("EXCLUDE")[2]
    return f"ALTER TABLE {table_sql(*place)} ADD CONSTRAINT {quoted(name)} {definition}"


def without_exclusions(operations: Iterable[MigrateOperation], dialect: sa.Dialect) -> Iterator[MigrateOperation]:
    """Yield the same with exclusion constraints that name operator classes behind their new table: Alembic leaves those out."""
    for operation in operations:
        yield operation
        if isinstance(operation, ops.CreateTableOp):
            place = (operation.schema, operation.table_name)
            parts = [piece for piece in operation.columns if isinstance(piece, pg.ExcludeConstraint) and piece.ops]
            gone = set(map(id, parts))
            operation.columns = [piece for piece in operation.columns if id(piece) not in gone]
            for part in parts:
                name = final_name(part, dialect) or _given_name(part.table, part)
                yield Statement("", "", [exclusion_sql(place, name, part, dialect)], [], place=place, locks=False)


def _add(place: Place, name: str, constraint: ConstraintFacts) -> str:
    return f"ALTER TABLE {table_sql(*place)} ADD CONSTRAINT {quoted(name)} {constraint.definition}"


def _foreign_keys(
    context: AutogenContext, place: Place, wanted: sa.Table, there: TableFacts
) -> Iterator[MigrateOperation]:
    """Yield what Alembic does not look at: the name, and whether part of a key may be NULL."""
    home = str(context.dialect.default_schema_name)
    for constraint in sorted(wanted.foreign_key_constraints, key=lambda one: tuple(one.column_keys)):
        columns = tuple(column.name for column in constraint.columns)
        target = constraint.referred_table
        referred = (target.schema or home, target.name, tuple(part.column.name for part in constraint.elements))
        same = [
            existing
            for existing in there.constraints.values()
            if existing.kind == "f" and existing.columns == columns and existing.referred == referred
        ]
        if len(same) != 1:
            continue
        name = final_name(constraint, context.dialect)
        match = {"FULL": "f", "PARTIAL": "p"}.get((constraint.match or "").upper(), "s")
        if same[0].match != match and not _is_replaced(constraint, same[0]):
            new = ops.CreateForeignKeyOp.from_constraint(constraint)
            new.constraint_name = name or same[0].name
            new.kw["match"] = constraint.match
            old = copy.copy(new)
            old.constraint_name = same[0].name
            old.kw = {**new.kw, "match": {"f": "FULL", "p": "PARTIAL"}.get(same[0].match)}
            yield ops.DropConstraintOp(same[0].name, place[1], type_="foreignkey", schema=place[0], _reverse=old)
            yield new
        elif name and name != same[0].name and not _is_replaced(constraint, same[0]):
            yield rename(place, same[0].name, name)


def _is_replaced(constraint: sa.ForeignKeyConstraint, there: ConstraintFacts) -> bool:
    """Tell whether Alembic writes the key anew: it does when what happens on UPDATE or DELETE, or the time of it, is another."""
    deferred = (constraint.initially or "").upper() == "DEFERRED"
    rules = " ".join(
        f"ON {event} {rule}"
        for event, rule in (("UPDATE", constraint.onupdate), ("DELETE", constraint.ondelete))
        if rule and rule.upper() != "NO ACTION"
    )
    existing = " ".join(part for part in ("ON UPDATE", "ON DELETE") if part in there.definition)
    return (
        (there.deferrable, there.deferred) != (bool(constraint.deferrable) or deferred, deferred)
        or bool(rules) != bool(existing)
        or (rules.upper() not in there.definition.upper())
    )


def _properties(place: Place, wanted: sa.Table, there: TableFacts) -> Iterator[Statement]:
    """Yield what a table is beside its columns."""
    table, options = table_sql(*place), wanted.dialect_options["postgresql"]
    thing = f"table {full_name(*place)}"
    unlogged = any("UNLOGGED" in str(prefix).upper() for prefix in wanted._prefixes)  # noqa: SLF001
    if there.kind == "r" and unlogged != (there.persistence == "u"):
        words = ("SET UNLOGGED", "SET LOGGED") if unlogged else ("SET LOGGED", "SET UNLOGGED")
        forth, back = (f"ALTER TABLE {table} {one}" for one in words)
        remark = f"PostgreSQL writes every row while nobody can read or write {place[1]}: fine for a small table."
        yield Statement(thing, "changed", [forth], [back], place=place, remarks=[remark], shape=tuple(words))  # type: ignore[arg-type]
    stored = options.get("with")  # which SQLAlchemy 2.0 does not know
    parameters = tuple(sorted(f"{name}={value}".lower() for name, value in (stored or {}).items()))
    if there.kind == "r" and stored is not None and parameters != there.parameters:
        set_them, take_back = _set(table, parameters, there.parameters), _set(table, there.parameters, parameters)
        shape = (", ".join(parameters) or "none", ", ".join(there.parameters) or "none")
        yield Statement(thing, "changed", set_them, take_back, place=place, shape=shape)


def _set(table: str, parameters: tuple[str, ...], before: tuple[str, ...]) -> list[str]:
    gone = sorted({one.partition("=")[0] for one in before} - {one.partition("=")[0] for one in parameters})
    return [
        *([f"ALTER TABLE {table} RESET ({', '.join(gone)})"] if gone else []),
        *([f"ALTER TABLE {table} SET ({', '.join(parameters)})"] if parameters else []),
    ]
