"""How is an index built while its table is read and written?

Concurrently; on a partitioned table, which PostgreSQL cannot do that with, partition by partition.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from alembic.operations import ops
from sqlalchemy.sql.elements import conv

from railhead.errors import ROLLED_BACK, Stop
from railhead.operations.autocommit import AutocommitSession, Table, undoing
from railhead.postgres.quoting import qualified

IndexPart = str | sa.TextClause | sa.ColumnElement[object]
"""What an index is on: a column's name or an expression."""

_LONGEST = 63
"""Bytes of a name in PostgreSQL."""


def build(
    session: AutocommitSession, table: Table, name: str, columns: Sequence[IndexPart], options: Mapping[str, Any]
) -> None:
    """Build the index unless it is there already and equal: of a partitioned table, of each partition first.

    Raises Stop(`index-differs`) when there is another one of that name.
    """
    if not session.rows(_IS_PARTITIONED, table=str(table)):
        build_whole(session, table, name, columns, options)
        return
    place = path(session, table, name)
    session.change(table, lambda: _build_empty(session, table, name, columns, options))
    with undoing(lambda: session.change(table, f"DROP INDEX IF EXISTS {place}")):
        for schema, partition in session.rows(_PARTITIONS, table=str(table), index=place):
            part, own = Table(str(partition), str(schema)), _name_within(name, str(partition))
            build(session, part, own, columns, options)
            session.change(part, f"ALTER INDEX {place} ATTACH PARTITION {qualified(own, part.schema)}")


def drop(session: AutocommitSession, name: str, table_name: str | None, schema: str | None) -> None:
    """Drop the index if it is there; a partitioned one, which PostgreSQL cannot drop concurrently, in a moment when nobody is in the way."""
    path = qualified(name, schema)
    if session.rows(_IS_PARTITIONED, table=path):
        session.short(f"DROP INDEX IF EXISTS {path}")
        return
    if table_name:
        session.wait_for_orphans(Table(table_name, schema))
    session.unhurried(_dropping(path))


def is_partitioned(session: AutocommitSession, table: Table) -> bool:
    """Tell whether the table is. Read-only."""
    return bool(session.rows(_IS_PARTITIONED, table=str(table)))


def is_equal(
    session: AutocommitSession, table: Table, name: str, columns: Sequence[IndexPart], options: Mapping[str, Any]
) -> bool:
    """Tell whether the index of that name is there, valid, and as it is wanted. Leaves nothing there."""
    there = _definition(session, table, name)
    return there is not None and there == session.short(lambda: _wanted_definition(session, table, columns, options))


def is_other(
    session: AutocommitSession, table: Table, name: str, columns: Sequence[IndexPart], options: Mapping[str, Any]
) -> bool:
    """Tell whether a valid index of that name is there that is another one. Leaves nothing there."""
    return _definition(session, table, name) is not None and not is_equal(session, table, name, columns, options)


def create_on(connection: sa.Connection, index: sa.Index, place: str) -> None:
    """Build an index, in the transaction that is open, on `place` instead of its own table."""
    assert index.table is not None
    sql = str(sa.schema.CreateIndex(index).compile(dialect=connection.dialect)).replace(" CONCURRENTLY", "", 1)
    written = connection.dialect.identifier_preparer.format_table(index.table)
    connection.exec_driver_sql(sql.replace(f" ON {written} ", f" ON {place} ", 1))


def what_on(definition: str) -> str:
    """Return an index definition without the names of the index and its table."""
    return re.sub(r"^CREATE (UNIQUE )?INDEX .*? ON .*? USING ", lambda match: f"{match[1] or ''}USING ", definition)


def _build_empty(
    session: AutocommitSession, table: Table, name: str, columns: Sequence[IndexPart], options: Mapping[str, Any]
) -> None:
    """Build the index of the partitioned table alone, of no rows: INVALID until every partition has its own."""
    standing = session.rows(f"SELECT pg_get_indexdef(indexrelid) {_INDEX}", table=str(table), name=name)
    if not standing:
        context = session.context
        index = ops.CreateIndexOp(name, table.name, columns, schema=table.schema, **options).to_index(context)
        assert context.connection is not None
        create_on(context.connection, index, f"ONLY {table}")
        return
    expected = _wanted_definition(session, table, columns, options)
    if what_on(str(standing[0][0])) != expected:
        raise _differs(table, name, what_on(str(standing[0][0])), expected)


def _name_within(name: str, partition: str) -> str:
    """Return the name of a partition's index, cut where PostgreSQL would cut it and still one of its own."""
    full = f"{partition}_{name}".encode()
    if len(full) <= _LONGEST:
        return full.decode()
    return f"{full[: _LONGEST - 9].decode(errors='ignore')}_{zlib.crc32(full):08x}"


def build_whole(
    session: AutocommitSession, table: Table, name: str, columns: Sequence[IndexPart], options: Mapping[str, Any]
) -> None:
    """Build the index of a table that has no partitions, unless it is there already and equal."""
    drop = _dropping(path(session, table, name))

    def drop_leftover() -> None:
        if session.as_sql or _is_invalid(session, table, name):
            session.execute(drop)

    def build() -> None:
        _create_index(session, table, conv(name), columns, {**options, "postgresql_concurrently": True})

    session.wait_for_orphans(table)
    standing = _definition(session, table, name)
    if standing is None:
        with undoing(lambda: session.unhurried(drop_leftover)):
            session.unhurried(drop_leftover, build)
        return
    definition = session.short(lambda: _wanted_definition(session, table, columns, options))
    if standing != definition:
        raise _differs(table, name, standing, str(definition))


def _create_index(
    session: AutocommitSession, table: Table, name: str, columns: Sequence[IndexPart], options: Mapping[str, Any]
) -> None:
    operation = ops.CreateIndexOp(name, table.name, columns, schema=table.schema, **options)
    session.context.impl.create_index(operation.to_index(session.context))


def _dropping(path: str) -> str:
    return f"DROP INDEX CONCURRENTLY IF EXISTS {path}"


_INDEX = (
    "FROM pg_index JOIN pg_class c ON c.oid = indexrelid WHERE indrelid = to_regclass(:table) AND c.relname = :name"
)


def _is_invalid(session: AutocommitSession, table: Table, name: str) -> bool:
    """Tell whether a crash has left an INVALID index of that name. Read-only."""
    return bool(session.rows(f"SELECT {_INDEX} AND NOT indisvalid", table=str(table), name=name))


def _definition(session: AutocommitSession, table: Table, name: str) -> str | None:
    """Return what the valid index of that name is on, None when there is none. Read-only."""
    definitions = session.rows(
        f"SELECT pg_get_indexdef(indexrelid) {_INDEX} AND indisvalid", table=str(table), name=name
    )
    return what_on(str(definitions[0][0])) if definitions else None


def _wanted_definition(
    session: AutocommitSession, table: Table, columns: Sequence[IndexPart], options: Mapping[str, Any]
) -> str:
    """Return what PostgreSQL would make of the index, asked with a temporary table that nobody else sees."""
    copy = Table("railhead_copy", None)
    session.execute(f"CREATE TEMPORARY TABLE {copy} (LIKE {table}) ON COMMIT DROP")
    _create_index(session, copy, "railhead_copy_index", columns, options)
    definitions = session.rows("SELECT pg_get_indexdef('pg_temp.railhead_copy_index'::regclass)")
    session.execute(f"DROP TABLE {copy}")
    return what_on(str(definitions[0][0]))


def path(session: AutocommitSession, table: Table, name: str) -> str:
    """Return the name of an index with the schema of its table, which is where it is. Read-only."""
    if table.schema:
        return qualified(name, table.schema)
    schemas = session.rows(
        "SELECT nspname FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace WHERE c.oid = to_regclass(:table)",
        table=str(table),
    )
    return qualified(name, str(schemas[0][0]) if schemas else None)


def _differs(table: Table, name: str, standing: str, definition: str) -> Stop:
    place = f", schema={table.schema!r}" if table.schema else ""
    return Stop(
        "index-differs",
        f"there is another index named {name}",
        facts=[("table", str(table).replace('"', "")), ("there", standing), ("wanted", definition)],
        database="this step changed nothing",
        next_step=f"give the new index another name, or drop the old one first:\nop.drop_index_concurrently({name!r}{place})",
        exit_code=ROLLED_BACK,
    )


_IS_PARTITIONED = "SELECT FROM pg_class WHERE oid = to_regclass(:table) AND relkind IN ('p', 'I')"
_PARTITIONS = """
SELECT n.nspname, c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = inhrelid JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE inhparent = to_regclass(:table) AND c.relkind IN ('r', 'p') AND NOT EXISTS (
       SELECT FROM pg_inherits part JOIN pg_index ON indexrelid = part.inhrelid
        WHERE part.inhparent = to_regclass(:index) AND indrelid = c.oid)
 ORDER BY c.oid
"""
"""The partitions of a table whose own indexes are not yet part of the index."""
