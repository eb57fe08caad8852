"""How does a new index, or a new key, take the place of the old one while the table is read and written?

The new one is built beside it; then the two change places in one short transaction, so that there is no moment without. Safe to
run again from the top: what a crash left beside is finished, or built anew.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from railhead.operations import indexes
from railhead.operations.autocommit import AutocommitSession, Table
from railhead.operations.indexes import IndexPart
from railhead.postgres.quoting import quoted


def index(
    session: AutocommitSession, table: Table, name: str, columns: Sequence[IndexPart], options: Mapping[str, Any]
) -> None:
    """Let the index of that name be this one. Changes the schema."""
    if indexes.is_partitioned(session, table):
        if not indexes.is_equal(session, table, name, columns, options):
            indexes.drop(session, name, table.name, table.schema)
        indexes.build(session, table, name, columns, options)
        return
    if _constraint(session, table, name) is None and indexes.is_equal(session, table, name, columns, options):
        return
    beside = _build_beside(session, table, name, columns, options)
    path = indexes.path(session, table, beside)
    session.change(table, *_out_of_the_way(session, table, name), f"ALTER INDEX {path} RENAME TO {quoted(name)}")


def unique(
    session: AutocommitSession,
    table: Table,
    name: str,
    columns: Sequence[str],
    options: Mapping[str, Any],
    when: str,
    deferring: tuple[bool, bool],
) -> None:
    """Let the unique constraint of that name be this one; `when` is how SQL says until when a violation may last. Changes the schema."""
    options = {**options, "unique": True}
    there = _constraint(session, table, name)
    is_so = there is not None and there[0] == "u" and (there[1], there[2]) == deferring
    if is_so and indexes.is_equal(session, table, name, columns, options):
        return
    beside = _build_beside(session, table, name, columns, options)
    add = f"ALTER TABLE {table} ADD CONSTRAINT {quoted(name)} UNIQUE USING INDEX {quoted(beside)}{when}"
    session.change(table, *_out_of_the_way(session, table, name), add)


def primary_key(session: AutocommitSession, table: Table, name: str, columns: Sequence[str]) -> None:
    """Let the primary key be this one, in the place of any other; its columns are NOT NULL already. Changes the schema."""
    rows = session.rows(_PRIMARY_KEY, table=str(table))
    old = str(rows[0][0]) if rows else name
    if rows and old == name and list(rows[0][1]) == list(columns):  # type: ignore[call-overload]
        return
    beside = _build_beside(session, table, name, columns, {"unique": True})
    drop = f"ALTER TABLE {table} DROP CONSTRAINT IF EXISTS {quoted(old)}"
    add = f"ALTER TABLE {table} ADD CONSTRAINT {quoted(name)} PRIMARY KEY USING INDEX {quoted(beside)}"
    session.change(table, drop, add)


def _build_beside(
    session: AutocommitSession, table: Table, name: str, columns: Sequence[IndexPart], options: Mapping[str, Any]
) -> str:
    beside = f"{name.encode()[:55].decode(errors='ignore')}_new"
    if not session.as_sql and indexes.is_other(session, table, beside, columns, options):
        indexes.drop(session, beside, table.name, table.schema)  # of a crash, after which the file was changed
    indexes.build_whole(session, table, beside, columns, options)
    return beside


def _out_of_the_way(session: AutocommitSession, table: Table, name: str) -> list[str]:
    drops = f"ALTER TABLE {table} DROP CONSTRAINT IF EXISTS {quoted(name)}", _drop_index(session, table, name)
    if session.as_sql:
        return list(drops)
    return [drops[_constraint(session, table, name) is None]]


def _drop_index(session: AutocommitSession, table: Table, name: str) -> str:
    return f"DROP INDEX IF EXISTS {indexes.path(session, table, name)}"


def _constraint(session: AutocommitSession, table: Table, name: str) -> tuple[str, bool, bool] | None:
    """Return the kind of the constraint of that name, and until when a violation may last; None where there is none. Read-only."""
    rows = session.rows(_CONSTRAINT, table=str(table), name=name)
    return (str(rows[0][0]), bool(rows[0][1]), bool(rows[0][2])) if rows else None


_CONSTRAINT = "SELECT contype, condeferrable, condeferred FROM pg_constraint WHERE conrelid = to_regclass(:table) AND conname = :name"
_PRIMARY_KEY = """
SELECT conname, ARRAY(SELECT attname::text FROM unnest(conkey) WITH ORDINALITY AS k (attnum, place)
                        JOIN pg_attribute a ON a.attrelid = conrelid AND a.attnum = k.attnum ORDER BY place)
  FROM pg_constraint WHERE conrelid = to_regclass(:table) AND contype = 'p'
"""
