"""Do two SQL expressions, or two types, mean the same to PostgreSQL?

It is asked to plan both and to write them down: what it folds and casts on the way is the same for both. Nothing is executed or
made, so that a transaction may be read-only, and the server a standby. Where an expression cannot be read yet, because it speaks
of what is still to come, `Unreadable` says why.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import CompileError, DBAPIError

from railhead.postgres.quoting import qualified

_LOCK_NOT_AVAILABLE = "55P03"


class Unreadable(Exception):
    """PostgreSQL does not understand an expression, or has no such type."""

    def __init__(self, sqlstate: str, words: str) -> None:
        super().__init__(words)
        self.sqlstate = sqlstate
        self.words = words


def planned(connection: sa.Connection, expressions: Sequence[str], table: str = "") -> list[str]:
    """Return the expressions as PostgreSQL writes them once it has planned them; of columns of `table`, if any. Read-only.

    Raises Unreadable.
    """
    listed = ", ".join(f"({expression})" for expression in expressions)
    source = f" FROM ONLY {table}" if table else ""
    query = f"EXPLAIN (VERBOSE, COSTS OFF, FORMAT JSON) SELECT {listed}{source}"
    savepoint = connection.begin_nested()
    try:
        plan: Any = connection.exec_driver_sql(query.replace("%", "%%")).scalar()
    except DBAPIError as error:
        sqlstate = str(getattr(error.orig, "pgcode", None) or "")
        if not sqlstate or sqlstate == _LOCK_NOT_AVAILABLE:
            raise
        raise Unreadable(sqlstate, str(error.orig).partition("\n")[0]) from None
    finally:
        savepoint.rollback()
    return [str(output) for output in plan[0]["Plan"]["Output"]]


def differ(connection: sa.Connection, there: str | None, wanted: str | None, table: str = "") -> bool:
    """Tell whether what is there means something else than what is wanted, which may not be readable yet. Read-only."""
    if there == wanted or there is None or wanted is None:
        return there != wanted
    try:
        old, new = planned(connection, [there, wanted], table)
    except Unreadable:
        return True
    return old.replace("CURRENT_TIMESTAMP", "now()") != new.replace("CURRENT_TIMESTAMP", "now()")


def sql_of(expression: sa.ClauseElement, dialect: sa.Dialect, **kw: object) -> str:
    """Return an expression as it is typed, without parameters."""
    return str(expression.compile(dialect=dialect, compile_kwargs={"literal_binds": True, **kw})).replace("%%", "%")


def type_sql(type_: sa.types.TypeEngine[Any], dialect: sa.Dialect) -> str | None:
    """Return a type as SQL writes it, with its collation; None for one that has no name there."""
    if isinstance(type_, sa.types.NullType):
        return None
    try:
        return type_.compile(dialect=dialect)
    except CompileError:
        return None


def table_sql(schema: str | None, name: str) -> str:
    """Return a table's name as SQL takes it."""
    return qualified(name, schema)


_ANY_OF = re.compile(
    r"\(?(\w+|\"[^\"]+\")\)?::text = ANY \(\(?ARRAY\[((?:'(?:[^']|'')*'::character varying(?:, )?)+)\]\)?::text\[\]\)"
)


def as_typed(condition: Any) -> Any:
    """Return a condition with lists as people type them: PostgreSQL does not read its own way of writing them as the same."""
    text = getattr(condition, "text", condition)
    if not isinstance(text, str):
        return condition
    typed = _ANY_OF.sub(lambda found: f"{found[1]} IN ({found[2].replace('::character varying', '')})", text)
    return condition if typed == text else typed if isinstance(condition, str) else sa.text(typed)
