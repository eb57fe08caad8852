"""Is what "already exists" still there, now that the revision is rolled back, and what is it?

PostgreSQL calls views, sequences and tables relations, and does not say who made them: what is gone now, the revision itself had made.
"""

from __future__ import annotations

import re

from railhead.diagnosis.postgres_error import Failure
from railhead.project import LEDGER_TABLE

NOTHING = ""
TEMPORARY = "temporary table"
"""It lives as long as the session, in which another revision of the same run may have made it."""

_MAKES_TEMPORARY = re.compile(r"\s*CREATE\s+(?:GLOBAL\s+|LOCAL\s+)?TEMP(?:ORARY)?\b", re.IGNORECASE)


def what(failure: Failure) -> str | None:
    """Return the kind of what has this name, NOTHING when nothing has it any more, None when nobody tells. Read-only."""
    if _MAKES_TEMPORARY.match(failure.statement):
        return TEMPORARY
    question = _QUESTIONS.get("relation" if failure.code == "42P07" else failure.kind)
    if question is None or not failure.names:
        return None
    answer = failure.ask(f"SELECT coalesce(({question} LIMIT 1), '')", _values(failure))
    return None if answer is None else str(answer)


def was_kept(failure: Failure, kind: str) -> bool:
    """Tell whether the last run has left it there: then a revision before this one has made it, or it was taken over with them. Read-only."""
    kinds = "|".join(_IN_CATALOG.get(kind, (kind,)))
    beside = r"(?:[^\t\n]*\.)?" if kind == "index" else ""  # the catalog names an index with its table
    identity = rf"\n(?:{kinds}) {beside}{re.escape(failure.path)}\t"
    return bool(kinds and failure.ask(_KEPT.format(ledger=LEDGER_TABLE), (identity,)))


_IN_CATALOG = {"type": ("enum", "domain", "type", "range"), "enum value": ()}
"""What a kept catalog calls a thing that PostgreSQL's sentence calls something else."""

_KEPT = """
SELECT catalog ~ %s FROM {ledger} WHERE catalog IS NOT NULL ORDER BY id DESC LIMIT 1
"""


def _values(failure: Failure) -> tuple[object, ...]:
    name = failure.names[0].rpartition(".")[2]
    if failure.code == "42P07":
        schema = failure.name.rpartition(".")[0]
        return name, schema, schema
    return (name, failure.names[-1]) if failure.kind in {"column", "constraint"} else (name,)


_QUESTIONS = {
    "relation": """
SELECT CASE relkind WHEN 'v' THEN 'view' WHEN 'm' THEN 'materialized view' WHEN 'f' THEN 'foreign table' WHEN 'S' THEN 'sequence'
                    WHEN 'c' THEN 'type' WHEN 'i' THEN 'index' WHEN 'I' THEN 'index' ELSE 'table' END
  FROM pg_class WHERE relname = %s AND (%s = '' OR relnamespace = to_regnamespace(%s)) ORDER BY pg_table_is_visible(oid) DESC""",
    "type": "SELECT 'type' FROM pg_type WHERE typname = %s",
    "column": """
SELECT 'column' FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
 WHERE a.attname = %s AND c.relname = %s AND NOT a.attisdropped""",
    "constraint": "SELECT 'constraint' FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid WHERE k.conname = %s AND c.relname = %s",
}
