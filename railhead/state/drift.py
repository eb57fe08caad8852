"""Is the schema what models.py and the ledger say?

Three answers, kept apart: what somebody changed outside the migrations, where models.py is ahead of them, and what an older
release misses on a newer schema. Never changes anything.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, Self

import psycopg2
import sqlalchemy
from alembic.autogenerate import produce_migrations
from alembic.operations import ops
from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from psycopg2.extensions import TRANSACTION_STATUS_IDLE
from psycopg2.extensions import connection as Driver
from sqlalchemy import Connection, Engine, Enum, MetaData, Table, types
from sqlalchemy.dialects import postgresql
from sqlalchemy.engine.interfaces import ReflectedColumn
from sqlalchemy.engine.reflection import ObjectKind
from sqlalchemy.exc import CompileError, DBAPIError

from railhead.autogenerate import options as autogenerate
from railhead.history import planner as revisions
from railhead.schema import catalog
from railhead.schema import undo_sql as mending
from railhead.schema.catalog import Catalog, Change
from railhead.state import ledger

_DIALECT = postgresql.dialect()  # type: ignore[no-untyped-call]  # SQLAlchemy leaves it untyped
MEND_OUTSIDE = "it was changed outside the migrations: what mends that is told there"
AUTOGENERATE = 'alembic revision --autogenerate -m "..."'


class Difference(NamedTuple):
    """One thing that is not as it should be."""

    object: str
    """`column task.due_on`, `index task.ix_task_status` ..."""
    kind: str
    """`added`, `removed` or `changed`, seen from what was expected."""
    expected: str
    found: str
    mend: str
    """A statement or a command that mends it."""

    def __str__(self) -> str:
        told = f"{self.object} {self.kind}"
        return f"{told}: expected {self.expected}, found {self.found}" if self.kind == "changed" else told


class Drift(NamedTuple):
    """The two answers, apart; None where there is nothing to compare with."""

    outside: list[Difference] | None
    """What changed outside the migrations since the last run; None when no run has kept a catalog."""
    models: list[Difference] | None
    """Where models.py is ahead of the migrations; None when the database is not at head."""

    @classmethod
    def of(cls, outside: list[Difference] | None, models: list[Difference] | None) -> Self:
        """Return both; what was changed outside is no reason for a revision, though models.py differs from it as well."""
        elsewhere = {one.object for one in outside or ()}
        told = models and [one._replace(mend=MEND_OUTSIDE) if one.object in elsewhere else one for one in models]
        return cls(outside, told)

    @property
    def is_there(self) -> bool:
        """Tell whether either answer names a difference."""
        return bool(self.outside or self.models)

    def record(self) -> dict[str, object]:
        """Return it for JSON."""
        return {
            half: None if differences is None else [one._asdict() for one in differences]
            for half, differences in self._asdict().items()
        }


def outside(connection: Driver, now: Catalog | None = None) -> list[Difference] | None:
    """Return what changed in the schema since the last run, outside the migrations. Read-only.

    None when no run has kept a catalog to compare with. `now` is the schema, when it was just read.
    """
    kept = ledger.last_catalog(connection)
    if kept is None:
        return None
    try:
        before = Catalog.from_text(kept)
    except ValueError:
        return None
    if before.format != catalog.FORMAT:
        return None
    return [_outside(change) for change in catalog.difference(before, now or catalog.read(connection))]


def engine_over(driver: Driver) -> Engine:
    """Return an SQLAlchemy engine whose one connection is `driver`."""
    return sqlalchemy.create_engine("postgresql+psycopg2://", creator=lambda: driver, poolclass=sqlalchemy.StaticPool)


@contextmanager
def _reading(driver: Driver) -> Iterator[Connection]:
    """Give SQLAlchemy's connection over `driver`, in one transaction that waits as long for a lock as `catalog.read` does.

    A transaction that is open already keeps its own patience. Raises psycopg2's LockNotAvailable, not SQLAlchemy's.
    """
    alone = driver.autocommit and driver.info.transaction_status == TRANSACTION_STATUS_IDLE
    with driver.cursor() as cursor:
        try:
            if alone:
                cursor.execute(f"BEGIN READ ONLY; {catalog.PATIENT}")
            with engine_over(driver).connect() as connection:
                yield connection
        except DBAPIError as error:
            raise error.orig if isinstance(error.orig, psycopg2.errors.LockNotAvailable) else error from error
        finally:
            if alone and not driver.closed:
                cursor.execute("ROLLBACK")


def models_ahead(metadata: MetaData, driver: Driver) -> list[Difference]:
    """Return where models.py says more, or something else, than a database at head holds. Read-only.

    Alembic's own comparison, with types, server defaults, enums and named checks.
    """
    config = revisions.config()
    environment = EnvironmentContext(config, ScriptDirectory.from_config(config))
    options: dict[str, Any] = autogenerate.options(environment, metadata)
    with _reading(driver) as connection:
        migration_context = MigrationContext.configure(connection, opts=options)
        with revisions.no_garbage_collection():
            upgrade = produce_migrations(migration_context, metadata).upgrade_ops
    return [difference for operation in upgrade.ops for difference in _ahead(operation)] if upgrade else []


def unmet(metadata: MetaData, driver: Driver) -> list[str]:
    """Return what these models need and this schema does not give; nothing when they can be served on it. Read-only.

    Needed are every table, column and enum value, types that hold at least as much, and that no other column must be given
    a value.
    """
    with _reading(driver) as connection:
        return [*_unmet_tables(metadata, connection), *_unmet_values(metadata, connection)]


def _unmet_tables(metadata: MetaData, connection: Connection) -> Iterator[str]:
    inspector = sqlalchemy.inspect(connection)
    for schema in {table.schema for table in metadata.tables.values()}:
        tables = {table.name: table for table in metadata.tables.values() if table.schema == schema}
        found = inspector.get_multi_columns(schema=schema, filter_names=list(tables), kind=ObjectKind.ANY)
        for name, table in sorted(tables.items()):
            columns = found.get((schema, name))
            if columns is None:
                yield f"table {table.fullname} is gone"
            else:
                yield from _unmet_columns(table, {column["name"]: column for column in columns})


def _unmet_columns(table: Table, found: dict[str, ReflectedColumn]) -> Iterator[str]:
    for column in table.columns:
        there = found.get(column.name)
        place = f"column {table.fullname}.{column.name}"
        if there is None:
            yield f"{place} is gone"
            continue
        if not _holds(there["type"], column.type):
            yield f"{place} is {_named(there['type'])} now, not {_named(column.type)}"
        if column.nullable and not there["nullable"]:
            yield f"{place} must be given a value now"
        if column.server_default is not None and not column.nullable and not _has_value(there):
            yield f"{place} has lost its default"
    for name, there in found.items():
        if name not in table.columns and not there["nullable"] and not _has_value(there):
            yield f"column {table.fullname}.{name} is new and must be given a value"


def _has_value(column: ReflectedColumn) -> bool:
    return bool(column.get("default") is not None or column.get("identity") or column.get("computed"))


def _holds(there: types.TypeEngine[Any], needed: types.TypeEngine[Any]) -> bool:
    """Tell whether a column of type `there` takes and gives what code that was written for `needed` expects."""
    needed = _stored(needed)
    if isinstance(needed, types.ARRAY):
        return isinstance(there, types.ARRAY) and _holds(there.item_type, needed.item_type)
    if isinstance(needed, types.Enum):
        return isinstance(there, types.Enum | types.String)
    if isinstance(needed, types.String):
        length = getattr(there, "length", None)
        return isinstance(there, types.String) and (
            length is None or (needed.length is not None and length >= needed.length)
        )
    if isinstance(needed, types.Integer):
        return isinstance(there, types.Integer) and _width(there) >= _width(needed)
    if isinstance(needed, types.Numeric) and not isinstance(needed, types.Float):
        return isinstance(there, types.Numeric) and _digits(there) >= _digits(needed)
    if isinstance(needed, types.Float):
        return isinstance(there, types.Numeric) or (isinstance(there, types.Float) and _bits(there) >= _bits(needed))
    if isinstance(needed, types.DateTime | types.Time):
        kind = types.DateTime if isinstance(needed, types.DateTime) else types.Time
        return isinstance(there, kind) and bool(there.timezone) == bool(needed.timezone)
    affinity = needed._type_affinity  # noqa: SLF001  SQLAlchemy has no public word for "the same kind of type"
    return isinstance(needed, types.NullType | types.UserDefinedType) or (
        affinity is None or issubclass(there._type_affinity or type(there), affinity)  # noqa: SLF001
    )


def _stored(one: types.TypeEngine[Any]) -> types.TypeEngine[Any]:
    """Return the type of the column below what the application makes of its values."""
    while isinstance(one, types.TypeDecorator) and not isinstance(one, types.Interval):
        one = one.load_dialect_impl(_DIALECT)
    return one


def _bits(one: types.Float[Any]) -> int:
    """Return the binary digits that are kept: PostgreSQL makes real of up to 24."""
    return 24 if _named(one) == "REAL" or (one.precision is not None and one.precision <= 24) else 53


def _named(one: types.TypeEngine[Any]) -> str:
    """Return what PostgreSQL calls a type; of one that it has no name for, ours."""
    try:
        return one.compile(_DIALECT)
    except CompileError:
        return str(one)


def _width(one: types.Integer) -> int:
    return 1 if isinstance(one, types.SmallInteger) else 3 if isinstance(one, types.BigInteger) else 2


def _digits(one: types.Numeric[Any]) -> tuple[float, float]:
    """Return the digits before and after the point that fit; no precision means all."""
    if one.precision is None:
        return float("inf"), float("inf")
    return one.precision - (one.scale or 0), one.scale or 0


def _unmet_values(metadata: MetaData, connection: Connection) -> Iterator[str]:
    for name, needed, there in _enums(metadata, connection):
        for value in needed:
            if value not in there:
                yield f"value {value!r} of the enum {name} is gone"


def enums(metadata: MetaData, driver: Driver) -> list[Difference]:
    """Return the enum types whose values, or their order, are not the same in the models and in the database. Read-only."""
    with _reading(driver) as connection:
        return [
            Difference(f"enum {name}", "changed", ", ".join(needed), ", ".join(there), AUTOGENERATE)
            for name, needed, there in _enums(metadata, connection)
            if there and needed != there
        ]


def _enums(metadata: MetaData, connection: Connection) -> Iterator[tuple[str, list[str], list[str]]]:
    """Yield each enum type of the models with the values that they know, and those that the database has."""
    kinds = [_element(column.type) for table in metadata.tables.values() for column in table.columns]
    needed = {
        _full(kind.schema, kind.name): list(kind.enums)
        for kind in kinds
        if isinstance(kind, Enum) and kind.native_enum and kind.name
    }
    if not needed:
        return
    found = connection.execute(sqlalchemy.text(_LABELS), {"names": list(needed)})
    labels = {str(name): list(values) for name, values in found}
    for name, values in sorted(needed.items()):
        yield name, values, labels.get(name, [])


def _element(one: types.TypeEngine[Any]) -> types.TypeEngine[Any]:
    stored = _stored(one)
    return _element(stored.item_type) if isinstance(stored, types.ARRAY) else stored


_LABELS = """
SELECT n.name, array_agg(e.enumlabel ORDER BY e.enumsortorder)
  FROM unnest(CAST(:names AS text[])) AS n (name) JOIN pg_enum e ON e.enumtypid = to_regtype(
           (SELECT string_agg(quote_ident(part), '.' ORDER BY place)
              FROM unnest(string_to_array(n.name, '.')) WITH ORDINALITY AS p (part, place)))
 GROUP BY n.name
"""


def _outside(change: Change) -> Difference:
    return Difference(
        object=change.object,
        kind=change.kind,
        expected=change.before or "not there",
        found=change.after or "not there",
        mend=mending.mend(change),
    )


def _ahead(operation: ops.MigrateOperation) -> list[Difference]:
    match operation:
        case ops.OpContainer():
            return [difference for inner in operation.ops for difference in _ahead(inner)]
        case ops.CreateTableOp(table_name=table, schema=schema):
            thing, kind = f"table {_full(schema, table)}", "removed"
        case ops.DropTableOp(table_name=table, schema=schema):
            thing, kind = f"table {_full(schema, table)}", "added"
        case ops.AddColumnOp(table_name=table, schema=schema, column=column):
            thing, kind = f"column {_full(schema, table)}.{column.name}", "removed"
        case ops.DropColumnOp(table_name=table, schema=schema, column_name=name):
            thing, kind = f"column {_full(schema, table)}.{name}", "added"
        case ops.AlterColumnOp(table_name=table, schema=schema, column_name=name):
            thing, kind = f"column {_full(schema, table)}.{name}", "changed"
        case ops.CreateIndexOp(table_name=table, schema=schema, index_name=name):
            thing, kind = f"index {_full(schema, table)}.{name}", "removed"
        case ops.DropIndexOp(table_name=table, schema=schema, index_name=name):
            thing, kind = f"index {_full(schema, table or '')}.{name}", "added"
        case ops.DropConstraintOp(table_name=table, schema=schema, constraint_name=name):
            thing, kind = f"constraint {_full(schema, table)}.{name}", "added"
        case ops.CreateTableCommentOp(table_name=table, schema=schema, comment=comment, existing_comment=existing):
            thing = f"comment on table {_full(schema, table)}"
            kind = "removed" if existing is None else "changed"
            return [Difference(thing, kind, repr(comment), _comment(existing), AUTOGENERATE)]
        case ops.DropTableCommentOp(table_name=table, schema=schema, existing_comment=existing):
            thing = f"comment on table {_full(schema, table)}"
            return [Difference(thing, "added", "none", _comment(existing), AUTOGENERATE)]
        case ops.AddConstraintOp():
            constraint = operation.to_constraint()
            thing, kind = f"constraint {getattr(constraint, 'table', '')}.{constraint.name}", "removed"
        case _:
            return [_other(operation)]
    return [_models_differ(thing, kind, operation)]


def _other(operation: ops.MigrateOperation) -> Difference:
    """Return what an operation of alembic-postgresql-enum means; of one that we do not know, its name."""
    from alembic_postgresql_enum.operations.add_enum_values import AddEnumValuesOp
    from alembic_postgresql_enum.operations.create_enum import CreateEnumOp
    from alembic_postgresql_enum.operations.drop_enum import DropEnumOp
    from alembic_postgresql_enum.operations.sync_enum_values import SyncEnumValuesOp

    if isinstance(operation, SyncEnumValuesOp | AddEnumValuesOp):
        thing = f"enum {_in_schema(operation.schema, operation.name)}"
        return Difference(
            thing, "changed", ", ".join(operation.new_values), ", ".join(operation.old_values), AUTOGENERATE
        )
    if isinstance(operation, CreateEnumOp | DropEnumOp):
        thing, kind = f"enum {_in_schema(operation.schema, operation.name)}", "removed"
        return _models_differ(thing, kind if isinstance(operation, CreateEnumOp) else "added", operation)
    return Difference(type(operation).__name__.removesuffix("Op"), "changed", str(operation), "", AUTOGENERATE)


def _models_differ(thing: str, kind: str, operation: ops.MigrateOperation) -> Difference:
    models, there = {"removed": ("there", "not there"), "added": ("not there", "there")}.get(kind, ("", ""))
    if isinstance(operation, ops.AlterColumnOp):
        models, there = _altered(operation)
    return Difference(thing, kind, models, there, AUTOGENERATE)


def _altered(operation: ops.AlterColumnOp) -> tuple[str, str]:
    models, there = [], []
    if operation.modify_type is not None:
        models.append(str(operation.modify_type))
        there.append(str(operation.existing_type))
    if operation.modify_nullable is not None:
        models.append("null" if operation.modify_nullable else "not null")
        there.append("null" if operation.existing_nullable else "not null")
    if operation.modify_server_default is not False:
        models.append(f"default {_default(operation.modify_server_default)}")
        there.append(f"default {_default(operation.existing_server_default)}")
    if operation.modify_comment is not False:
        models.append(f"comment {operation.modify_comment!r}")
        there.append(f"comment {operation.existing_comment!r}")
    return ", ".join(models), ", ".join(there)


def _default(default: object) -> str:
    argument = getattr(default, "arg", default)
    return "none" if argument in (None, False) else str(argument)


def _comment(comment: str | None) -> str:
    return "none" if comment is None else repr(comment)


def _full(schema: str | None, name: str) -> str:
    return f"{schema}.{name}" if schema else name


def _in_schema(schema: str | None, name: str) -> str:
    return _full(None if schema == "public" else schema, name)
