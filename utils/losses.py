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
        dropped = _DROP_TABLE.findall(text)
        tables = [f"table {name}: {_rows(connection, name)}" for name in dropped]
        columns = [
            f"column {table}.{column}: {_values(connection, table, column)}"
            for table, column in _DROP_COLUMN.findall(text)
            if table not in dropped
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
    return _counted(connection, "*", str(found), "row")


def _values(connection: Connection, table: str, column: str) -> str:
    found = database.scalar(connection, "SELECT to_regclass(%s)", (table,))
    name = column[1:-1].replace('""', '"') if column.startswith('"') else column.lower()
    there = found and database.scalar(
        connection,
        "SELECT quote_ident(attname) FROM pg_attribute WHERE attrelid = %s::regclass AND attname = %s AND NOT attisdropped",
        (table, name),
    )
    if not there:
        return "not there"
    return _counted(connection, str(there), str(found), "value")


def _counted(connection: Connection, what: str, table: str, noun: str) -> str:
    """Return how many there are, without reading more than COUNT_UP_TO rows: nobody waits for minutes to be asked."""
    estimate = float(
        str(database.scalar(connection, "SELECT reltuples FROM pg_class WHERE oid = %s::regclass", (table,)))
    )
    if estimate > COUNT_UP_TO:
        return f"about {estimate:,.0f} rows" if what == "*" else f"in about {estimate:,.0f} rows"
    limited = f"SELECT count({what}), count(*) FROM (SELECT * FROM {table} LIMIT {COUNT_UP_TO + 1}) AS sample"
    count, rows = (int(str(one)) for one in database.rows(connection, limited)[0])
    more = "more than " if rows > COUNT_UP_TO else ""
    return f"{more}{min(count, COUNT_UP_TO):,} {noun}{'' if count == 1 else 's'}"


def _told(lines: list[str]) -> list[str]:
    return ["will be lost:", *(f"  {line}" for line in lines)] if lines else ["nothing is dropped"]


_SCHEMAS = """
SELECT nspname FROM pg_namespace WHERE nspname NOT LIKE 'pg\\_%' AND nspname <> 'information_schema' ORDER BY nspname
"""

_TABLES = """
SELECT c.oid::regclass::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relkind IN ('r', 'p') AND n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema' ORDER BY 1
"""
