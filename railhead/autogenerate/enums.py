"""What does a change of an enum become?"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from alembic.operations import MigrateOperation, ops
from alembic_postgresql_enum.operations.add_enum_values import AddEnumValuesOp
from alembic_postgresql_enum.operations.create_enum import CreateEnumOp
from alembic_postgresql_enum.operations.drop_enum import DropEnumOp
from alembic_postgresql_enum.operations.sync_enum_values import SyncEnumValuesOp

from railhead.autogenerate.files import CHANGE, VALUES, ProposedChange
from railhead.autogenerate.render import Key, Remark, as_written
from railhead.postgres.quoting import literal

Enum = CreateEnumOp | DropEnumOp | AddEnumValuesOp | SyncEnumValuesOp


def create(operation: CreateEnumOp | DropEnumOp) -> ops.ExecuteSQLOp:
    """Return what makes the type."""
    values = ", ".join(literal(value) for value in operation.enum_values)
    return ops.ExecuteSQLOp(f"CREATE TYPE {_name(operation)} AS ENUM ({values})")


def drop(operation: CreateEnumOp | DropEnumOp) -> ops.ExecuteSQLOp:
    """Return what takes the type away."""
    return ops.ExecuteSQLOp(f"DROP TYPE {_name(operation)}")


def _name(operation: Enum) -> str:
    return (
        as_written(operation.name)
        if operation.schema == "public"
        else f"{as_written(operation.schema)}.{as_written(operation.name)}"
    )


def key(operation: Enum) -> Key:
    """Return what a change of this type is about."""
    return operation.schema, f"type {operation.name}"


def settle(operation: SyncEnumValuesOp, proposed: Iterable[MigrateOperation]) -> None:
    """Let the type be made anew with the defaults that the columns then have: those that the same proposal gives them."""
    altered = {
        (alteration.schema, alteration.table_name, alteration.column_name): alteration.modify_server_default
        for alteration in proposed
        if isinstance(alteration, ops.AlterColumnOp) and alteration.modify_server_default is not False
    }
    home = {None, operation.schema}
    for position, column in enumerate(operation.affected_columns):
        for (schema, table, name), default in altered.items():
            is_it = (table, name) == (column.table_name, column.column_name)
            if is_it and (schema == column.table_schema or (schema is None and column.table_schema in home)):
                text = getattr(default, "arg", None)
                sql = None if text is None else literal(text) if isinstance(text, str) else str(text)
                sql = sql and (sql if "::" in sql else f"{sql}::{_name(operation)}")
                operation.affected_columns[position] = replace(column, existing_server_default=sql)


def more_values(operation: AddEnumValuesOp) -> ProposedChange:
    """Add values where they belong; a transaction of their own, because none may use them before it has ended."""
    forth: list[MigrateOperation] = []
    known = list(operation.old_values)
    for position, value in enumerate(operation.new_values):
        if value in known:
            continue
        after = operation.new_values[position - 1] if position else None
        place = f" AFTER {literal(after)}" if after else f" BEFORE {literal(known[0])}" if known else ""
        forth.append(ops.ExecuteSQLOp(f"ALTER TYPE {_name(operation)} ADD VALUE IF NOT EXISTS {literal(value)}{place}"))
        known.insert(position, value)
    back: MigrateOperation = operation.reverse()  # type: ignore[no-untyped-call]  # the package's own
    remark = Remark(
        "PostgreSQL cannot take a value out of an enum: this makes the type anew and writes every row of its tables.",
        "It fails while a row has one of the new values.",
    )
    return ProposedChange(VALUES, key(operation), forth, [remark, back], locks=True)


def other_values(operation: SyncEnumValuesOp) -> ProposedChange:
    """Take values away, or give them another order: the type is made anew."""
    gone = [value for value in operation.old_values if value not in operation.new_values]
    come = [value for value in operation.new_values if value not in operation.old_values]
    lines = [
        "PostgreSQL makes the type anew and writes every row of its tables, while nobody can read or write them.",
        *(
            [f"It fails while a row has {' or '.join(map(repr, gone))}: change those rows in an earlier release."]
            if gone
            else []
        ),
    ]
    if len(gone) == len(come) == 1:
        rename = f"ALTER TYPE {as_written(operation.name)} RENAME VALUE {literal(gone[0])} TO {literal(come[0])}"
        lines += [
            f"Was {gone[0]!r} renamed to {come[0]!r}? Then write this instead, which touches no row, and its opposite in downgrade:",
            f"op.execute({rename!r})",
        ]
    back: MigrateOperation = operation.reverse()  # type: ignore[no-untyped-call]  # the package's own
    return ProposedChange(CHANGE, key(operation), [Remark(*lines), operation], [back], locks=True)
