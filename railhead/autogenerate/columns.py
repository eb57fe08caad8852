"""Has a column the type, the default and the numbers that models.py gives it?

Alembic compares the words; asked here is what PostgreSQL makes of them, so that what it writes otherwise is no difference, and
what no word tells is one. Read-only.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic.autogenerate.api import AutogenContext
from alembic.operations import ops
from alembic.util import PriorityDispatchResult
from sqlalchemy.dialects import postgresql as pg

from railhead.autogenerate import same_sql
from railhead.autogenerate.facts import ColumnFacts
from railhead.autogenerate.render import as_written
from railhead.autogenerate.same_sql import Unreadable, sql_of, type_sql
from railhead.autogenerate.statements import Serial
from railhead.errors import Stop
from railhead.operations.long_names import LONGEST
from railhead.postgres.quoting import full_name, literal

Column = sa.Column[Any]


def compare_type(
    context: AutogenContext,
    alter: ops.AlterColumnOp,
    schema: str | None,
    table: str,
    name: str,
    there: Column,
    wanted: Column,
) -> PriorityDispatchResult:
    """Note the model's type in `alter` where the column's is another one: in its arguments and its collation, too."""
    alter.existing_type = there.type
    column = _facts(context, schema, table, name)
    words = type_sql(wanted.type, context.dialect)
    if column is None or words is None:
        return PriorityDispatchResult.CONTINUE
    if is_other_type(context.connection, words, column):  # type: ignore[arg-type]
        alter.modify_type = wanted.type
    return PriorityDispatchResult.STOP


def is_other_type(connection: sa.Connection, words: str, column: ColumnFacts) -> bool:
    """Tell whether a type that the models write so is not the column's. Read-only."""
    bare, collation = split_collation(words)
    if collation != column.collation:
        return True
    try:
        return canonical_type(connection, bare) != column.type
    except Unreadable:
        return True  # there is no such type yet


def split_collation(words: str) -> tuple[str, str | None]:
    """Return a type without its collation, and the collation without its schema."""
    bare, _, collation = words.partition(" COLLATE ")
    return bare, collation.rpartition(".")[2].strip('"') or None


def canonical_type(connection: sa.Connection, words: str) -> str:
    """Return a type as PostgreSQL writes it. Read-only. Raises Unreadable where it knows no such type."""
    names = connection.info.setdefault("railhead_types", {})
    if words not in names:
        [output] = same_sql.planned(connection, [f"NULL::{words}"])
        names[words] = output.rpartition("::")[2]
    return str(names[words])


def compare_default(
    context: AutogenContext,
    alter: ops.AlterColumnOp,
    schema: str | None,
    table: str,
    name: str,
    there: Column,
    wanted: Column,
) -> PriorityDispatchResult:
    """Note the model's default in `alter` where the column's is another one: computed, numbered, or a value.

    Raises Stop(`default-unreadable`) where PostgreSQL cannot make sense of the model's.
    """
    column = _facts(context, schema, table, name)
    if column is None or (
        isinstance(wanted.server_default, sa.FetchedValue) and type(wanted.server_default) is sa.FetchedValue
    ):
        return PriorityDispatchResult.STOP
    alter.existing_server_default = _existing(column, there)
    if _differs(context, column, wanted, there):
        alter.modify_server_default = wanted_default(wanted)
    return PriorityDispatchResult.STOP


def wanted_default(wanted: Column) -> Any:
    """Return what gives the column its values when nobody does: a default, an identity, a computation, a sequence of its own."""
    default = wanted.server_default
    if default is None and is_serial(wanted):
        name = f"{wanted.table.name}_{wanted.name}_seq"[:LONGEST]
        return Serial(".".join(as_written(part) for part in (wanted.table.schema, name) if part))
    return default


def is_serial(column: Column) -> bool:
    """Tell whether `create_all` makes a serial column of this."""
    table = column.table
    is_numbered = table._autoincrement_column is column  # noqa: SLF001
    return is_numbered and column.server_default is None and column.default is None and column.identity is None


def _existing(column: ColumnFacts, there: Column) -> Any:
    if column.serial:
        return Serial(column.serial)
    return there.server_default


def _differs(context: AutogenContext, column: ColumnFacts, wanted: Column, there: Column) -> bool:
    connection, default = context.connection, wanted_default(wanted)
    assert connection is not None
    table = same_sql.table_sql(wanted.table.schema, wanted.table.name)
    if isinstance(default, sa.Computed) or column.generated:
        if not isinstance(default, sa.Computed) or not column.generated:
            return True
        stored = is_stored(default, connection.dialect)
        sql = sql_of(default.sqltext, connection.dialect)
        return stored != (column.generated == "s") or same_sql.differ(connection, column.default, sql, table)
    if isinstance(default, sa.Identity) or isinstance(there.server_default, sa.Identity):
        if not isinstance(default, sa.Identity) or not isinstance(there.server_default, sa.Identity):
            return True
        impl = context.migration_context.impl
        changed, _, _ = impl._compare_identity_default(default, there.server_default)  # type: ignore[no-untyped-call]  # noqa: SLF001
        return bool(changed)
    if isinstance(default, Serial) or (column.serial and default is None):
        return (column.default is None) if isinstance(default, Serial) else True
    return _clause_differs(connection, column, wanted, default)


def is_stored(computed: sa.Computed, dialect: sa.Dialect) -> bool:
    """Tell whether the values are kept in the table: so before PostgreSQL 18 unless somebody says otherwise."""
    if computed.persisted is not None:
        return computed.persisted
    version: Any = dialect.server_version_info
    return bool(version < (18,))


def _clause_differs(connection: sa.Connection, column: ColumnFacts, wanted: Column, default: Any) -> bool:
    argument = getattr(default, "arg", None)
    if argument is None or column.default is None:
        return (argument is None) != (column.default is None)
    sql = default_sql(argument, connection.dialect)
    type_ = split_collation(type_sql(wanted.type, connection.dialect) or column.type)[0]
    try:
        canonical_type(connection, type_)
    except Unreadable:
        type_ = column.type  # that of the models is not there yet
    more = "::jsonb" if type_.lower() == "json" else ""
    try:
        [new] = same_sql.planned(connection, [f"CAST({sql} AS {type_}){more}"])
    except Unreadable as error:
        if _may_come(wanted.type, argument):
            return True
        raise _unreadable(wanted, sql, error) from None
    try:
        [old] = same_sql.planned(connection, [f"CAST({column.default} AS {type_}){more}"])
    except Unreadable:
        return True
    return old.replace("CURRENT_TIMESTAMP", "now()") != new.replace("CURRENT_TIMESTAMP", "now()")


def default_sql(argument: Any, dialect: sa.Dialect) -> str:
    """Return a default as SQL writes it."""
    return literal(argument) if isinstance(argument, str) else sql_of(argument, dialect)


def _may_come(type_: Any, argument: Any) -> bool:
    """Tell whether a default is a value of an enum or a number of a sequence, which may come with the same change."""
    element = type_.item_type if isinstance(type_, sa.ARRAY) else type_
    if isinstance(element, sa.Enum):
        return any(value in str(argument) for value in element.enums)
    return "nextval" in str(argument) or isinstance(element, pg.DOMAIN)


def _unreadable(wanted: Column, sql: str, error: Unreadable) -> Stop:
    place = f"{full_name(wanted.table.schema, wanted.table.name)}.{wanted.name}"
    return Stop(
        "default-unreadable",
        f"column {place} has a default in models.py that PostgreSQL does not understand: {sql}",
        facts=[("column", place), ("default", sql), ("said", error.words)],
        database="unchanged",
        next_step="correct server_default in models.py; or, where it calls what is still to be made, make that first, in a revision of its own:\n"
        'alembic revision -m "what the default needs"',
    )


def _facts(context: AutogenContext, schema: str | None, table: str, name: str) -> ColumnFacts | None:
    place = (schema or str(context.dialect.default_schema_name), table)
    found = context.migration_context.impl.facts().get(place)  # type: ignore[attr-defined]
    return found.columns.get(name) if found else None
