"""Which values of a column does its new type not keep?

Answers with a condition in SQL, so that they can be counted before anything is touched. Knows types, no database.
"""

from __future__ import annotations

import re

ALL_KEPT = "false"
"""The condition where the new type keeps every value that the old one can have."""

_WHOLE = {"smallint": 2**15, "integer": 2**31, "bigint": 2**63}
"""Whole numbers, each with the first that is too large for it."""

_EXACT = {"real": 2**24, "double precision": 2**53}
"""Inexact numbers, each with the whole number up to which it knows every one."""

_TEXT = {"text", "character varying", "citext", "character", "bpchar", "name"}
_CLOCKS = {"timestamp without time zone", "timestamp with time zone"}
_KIN = ({"json", "jsonb"}, {*_CLOCKS}, {"time without time zone", "time with time zone"})
"""Types of which each can be written as the others, apart from their size and what `_of_kin` says."""

_KEPT = {("boolean", "integer"), ("cidr", "inet"), *(("date", clock) for clock in _CLOCKS)}

_SIZED = re.compile(r"(.+?)\((\d+)(?:,(-?\d+))?\)(.*)")
_VALID_SINCE = 16
"""The server that can tell whether a text is a value of a type, without an error."""


def misfits(column: str, old: str, new: str, labels: tuple[str, ...] | None, server: int) -> str | None:
    """Return the condition for the values of a column, as SQL writes its name, that are lost or refused when it changes its type.

    `labels` are the values of the new type where that is an enum. ALL_KEPT where none can be; None where nobody can tell: any may be.
    """
    if old.endswith("[]") or new.endswith("[]"):
        return _of_arrays(old, new, labels)
    was, now = _base(old), _base(new)
    if now in _TEXT:
        return _too_long(column, old, new)
    if labels is not None:
        return f"{column}::text <> ALL ({_array(labels)})"
    if {was, now} <= {*_WHOLE, *_EXACT, "numeric"}:
        return _of_numbers(column, old, new)
    if (was, now) in _KEPT:
        return ALL_KEPT
    if now == "date" and was in _CLOCKS:
        return f"{column} <> date_trunc('day', {column})"
    if was == now or any({was, now} <= kin for kin in _KIN):
        return _of_kin(column, old, new)
    if now == "boolean" and was in _WHOLE:
        return f"{column} NOT IN (0, 1)"
    if was in _TEXT and server >= _VALID_SINCE:
        return f"NOT pg_input_is_valid({column}::text, {_literal(new)})"
    return None


def _of_arrays(old: str, new: str, labels: tuple[str, ...] | None) -> str | None:
    if new in _TEXT:
        return ALL_KEPT
    if not (old.endswith("[]") and new.endswith("[]")):
        return None
    inner = misfits("x", old[:-2], new[:-2], labels, 0)
    return ALL_KEPT if inner == ALL_KEPT else None


def _too_long(column: str, old: str, new: str) -> str:
    most = _size(new)
    if most is None or (_base(old) in _TEXT and (_size(old) or (most[0] + 1, 0))[0] <= most[0]):
        return ALL_KEPT
    return f"length({column}::text) > {most[0]}"


def _of_numbers(column: str, old: str, new: str) -> str:
    was, now = _base(old), _base(new)
    if was in _WHOLE and now in _WHOLE:
        return ALL_KEPT if _WHOLE[was] <= _WHOLE[now] else _beyond(column, _WHOLE[now])
    if now in _WHOLE:
        return f"{_beyond(column, _WHOLE[now])} OR {column} <> trunc({column})"
    if now == "numeric":
        return _of_digits(column, old, _size(new))
    if was in _WHOLE:
        return ALL_KEPT if _WHOLE[was] <= _EXACT[now] else f"abs({column}::numeric) > {_EXACT[now]}"
    if was == now or (was, now) == ("real", "double precision"):
        return ALL_KEPT
    back = "double precision" if was == "double precision" else "numeric"
    fits = f"abs({column}) < 1e37 AND (abs({column}) > 1e-37 OR {column} = 0)"
    return f"CASE WHEN {fits} THEN {column} <> {column}::{now}::{back} ELSE {column} IS NOT NULL END"


def _of_digits(column: str, old: str, size: tuple[int, int] | None) -> str:
    before = _size(old) if _base(old) == "numeric" else None
    if size is None:
        return ALL_KEPT if _base(old) not in _EXACT else f"{column} <> {column}::numeric::{old}"
    digits, behind = size
    if before and before[1] <= behind and before[0] - before[1] <= digits - behind:
        return ALL_KEPT
    if _base(old) in _WHOLE and _WHOLE[_base(old)] <= 10 ** max(digits - behind, 0):
        return ALL_KEPT
    number = f"{column}::numeric"
    return f"abs({number}) >= 1e{digits - behind}::numeric OR {number} <> round({number}, {behind})"


def _of_kin(column: str, old: str, new: str) -> str | None:
    """Return it for two types of one kind: a size, or a word in its place, takes something away, and so does the loss of a zone."""
    if _base(old) == "time with time zone" != _base(new):
        return None
    before, after = _size(old), _size(new)
    is_free = after is None and "(" not in new and not new.startswith("interval ")
    if is_free or (before and after and before[0] <= after[0] and before[1] <= after[1]):
        return ALL_KEPT
    return f"{column} IS DISTINCT FROM {column}::{new}::{old}"


def _beyond(column: str, first: int) -> str:
    return f"{column} NOT BETWEEN {-first} AND {first - 1}"


def _base(type_: str) -> str:
    """Return a type without its size."""
    match = _SIZED.fullmatch(type_)
    plain = f"{match[1]}{match[4]}" if match else type_.partition("(")[0]
    return "interval" if plain.startswith("interval ") else plain


def _size(type_: str) -> tuple[int, int] | None:
    match = _SIZED.fullmatch(type_)
    return (int(match[2]), int(match[3] or 0)) if match else None


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _array(labels: tuple[str, ...]) -> str:
    return f"ARRAY[{', '.join(map(_literal, labels))}]::text[]"
