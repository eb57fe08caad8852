"""What would be lost?

Counts from the real tables what a downgrade or a reset would drop. Read-only, but for `drop_everything`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from psycopg2 import sql
from psycopg2.extensions import connection as Connection

from utils import database, lock, revisions
from utils.revisions import Step
from utils.settings import Settings

COUNT_UP_TO = 1_000_000
"""Rows from which the server's estimate is good enough."""

_NAME = r'((?:"(?:[^"]|"")+"|\w+)(?:\.(?:"(?:[^"]|"")+"|\w+))?)'
_DROP_TABLE = re.compile(rf"^\s*DROP TABLE (?:IF EXISTS )?{_NAME}", re.IGNORECASE | re.MULTILINE)
_DROP_COLUMN = re.compile(
    rf"^\s*ALTER TABLE (?:ONLY )?{_NAME} DROP COLUMN (?:IF EXISTS )?{_NAME}", re.IGNORECASE | re.MULTILINE
)


def of_downgrade(steps: Sequence[Step], settings: Settings) -> list[str]:
    """Return one line for each table and column that these steps drop, with the rows that it holds now. Read-only."""
    text = revisions.downgrade_sql(steps)
    if text is None:
        return ["what is lost cannot be told in advance: these revisions look at the data; read their downgrade()"]
    connection = _connect(settings)
    try:
        tables = [f"table {name}: {_rows(connection, name)}" for name in _DROP_TABLE.findall(text)]
        columns = [
            f"column {table}.{column}: {_values(connection, table, column)}"
            for table, column in _DROP_COLUMN.findall(text)
        ]
    finally:
        connection.close()
    return _told(tables + columns)


def of_reset(settings: Settings) -> list[str]:
    """Return one line for each table there is, with its rows. Read-only."""
    connection = _connect(settings)
    try:
        names = [str(row[0]) for row in database.rows(connection, _TABLES)]
        return _told([f"table {name}: {_rows(connection, name)}" for name in names])
    finally:
        connection.close()


def drop_everything(settings: Settings) -> None:
    """Empty every schema of the database but PostgreSQL's own, and leave an empty `public`. Changes the schema.

    For development. What extensions brought goes with them.
    """
    connection = _connect(settings)
    try:
        names = [str(row[0]) for row in database.rows(connection, _SCHEMAS)]
        drops = [sql.SQL("DROP SCHEMA {} CASCADE").format(sql.Identifier(name)) for name in names]
        statements = [*drops, sql.SQL("CREATE SCHEMA public"), sql.SQL("GRANT USAGE ON SCHEMA public TO PUBLIC")]
        with connection.cursor() as cursor:
            cursor.execute(sql.SQL("; ").join(statements))
    finally:
        connection.close()


def _connect(settings: Settings) -> Connection:
    assert settings.migrate_database is not None
    return database.open_now(settings.migrate_database, lock.name("losses", settings), settings.migrate_variable)


def _rows(connection: Connection, table: str) -> str:
    found = database.scalar(connection, "SELECT to_regclass(%s)", (table,))
    if found is None:
        return "not there"
    estimate = database.scalar(connection, "SELECT reltuples FROM pg_class WHERE oid = %s::regclass", (table,))
    if float(str(estimate)) > COUNT_UP_TO:
        return f"about {float(str(estimate)):,.0f} rows"
    return _counted(database.scalar(connection, f"SELECT count(*) FROM {found}"), "row")


def _values(connection: Connection, table: str, column: str) -> str:
    found = database.scalar(connection, "SELECT to_regclass(%s)", (table,))
    there = found and database.scalar(
        connection,
        "SELECT quote_ident(attname) FROM pg_attribute WHERE attrelid = %s::regclass AND attname = %s AND NOT attisdropped",
        (table, column.strip('"').replace('""', '"')),
    )
    if not there:
        return "not there"
    return _counted(database.scalar(connection, f"SELECT count({there}) FROM {found}"), "value")


def _counted(count: object, noun: str) -> str:
    number = int(str(count))
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _told(lines: list[str]) -> list[str]:
    return ["will be lost:", *(f"  {line}" for line in lines)] if lines else ["nothing is dropped"]


_SCHEMAS = """
SELECT nspname FROM pg_namespace WHERE nspname NOT LIKE 'pg\\_%' AND nspname <> 'information_schema' ORDER BY nspname
"""

_TABLES = """
SELECT c.oid::regclass::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relkind IN ('r', 'p') AND n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema' ORDER BY 1
"""
