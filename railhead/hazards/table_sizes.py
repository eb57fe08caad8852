"""How many rows do tables have, by the server's estimate?"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress

import psycopg2
from psycopg2.extensions import connection as Connection

from railhead.history.graph import Revision
from railhead.postgres.connection import fetch_all, gently

Sizes = Callable[[Sequence[str]], Mapping[str, float]]
"""Gives the rows of tables; those that are not there it leaves out."""


def sizes_of(connection: Connection, tables: Sequence[str]) -> dict[str, float]:
    """Return the rows of each of these tables, as the server estimates them; of a partitioned one, all together. Read-only.

    Like PostgreSQL's planner it takes the rows on a page when the table was analysed, times the pages of now. A table that
    was never analysed has the rows that the statistics count, or else as many as its pages hold at 100 bytes each.
    """
    try:
        with gently(connection):
            sizes = fetch_all(
                connection,
                _SIZES.format(pages="pg_relation_size(c.oid) / current_setting('block_size')::int"),
                (list(tables),),
            )
    except (
        psycopg2.errors.LockNotAvailable
    ):  # somebody holds a table under ACCESS EXCLUSIVE: take the size of last time
        sizes = fetch_all(connection, _SIZES.format(pages="c.relpages"), (list(tables),))
    return {str(name): float(str(rows)) for name, rows in sizes}


def large_tables(connection: Connection, rows: int) -> dict[str, float]:
    """Return the tables with at least so many rows, the largest first. Read-only."""
    names = [str(name) for (name,) in fetch_all(connection, _ALL)]
    sizes = {name: size for name, size in sizes_of(connection, names).items() if size >= rows}
    return dict(sorted(sizes.items(), key=lambda pair: -pair[1]))


def count(rows: float) -> str:
    """Return an estimate for people: `about 1,200,000 rows`."""
    size = max(0, round(rows))
    digits = max(0, len(str(size)) - 2)
    return f"about {round(size, -digits):,} rows" if size else "no rows"


def older_names(pending: Iterable[Revision]) -> dict[str, str]:
    """Return what tables are called now that pending revisions give new names."""
    return _renamed(pending, _RENAMES)


def older_columns(pending: Iterable[Revision]) -> dict[str, str]:
    """Return what columns are called now that pending revisions give new names, whatever their tables are."""
    return _renamed(pending, _RENAMES_COLUMN)


def older_name(table: str, older: Mapping[str, str]) -> str:
    """Return what a table, in whatever schema, is called now."""
    schema, dot, name = table.rpartition(".")
    return older.get(table) or f"{schema}{dot}{older.get(name, name)}"


def _renamed(pending: Iterable[Revision], renames: re.Pattern[str]) -> dict[str, str]:
    names: dict[str, str] = {}
    for revision in pending:
        with suppress(OSError):
            source = revision.path.read_text(encoding="utf-8", errors="replace")
            for match in renames.finditer(source) if "ename" in source.lower() or "new_column_name" in source else ():
                old, new = filter(None, match.groups())
                names[new] = names.get(old, old)
    return names


_RENAMES = re.compile(
    r"""(?:rename_table\(\s*["']|ALTER\s+TABLE\s+(?:\w+\.)?)(\w+)(?:["'],\s*["']|\s+RENAME\s+TO\s+)(\w+)""",
    re.IGNORECASE,
)

_RENAMES_COLUMN = re.compile(
    r"""alter_column\([^)]*?["'](\w+)["']\s*,\s*(?:[^)"']*,\s*)?new_column_name\s*=\s*["'](\w+)["']"""
    r"""|\bRENAME\s+(?:COLUMN\s+)?(?!TO\b|CONSTRAINT\b|VALUE\b|ATTRIBUTE\b)(\w+)\s+TO\s+(\w+)""",
    re.IGNORECASE,
)

_ALL = """
SELECT c.oid::regclass::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relkind IN ('r', 'p', 'm') AND NOT c.relispartition AND n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema'
"""

_SIZES = """
WITH RECURSIVE wanted AS (
    SELECT name, to_regclass(name)::oid AS oid FROM unnest(%s::text[]) AS name
), tree AS (
    SELECT name, oid FROM wanted WHERE oid IS NOT NULL
    UNION SELECT t.name, i.inhrelid FROM pg_inherits i JOIN tree t ON i.inhparent = t.oid
), leaf AS (
    SELECT t.name, c.oid, c.reltuples, c.relpages, {pages} AS pages
      FROM tree t JOIN pg_class c ON c.oid = t.oid WHERE c.relkind IN ('r', 'm')
)
SELECT w.name, coalesce(sum(CASE WHEN l.relpages > 0 AND l.reltuples >= 0 THEN l.reltuples / l.relpages * l.pages
                                 WHEN pg_stat_get_live_tuples(l.oid) > 0 THEN pg_stat_get_live_tuples(l.oid)
                                 ELSE l.pages * 80 END), 0)
  FROM wanted w LEFT JOIN leaf l USING (name) WHERE w.oid IS NOT NULL GROUP BY w.name
"""
