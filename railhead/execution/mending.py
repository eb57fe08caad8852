"""How is a revision run again that a crash has left half done, on a database where no run has ended well yet?

What came before it left its transaction was committed with the ledger's row `started`, so all of that is passed over. What it did then,
statement by statement, is passed over where PostgreSQL says that it is there already. Of rows nobody knows, so they are not written twice.
"""

from __future__ import annotations

import re

import psycopg2
from psycopg2 import errorcodes, sql

from railhead.operations import autocommit
from railhead.postgres.connection import fetch_value
from railhead.postgres.observed import Observed, own

ALREADY = {
    errorcodes.DUPLICATE_TABLE,  # indexes are relations, too
    errorcodes.DUPLICATE_OBJECT,  # a value of an enum, too
    errorcodes.DUPLICATE_COLUMN,
    errorcodes.DUPLICATE_SCHEMA,
    errorcodes.DUPLICATE_FUNCTION,
}
"""What PostgreSQL says of something that is there."""

_GONE = {errorcodes.UNDEFINED_TABLE, errorcodes.UNDEFINED_OBJECT, errorcodes.UNDEFINED_COLUMN}

_CHANGES = re.compile(
    r"\s*(?:CREATE(?!\s+(?:LOCAL\s+|GLOBAL\s+)?TEMP)|ALTER|DROP|COMMENT|INSERT|UPDATE|DELETE|MERGE|TRUNCATE|GRANT|REVOKE|REFRESH|DO|CALL|COPY|WITH)\b",
    re.IGNORECASE,
)
_WRITES_ROWS = re.compile(r"\s*(?:INSERT|UPDATE|MERGE|COPY|DO|CALL|WITH)\b", re.IGNORECASE)
_WRITES_ONCE = re.compile(r"\bON\s+CONFLICT\b|\bNOT\s+EXISTS\b|\bIS\s+NULL\b", re.IGNORECASE)
_DROPS = re.compile(r"\s*(?:DROP|ALTER)\b.*\bDROP\b|\s*DROP\b", re.IGNORECASE | re.DOTALL)
_INDEX = re.compile(
    r"\s*CREATE\s+(?:UNIQUE\s+)?INDEX\s+CONCURRENTLY\s+(?:IF\s+NOT\s+EXISTS\s+)?(\"(?:[^\"]|\"\")+\"|[\w$]+)",
    re.IGNORECASE,
)

NOTHING = "SELECT"
"""A statement in the place of one that is passed over."""


class HalfDone(Exception):
    """An earlier run has left the revision half done: it is to be mended."""


class RowsUnknown(Exception):
    """Nobody knows whether a statement of the revision has written its rows before."""


def instead(statement: str, *, left: bool, alone: bool) -> str | None:
    """Return what is to be sent in the place of a statement, None when it is to be sent itself.

    `alone`: it is committed by itself. Raises RowsUnknown.
    """
    if autocommit.is_working():
        return None
    if not left:
        return NOTHING if _CHANGES.match(statement) else None
    if alone and writes_rows(statement):
        raise RowsUnknown(f"{_NOBODY_KNOWS}: {' '.join(statement.split())[:80]}")
    return None


def writes_rows(statement: str) -> bool:
    """Tell whether a statement writes rows once more when it is run once more."""
    return bool(_WRITES_ROWS.match(statement)) and not _WRITES_ONCE.search(statement)


def rows_unknown() -> RowsUnknown:
    """Return what is raised where a transaction that wrote rows is about to be committed, as it may have been before."""
    return RowsUnknown(f"{_NOBODY_KNOWS}: the rows that it is about to commit")


_NOBODY_KNOWS = "whether it was done before the crash nobody knows"


def is_there(connection: Observed, statement: str, error: psycopg2.Error) -> bool:
    """Tell whether a statement failed only because it was done before. An INVALID index of its name is built anew. Changes the schema."""
    if autocommit.is_working() or not (connection.autocommit or connection.is_loose):
        return False
    if error.pgcode in _GONE:
        return bool(_DROPS.match(statement))
    if error.pgcode not in ALREADY:
        return False
    index = _INDEX.match(statement)
    if index and fetch_value(connection, _IS_INVALID, (index[1],)):
        cursor = own(connection)
        cursor.execute(sql.SQL("DROP INDEX CONCURRENTLY {}").format(sql.SQL(index[1])))
        cursor.execute(statement)
    return True


_IS_INVALID = "SELECT NOT indisvalid FROM pg_index WHERE indexrelid = to_regclass(%s)"
