"""How much of what would be lost is there? Counts on the database at hand, in no hurry and in nobody's way. Read-only."""

from __future__ import annotations

import time
from collections.abc import Iterable

import psycopg2
from psycopg2.extensions import connection as Connection

from railhead.hazards.loss import Loss
from railhead.hazards.narrowing import ALL_KEPT
from railhead.postgres.connection import fetch_all, fetch_value, gently
from railhead.postgres.session_limits import milliseconds

COUNT_UP_TO = 1_000_000
"""Rows from which the server's estimate is good enough."""

COUNT_WITHIN = 5.0
"""Seconds that one count may take: nobody waits for longer to be told."""

ALL_WITHIN = 20.0
"""Seconds that all counts together may take; what is left then counts as there."""


def at_stake(connection: Connection, losses: Iterable[Loss]) -> dict[Loss, str]:
    """Return of each loss how much is there to lose, in words; those of which nothing is there are left out. Read-only.

    Of large tables, and where counting takes too long or somebody keeps the table, the server's estimate stands for it.
    """
    until = time.monotonic() + ALL_WITHIN
    amounts = {
        loss: _at_stake(connection, loss, min(COUNT_WITHIN, max(until - time.monotonic(), 0.001)))
        for loss in dict.fromkeys(losses)
    }
    return {loss: words for loss, words in amounts.items() if words}


def _at_stake(connection: Connection, loss: Loss, within: float) -> str | None:
    kind, name, _ = loss.parts
    table = name if kind == "partition" and name else loss.table
    column = name if kind in {"column", "type", "values"} else None
    if fetch_value(connection, "SELECT to_regclass(%s)", (table,)) is None:
        return None
    condition = loss.condition(connection.info.server_version // 10000)
    if condition == ALL_KEPT:
        return None
    words = counted(connection, table, column, condition, within)
    return None if words is None or words.startswith("0 ") else words


def counted(
    connection: Connection,
    table: str,
    column: str | None = None,
    condition: str | None = None,
    within: float = COUNT_WITHIN,
) -> str | None:
    """Return for people how many rows a table has, or of how many a `condition` is true, or how many have something in `column`.

    None when there is no such column. Reads no more than COUNT_UP_TO rows, for no longer than `within` seconds. Read-only.
    """
    noun = "row" if column is None else "value"
    filled = "true" if column is None else f"{column} IS NOT NULL"
    estimate = float(
        str(fetch_value(connection, "SELECT reltuples FROM pg_class WHERE oid = to_regclass(%s)", (table,)))
    )
    is_large = estimate > COUNT_UP_TO
    for test in dict.fromkeys([condition or filled, filled]):
        try:
            number = _count(connection, table, test, 1 if is_large else COUNT_UP_TO + 1, within)
        except psycopg2.errors.UndefinedColumn:
            return None
        except (psycopg2.errors.LockNotAvailable, psycopg2.errors.QueryCanceled, psycopg2.errors.InsufficientPrivilege):
            break
        except (psycopg2.DataError, psycopg2.ProgrammingError):  # nobody can tell what fits: any value may not
            continue
        if is_large and number:
            return f"about {estimate:,.0f} rows" if column is None else f"values in about {estimate:,.0f} rows"
        more = "more than " if number > COUNT_UP_TO else ""
        number = min(number, COUNT_UP_TO)
        return f"{more}{number:,} {noun}{'' if number == 1 else 's'}"
    return f"{noun}s that could not be counted"


def _count(connection: Connection, table: str, test: str, most: int, within: float) -> int:
    """Return of how many rows a test is true, up to `most`. Of rows that a policy hides it is asked in vain, with an error."""
    limits = f"SET LOCAL statement_timeout = {milliseconds(within)}; SET LOCAL row_security = off;"
    query = f"{limits} SELECT count(*) FROM (SELECT FROM {table} WHERE {test} LIMIT {most}) AS sample"
    with gently(connection):
        [(number,)] = fetch_all(connection, query)
    return int(str(number))
