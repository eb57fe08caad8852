"""Is the rule, or the index, that has this name in the database the one that models.py means?

Alembic compares names, and columns at most. Asked is PostgreSQL itself: it writes down what it makes of the model's on an empty
temporary copy of the table, in a savepoint that is rolled back. Where it cannot be asked, nothing is said to differ.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from railhead.autogenerate.render import as_written
from railhead.operations import indexes

_COPY = "pg_temp.railhead_copy"

_CHECK = "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = to_regclass(:table) AND conname = :name"
_INDEX = (
    "SELECT pg_get_indexdef(indexrelid) FROM pg_index JOIN pg_class c ON c.oid = indexrelid"
    " WHERE indrelid = to_regclass(:table) AND c.relname = :name"
)
_DEFERRED = (
    "SELECT condeferrable, condeferred FROM pg_constraint WHERE conrelid = to_regclass(:table) AND conname = :name"
)

_NO_SUCH_COLUMN = "42703"


def check_differs(connection: sa.Connection, wanted: sa.CheckConstraint) -> str | None:
    """Return what the check is and what it would be, None when that is the same. Read-only."""
    name, table = str(wanted.name), _table(wanted.table)
    condition = wanted.sqltext.compile(dialect=connection.dialect, compile_kwargs={"literal_binds": True})

    def make() -> None:
        connection.exec_driver_sql(
            f"ALTER TABLE {_COPY} ADD CONSTRAINT {_escaped(as_written(name))} CHECK ({condition})"
        )

    return _difference(connection, table, name, make, _CHECK)


def index_differs(connection: sa.Connection, wanted: sa.Index) -> str | None:
    """Return what the index is and what it would be, None when that is the same. Read-only."""
    assert wanted.table is not None
    make = partial(indexes.create_on, connection, wanted, _COPY)
    return _difference(connection, _table(wanted.table), str(wanted.name), make, _INDEX)


def deferring_differs(connection: sa.Connection, wanted: sa.UniqueConstraint) -> str | None:
    """Return how the constraint is deferred and how it would be, None when that is the same. Read-only."""
    rows = connection.execute(sa.text(_DEFERRED), {"table": _table(wanted.table), "name": str(wanted.name)}).all()
    deferred = (wanted.initially or "").upper() == "DEFERRED"
    asked = (bool(wanted.deferrable) or deferred, deferred)
    return f"{tuple(rows[0])} to {asked}" if rows and tuple(rows[0]) != asked else None


def _difference(connection: sa.Connection, table: str, name: str, make: Callable[[], None], query: str) -> str | None:
    there = connection.scalar(sa.text(query), {"table": table, "name": name})
    savepoint = connection.begin_nested()
    try:
        connection.exec_driver_sql(f"CREATE TEMPORARY TABLE railhead_copy (LIKE {_escaped(table)})")
        make()
        wanted = connection.scalar(sa.text(query), {"table": _COPY, "name": name})
    except DBAPIError as error:
        if getattr(error.orig, "pgcode", None) != _NO_SUCH_COLUMN:
            return None
        wanted = "one on a column that is not there yet"
    finally:
        savepoint.rollback()
    same = there is None or wanted is None or _what(str(there)) == _what(str(wanted))
    return None if same else f"{there} to {wanted}"


def _what(definition: str) -> str:
    """Return a definition without names, and without what says nothing of new rows."""
    return re.sub(r"( NO INHERIT)?( NOT VALID)?$", "", indexes.what_on(definition))


def _escaped(sql: str) -> str:
    """Return SQL for the driver, which reads percent signs; what SQLAlchemy compiles is so already."""
    return sql.replace("%", "%%")


def _table(table: sa.FromClause) -> str:
    schema, name = getattr(table, "schema", None), str(getattr(table, "name", ""))
    return ".".join(as_written(part) for part in (schema, name) if part)
