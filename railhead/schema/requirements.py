"""Does the schema hold all that the models need?"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg2
import sqlalchemy
from psycopg2.extensions import TRANSACTION_STATUS_IDLE
from psycopg2.extensions import connection as Driver
from sqlalchemy import Connection, Enum, MetaData, Table, types
from sqlalchemy.dialects import postgresql
from sqlalchemy.engine.interfaces import ReflectedColumn
from sqlalchemy.engine.reflection import ObjectKind
from sqlalchemy.exc import CompileError, DBAPIError

from railhead.history.models import joined
from railhead.postgres.engine import engine_over
from railhead.postgres.quoting import full_name
from railhead.schema import catalog

_DIALECT = postgresql.dialect()  # type: ignore[no-untyped-call]  # SQLAlchemy leaves it untyped


@contextmanager
def reading(driver: Driver, access: str = "READ ONLY") -> Iterator[Connection]:
    """Give SQLAlchemy's connection over `driver`, in one transaction that waits as long for a lock as `catalog.read` does.

    It is rolled back, whatever `access` lets be done in it.
    A transaction that is open already keeps its own patience. Raises psycopg2's LockNotAvailable, not SQLAlchemy's.
    """
    alone = driver.autocommit and driver.info.transaction_status == TRANSACTION_STATUS_IDLE
    with driver.cursor() as cursor:
        try:
            if alone:
                cursor.execute(f"BEGIN {access}; {catalog.PATIENT}")
            with engine_over(driver).connect() as connection:
                yield connection
        except DBAPIError as error:
            raise error.orig if isinstance(error.orig, psycopg2.errors.LockNotAvailable) else error from error
        finally:
            if alone and not driver.closed:
                cursor.execute("ROLLBACK")


def unmet(metadata: MetaData, driver: Driver) -> list[str]:
    """Return what these models need and this schema does not give; nothing when they can be served on it. Read-only.

    Needed are every table, column and enum value, types that hold at least as much, and that no other column must be given
    a value.
    """
    metadata = joined(metadata)
    with reading(driver) as connection:
        return [*_unmet_tables(metadata, connection), *_unmet_values(metadata, connection)]


def _unmet_tables(metadata: MetaData, connection: Connection) -> Iterator[str]:
    inspector = sqlalchemy.inspect(connection)
    for schema in {table.schema for table in metadata.tables.values()}:
        tables = {table.name: table for table in metadata.tables.values() if table.schema == schema}
        reflected = inspector.get_multi_columns(schema=schema, filter_names=list(tables), kind=ObjectKind.ANY)
        for name, table in sorted(tables.items()):
            columns = reflected.get((schema, name))
            if columns is None:
                yield f"table {table.fullname} is gone"
            else:
                yield from _unmet_columns(table, {column["name"]: column for column in columns})


def _unmet_columns(table: Table, reflected: dict[str, ReflectedColumn]) -> Iterator[str]:
    for column in table.columns:
        actual = reflected.get(column.name)
        place = f"column {table.fullname}.{column.name}"
        if actual is None:
            yield f"{place} is gone"
            continue
        if not _holds(actual["type"], column.type):
            yield f"{place} is {_named(actual['type'])} now, not {_named(column.type)}"
        if column.nullable and not actual["nullable"]:
            yield f"{place} must be given a value now"
        if column.server_default is not None and not column.nullable and not _has_value(actual):
            yield f"{place} has lost its default"
        if _takes_no_value(actual) and not (column.computed or column.identity or column.autoincrement is True):
            yield f"{place} can no longer be given a value"
    names = {column.name for column in table.columns}
    for name, actual in reflected.items():
        if name not in names and not actual["nullable"] and not _has_value(actual):
            yield f"column {table.fullname}.{name} is new and must be given a value"


def _has_value(column: ReflectedColumn) -> bool:
    return bool(column.get("default") is not None or column.get("identity") or column.get("computed"))


def _takes_no_value(column: ReflectedColumn) -> bool:
    identity = column.get("identity")
    return bool(column.get("computed") or (identity and identity["always"]))


def _holds(actual: types.TypeEngine[Any], needed: types.TypeEngine[Any]) -> bool:
    """Tell whether a column of type `actual` takes and gives what code that was written for `needed` expects."""
    needed = _stored(needed)
    if isinstance(needed, types.ARRAY):
        return isinstance(actual, types.ARRAY) and _holds(actual.item_type, needed.item_type)
    if isinstance(needed, types.Enum):
        return isinstance(actual, types.Enum | types.String)
    if isinstance(needed, types.String):
        length = getattr(actual, "length", None)
        return isinstance(actual, types.String) and (
            length is None or (needed.length is not None and length >= needed.length)
        )
    if isinstance(needed, types.Integer):
        return isinstance(actual, types.Integer) and _width(actual) >= _width(needed)
    if isinstance(needed, types.Numeric) and not isinstance(needed, types.Float):
        return isinstance(actual, types.Numeric) and _digits(actual) >= _digits(needed)
    if isinstance(needed, types.Float):
        return isinstance(actual, types.Numeric) or (isinstance(actual, types.Float) and _bits(actual) >= _bits(needed))
    if isinstance(needed, types.DateTime | types.Time):
        kind = types.DateTime if isinstance(needed, types.DateTime) else types.Time
        return isinstance(actual, kind) and bool(actual.timezone) == bool(needed.timezone)
    affinity = needed._type_affinity  # noqa: SLF001  SQLAlchemy has no public word for "the same kind of type"
    return isinstance(needed, types.NullType | types.UserDefinedType) or (
        affinity is None or issubclass(actual._type_affinity or type(actual), affinity)  # noqa: SLF001
    )


def _stored(type_: types.TypeEngine[Any]) -> types.TypeEngine[Any]:
    """Return the type of the column below what the application makes of its values."""
    while isinstance(type_, types.TypeDecorator) and not isinstance(type_, types.Interval):
        type_ = type_.load_dialect_impl(_DIALECT)
    return type_


def _bits(type_: types.Float[Any]) -> int:
    """Return the binary digits that are kept: PostgreSQL makes real of up to 24."""
    return 24 if _named(type_) == "REAL" or (type_.precision is not None and type_.precision <= 24) else 53


def _named(type_: types.TypeEngine[Any]) -> str:
    """Return what PostgreSQL calls a type; of one that it has no name for, ours."""
    try:
        return type_.compile(_DIALECT)
    except CompileError:
        return str(type_)


def _width(type_: types.Integer) -> int:
    return 1 if isinstance(type_, types.SmallInteger) else 3 if isinstance(type_, types.BigInteger) else 2


def _digits(type_: types.Numeric[Any]) -> tuple[float, float]:
    """Return the digits before and after the point that fit; no precision means all."""
    if type_.precision is None:
        return float("inf"), float("inf")
    return type_.precision - (type_.scale or 0), type_.scale or 0


def _unmet_values(metadata: MetaData, connection: Connection) -> Iterator[str]:
    for name, needed, actual in differing_enums(metadata, connection):
        for value in needed:
            if value not in actual:
                yield f"value {value!r} of the enum {name} is gone"


def differing_enums(metadata: MetaData, connection: Connection) -> Iterator[tuple[str, list[str], list[str]]]:
    """Yield each enum type of the models with the values that they know, and those that the database has."""
    kinds = [_element(column.type) for table in metadata.tables.values() for column in table.columns]
    needed = {
        full_name(kind.schema, kind.name): list(kind.enums)
        for kind in kinds
        if isinstance(kind, Enum) and kind.native_enum and kind.name
    }
    if not needed:
        return
    rows = connection.execute(sqlalchemy.text(_LABELS), {"names": list(needed)})
    labels = {str(name): list(values) for name, values in rows}
    for name, values in sorted(needed.items()):
        yield name, values, labels.get(name, [])


def _element(type_: types.TypeEngine[Any]) -> types.TypeEngine[Any]:
    stored = _stored(type_)
    return _element(stored.item_type) if isinstance(stored, types.ARRAY) else stored


_LABELS = """
SELECT n.name, array_agg(e.enumlabel ORDER BY e.enumsortorder)
  FROM unnest(CAST(:names AS text[])) AS n (name) JOIN pg_enum e ON e.enumtypid = to_regtype(
           (SELECT string_agg(quote_ident(part), '.' ORDER BY place)
              FROM unnest(string_to_array(n.name, '.')) WITH ORDINALITY AS p (part, place)))
 GROUP BY n.name
"""
