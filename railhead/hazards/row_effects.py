"""Which rows does a statement take away, and which does it ask for that a scratch database has not?

PostgreSQL tells by its plan, its locks and its counters. Inside functions and blocks, which have no plan, words decide among the tables
that are locked for writing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from psycopg2 import sql
from psycopg2.extensions import connection as Driver

from railhead.hazards.query_plan import Explained, without_texts
from railhead.postgres.connection import fetch_all, fetch_value

CHANGES_ROWS = {"UPDATE", "DELETE", "MERGE"}
RUNS_CODE = {"SELECT", "DO", "CALL"}
"""Statements that may do anything, in a function or a block."""


def deleted(
    driver: Driver, statement: str, tag: str, plan: Explained | None, writing: Mapping[int, str]
) -> frozenset[int]:
    """Return the tables that rows are deleted from, or would be if there were any. `writing` are those that are locked for it."""
    if tag not in CHANGES_ROWS | RUNS_CODE | {"INSERT"} or not writing:
        return frozenset()
    planned = plan.emptied if plan else frozenset()
    words = code(driver, statement) if tag in RUNS_CODE else without_texts(statement)
    if not planned and not (plan and tag not in RUNS_CODE) and _DELETES.search(words):
        named = {name.rpartition(".")[2].strip('"').lower() for name in _FROM.findall(words)}
        planned = frozenset(table for table, name in writing.items() if name.lower() in named) or frozenset(writing)
    return planned | _cascades(driver, planned)


def mentions_delete(statement: str) -> bool:
    """Tell whether a statement says DELETE, and not in a text."""
    return bool(_DELETES.search(statement) and _DELETES.search(without_texts(statement)))


def asked(driver: Driver, statement: str, tag: str, searched: set[int]) -> frozenset[int]:
    """Return the tables that it has asked for rows and that have none, so that what is done with them does not happen."""
    if tag not in RUNS_CODE or not searched or _MAKES.match(statement) or _SETS.search(statement):
        return frozenset()
    if tag != "SELECT" and not _DEPENDS.search(code(driver, statement)):
        return frozenset()
    return frozenset(table for table in searched if _is_empty(driver, table))


def code(driver: Driver, statement: str) -> str:
    """Return a statement with the code of all functions that it, or one of these, names."""
    text, read = _COMMENTS.sub(" ", statement), set[int]()
    while functions := fetch_all(driver, _NAMED, (text, list(read))):
        read |= {int(str(number)) for number, _ in functions}
        text = "\n".join([text, *(_COMMENTS.sub(" ", str(body)) for _, body in functions)])
    return text


def _cascades(driver: Driver, tables: Iterable[int]) -> frozenset[int]:
    reached = fetch_all(driver, _CASCADES, (list(tables),)) if tables else ()
    return frozenset(int(str(table)) for (table,) in reached)


def _is_empty(driver: Driver, table: int) -> bool:
    name = fetch_value(driver, "SELECT oid::regclass::text FROM pg_class WHERE oid = %s", (table,))
    query = sql.SQL("SELECT EXISTS (SELECT FROM {})").format(sql.SQL(str(name)))
    return name is not None and not fetch_value(driver, query.as_string(driver))


_COMMENTS = re.compile(r"--[^\n]*|/\*.*?\*/", re.DOTALL)
_DELETES = re.compile(r"\bDELETE\b", re.IGNORECASE)
_FROM = re.compile(r'\bDELETE\s+FROM\s+(?:ONLY\s+)?((?:"[^"]+"|[\w.])+)', re.IGNORECASE)
_MAKES = re.compile(r"(?:\s|--[^\n]*|/\*.*?\*/)*(?:CREATE\b|SELECT\b.*\bINTO\b)", re.IGNORECASE | re.DOTALL)
_SETS = re.compile(r"\bsetval\s*\(", re.IGNORECASE)
_DEPENDS = re.compile(r"\b(?:LOOP|IF|CASE|WHEN)\b", re.IGNORECASE)

_NAMED = """
SELECT p.oid::int8, pg_get_functiondef(p.oid) FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
 WHERE n.nspname NOT LIKE 'pg\\_%%' AND n.nspname <> 'information_schema' AND p.prokind IN ('f', 'p')
   AND strpos(lower(%s), lower(p.proname)) > 0 AND p.oid <> ALL (%s::oid[])
   AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e')
"""

_CASCADES = """
WITH RECURSIVE reached (oid) AS (
    SELECT unnest(%s::oid[])
    UNION SELECT k.conrelid FROM pg_constraint k JOIN reached r ON k.confrelid = r.oid WHERE k.contype = 'f' AND k.confdeltype = 'c'
) SELECT oid::int8 FROM reached
"""
"""Where rows go when rows of these tables are deleted."""
