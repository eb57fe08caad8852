"""Which tables would a statement take rows from, and which would it read whole? Told by PostgreSQL's plan of it, on empty tables, too."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

import psycopg2
from psycopg2.extensions import TRANSACTION_STATUS_IDLE
from psycopg2.extensions import connection as Driver

from railhead.postgres.connection import fetch_all
from railhead.postgres.quoting import qualified


class Explained(NamedTuple):
    """What the plan of a statement says, by the numbers of tables."""

    emptied: frozenset[int]
    read: frozenset[int]
    """Tables of which no index would spare it a row."""


def explain(driver: Driver, statement: str, values: object) -> Explained | None:
    """Return what the plan of a statement says; None when there is none, or when it is more than one statement. Read-only."""
    if not _EXPLAINABLE.match(statement) or ";" in without_texts(statement).rstrip("; \t\r\n"):
        return None
    alone = driver.info.transaction_status == TRANSACTION_STATUS_IDLE
    with driver.cursor() as cursor:
        cursor.execute("BEGIN" if alone else "SAVEPOINT explained")
        try:
            cursor.execute("SET LOCAL enable_seqscan = off")
            cursor.execute(f"EXPLAIN (FORMAT JSON, VERBOSE, COSTS off) {statement}", values)  # type: ignore[arg-type]  # SQLAlchemy's
            [([whole],)] = cursor.fetchall()
        except psycopg2.Error:
            return None
        finally:
            cursor.execute("ROLLBACK" if alone else "ROLLBACK TO SAVEPOINT explained; RELEASE SAVEPOINT explained")
    nodes = list(_nodes(whole["Plan"]))
    takes = _takes(statement)
    return Explained(
        _numbers(driver, [node for node in nodes if node.get("Operation") in takes]),
        _numbers(driver, [node for node in nodes if _reads_all(node)]),
    )


def without_texts(statement: str) -> str:
    """Return a statement without what stands in quotes and in comments."""
    return _TEXTS.sub(" ", statement)


def _takes(statement: str) -> set[str]:
    merges = re.search(r"\bTHEN\s+DELETE\b", without_texts(statement), re.IGNORECASE)
    return {"Delete", "Merge"} if merges else {"Delete"}


def _nodes(plan: dict[str, object]) -> Iterator[dict[str, object]]:
    yield plan
    below = plan.get("Plans", ())
    assert isinstance(below, list | tuple)
    for node in below:
        yield from _nodes(node)


def _reads_all(node: dict[str, object]) -> bool:
    """Tell whether it reads a table without a condition for an index."""
    is_scan = str(node["Node Type"]) in {"Seq Scan", "Bitmap Heap Scan", "Index Scan", "Index Only Scan"}
    return is_scan and not {"Index Cond", "Recheck Cond"} & node.keys()


def _numbers(driver: Driver, nodes: list[dict[str, object]]) -> frozenset[int]:
    names = [qualified(str(node["Relation Name"]), str(node["Schema"])) for node in nodes if "Relation Name" in node]
    rows = (
        fetch_all(driver, "SELECT to_regclass(name)::oid::int8 FROM unnest(%s::text[]) AS name", (names,))
        if names
        else ()
    )
    return frozenset(int(str(number)) for (number,) in rows if number is not None)


_EXPLAINABLE = re.compile(
    r"(?:\s|--[^\n]*|/\*.*?\*/)*(?:SELECT|INSERT|UPDATE|DELETE|MERGE|WITH)\b", re.IGNORECASE | re.DOTALL
)
_TEXTS = re.compile(
    r"(?P<dollar>\$\w*\$).*?(?P=dollar)|\be'(?:\\.|''|[^'\\])*'|'(?:''|[^'])*'|--[^\n]*|/\*.*?\*/",
    re.IGNORECASE | re.DOTALL,
)
