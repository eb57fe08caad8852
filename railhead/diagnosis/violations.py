"""Which rows are in the way, and how are they put right?

Advice for the constraints that data can break: unique, foreign key, check and NOT NULL, each with the query that finds the rows.
"""

from __future__ import annotations

import re

from railhead.diagnosis.postgres_error import FOREIGN_KEY, Failure, condition_of
from railhead.postgres.quoting import quoted_name, unquoted

_PARTIAL = re.compile(r"\sWHERE\s(.*)$", re.IGNORECASE | re.DOTALL)
_ADD_COLUMN = re.compile(r"\bADD\s+(?:COLUMN\s+)?(?!CONSTRAINT)", re.IGNORECASE)
_VALUE = re.compile(r"\bVALUE\b", re.IGNORECASE)
_TRUTH_OF_A_CHECK = "_is_not_null"
"""How the check that `op.set_not_null` validates ends, behind the name of its column."""


def duplicate(failure: Failure) -> str:
    """Return how to find rows that are there more than once, or how to leave one alone."""
    key = failure.key or "..."
    if not failure.table:
        return _refused(failure)
    if not failure.builds:
        return (
            f"a row with that {key} is there already; let {failure.file} leave it alone:\n"
            f"INSERT INTO {failure.table} ... ON CONFLICT ({key}) DO NOTHING"
        )
    partial = _PARTIAL.search(failure.statement)
    where = f" WHERE {partial[1].strip().removesuffix(';')}" if partial else ""
    return (
        "find the rows that are there more than once, and decide which stays:\n"
        f"SELECT {key}, count(*) FROM {failure.table}{where} GROUP BY {key} HAVING count(*) > 1;"
    )


def reference(failure: Failure) -> str:
    """Return how to find the rows that point at nothing, or what to do about those that still point."""
    if not failure.table:
        return _refused(failure)
    if _is_deleted(failure):
        return (
            f"rows of {failure.table} still point at it; let {failure.file} change or delete them first,\n"
            f"or let the constraint say what becomes of them: ON DELETE SET NULL keeps them, ON DELETE CASCADE deletes them, too"
        )
    match = FOREIGN_KEY.search(failure.definition)
    if not failure.builds or match is None:
        return f"let {failure.file} write the row that is pointed at first, see the detail above"
    columns, referred_table = _columns(match[1]), match[2]
    others = _columns(match[3] or "id")
    same = " AND ".join(f"o.{referred} = t.{own}" for own, referred in zip(columns, others, strict=False))
    condition = " AND ".join(f"t.{column} IS NOT NULL" for column in columns)
    return (
        f"find the rows that point at nothing, and correct or delete them:\n"
        f"SELECT t.* FROM {failure.table} t\n WHERE {condition} AND NOT EXISTS (SELECT FROM {referred_table} o WHERE {same});"
    )


def _is_deleted(failure: Failure) -> bool:
    """Tell whether it is about rows that others point at: the sentence then begins with another table than the constraint's."""
    return bool(failure.table and failure.names) and quoted_name(failure.names[0]) != failure.table.rpartition(".")[2]


def reference_headline(failure: Failure) -> str:
    """Return what happened, for a foreign key."""
    return f"{failure.rows} {'still point at what is deleted' if _is_deleted(failure) else 'point at nothing'}"


def duplicate_headline(failure: Failure) -> str:
    """Return what happened, for a unique constraint or index."""
    return (
        f"a row of {failure.table} is there already"
        if failure.table and not failure.builds
        else f"{failure.rows} are there more than once"
    )


def _columns(listed: str) -> list[str]:
    return [column.strip() for column in listed.split(",")]


def rejected(failure: Failure) -> str:
    """Return how to find the rows that break a check."""
    if failure.constraint.endswith(_TRUTH_OF_A_CHECK):
        return _nulls(failure._replace(column=quoted_name(failure.constraint.removesuffix(_TRUTH_OF_A_CHECK))))
    condition = condition_of(failure.definition)
    if _fits_no_partition(failure):
        return _partition(failure)
    if not failure.constraint and not (failure.column and condition):
        return _refused(failure)
    if condition is None or not failure.builds:
        detail = ", see the detail above" if failure.detail else ""
        return f"let {failure.file} write values that {failure.constraint} allows{detail}"
    if failure.column:  # a domain's check speaks of VALUE, whatever the column is called
        return (
            "find the rows that break it, and correct them (op.backfill does it in batches):\n"
            f"SELECT * FROM {failure.table} WHERE NOT {_bracketed(_VALUE.sub(failure.column, condition))} LIMIT 20;"
        )
    return (
        "find the rows that break it, and correct them (op.backfill does it in batches):\n"
        f"SELECT * FROM {failure.table} WHERE NOT {_bracketed(condition)} LIMIT 20;"
    )


def _fits_no_partition(failure: Failure) -> bool:
    """Tell whether it is about the bounds of partitions: the one rule of a table that has no name."""
    return bool(failure.table) and not failure.constraint and not failure.column


def _partition(failure: Failure) -> str:
    if failure.builds:
        return (
            f"find the rows of {failure.table} that its bounds leave out, and move or delete them before {failure.file} attaches it,\n"
            "or let the bounds hold them"
        )
    return (
        "let a revision before this one make a partition that takes them:\n"
        f"CREATE TABLE ... PARTITION OF {failure.table} FOR VALUES ...;   or   ... PARTITION OF {failure.table} DEFAULT;"
    )


def _refused(failure: Failure) -> str:
    """Return what is left to say when PostgreSQL names neither a table nor a constraint: a domain, or somebody's trigger."""
    return f"let {failure.file} write values that are allowed; what refuses them stands in PostgreSQL's words above"


def _bracketed(condition: str) -> str:
    """Return a condition in one pair of brackets; PostgreSQL may have put it into a pair already."""
    return (
        condition
        if condition.startswith("(") and condition.endswith(")") and ")" not in condition[1:-1]
        else f"({condition})"
    )


def missing_value(failure: Failure) -> str:
    """Return how to find the rows without a value, and how to give them one."""
    if not failure.column:
        return _refused(failure)
    if re.match(r"\s*(?:INSERT|UPDATE|MERGE)", failure.statement, re.IGNORECASE):
        return f"let {failure.file} give {failure.place} a value"
    if _ADD_COLUMN.search(failure.statement):
        return (
            f"the rows that are there have no {failure.column}. Give them one where the column is added:\n"
            f"nullable=False, server_default=...\n"
            f"or add it nullable, and in the next revision:\n{_backfill(failure)}\n{_set_not_null(failure)}"
        )
    if re.match(r"\s*ALTER\s+DOMAIN", failure.statement, re.IGNORECASE):
        return _nulls(failure)
    return f"{_nulls(failure)}\nand here, because it does not stop traffic:\n{_set_not_null(failure)}"


def _nulls(failure: Failure) -> str:
    return (
        "find the rows without a value, and give them one:\n"
        f"SELECT * FROM {failure.table} WHERE {failure.column} IS NULL LIMIT 20;\n"
        f"in a revision before this one, in batches:\n{_backfill(failure)}"
    )


def _backfill(failure: Failure) -> str:
    column = failure.column
    return (
        f"op.backfill({_table(failure)}, {python(f'{column} = ...')}, {python(f'{column} IS NULL')}{_schema(failure)})"
    )


def _set_not_null(failure: Failure) -> str:
    return f"op.set_not_null({_table(failure)}, {python(unquoted(failure.column))}{_schema(failure)})"


def _table(failure: Failure) -> str:
    prefix = f"{quoted_name(failure.schema)}."
    return python(unquoted(failure.table.removeprefix(prefix)))


def _schema(failure: Failure) -> str:
    return f", schema={python(failure.schema)}" if failure.schema not in {"", "public"} else ""


def python(text: str) -> str:
    """Return `text` as Python writes it, in double quotes where that needs no backslashes."""
    return repr(text) if '"' in text or "\\" in text else f'"{text}"'


def rejected_slug(failure: Failure) -> str:
    """Return what a broken check is called: that of `op.set_not_null` is about missing values."""
    return "not-null-violation" if failure.constraint.endswith(_TRUTH_OF_A_CHECK) else "check-violation"


def rejected_headline(failure: Failure) -> str:
    """Return what happened, for a check."""
    if failure.constraint.endswith(_TRUTH_OF_A_CHECK):
        return f"rows of {failure.table} have no {failure.constraint.removesuffix(_TRUTH_OF_A_CHECK)}"
    if _fits_no_partition(failure):
        return f"{failure.rows} fit no partition"
    return f"{failure.rows} break {failure.constraint or 'a check'}"


def missing_headline(failure: Failure) -> str:
    """Return what happened, for a value that must not be missing; a domain does not tell where."""
    return f"{failure.rows} have no {failure.column or 'value'}"


def excluded(failure: Failure) -> str:
    """Return what to do about rows that an exclusion constraint keeps apart."""
    if not failure.table:
        return _refused(failure)
    return f"correct the rows that the detail above names; there may be more, so look at all of {failure.table} first"
