"""Does the release before this one keep working on the new schema?

Compares the catalogs before and after a revision: what code that was written for the first misses on the second. Knows no
database and no revision.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from railhead.schema import catalog
from railhead.schema.catalog import Catalog

_RELATIONS = ("table", "view", "materialized view")
_USED = {"enum", "domain", "type", "range", "sequence", "function", "procedure", "aggregate", "extension"}
"""What code may name, beside tables and their columns."""


class Break(NamedTuple):
    """One thing that the previous release misses."""

    object: str
    """The table that it is about, or the type, sequence or function itself."""
    why: str


def breaks(before: Catalog, after: Catalog) -> list[Break]:
    """Return what is gone or narrower than before, and what must be given a value now; nothing when the new schema serves both."""
    old, new = before.definitions, after.definitions
    found = [*_gone(old, new), *_narrower(old, new), *_demanding(old, new)]
    return list(dict.fromkeys(found))


def _gone(old: dict[str, str], new: dict[str, str]) -> Iterator[Break]:
    for thing in old.keys() - new.keys():
        noun, place, name = catalog.split_identity(thing)
        if noun in _RELATIONS:
            stand_in = next((one for one in _RELATIONS if f"{one} {_full(place, name)}" in new), None)
            columns = view_columns(new[f"{stand_in} {_full(place, name)}"]) if stand_in else {}
            if stand_in is None:
                yield Break(_full(place, name), f"{thing} is gone")
            elif stand_in != "table":
                yield from (
                    Break(_full(place, name), f"{stand_in} {_full(place, name)} lacks the column {column}")
                    for column in _columns(old, _full(place, name))
                    if column not in columns
                )
        elif noun == "column" and f"table {place}" in new:
            yield Break(place, f"{thing} is gone")
        elif noun in _USED and not _is_trigger_function(old[thing]):
            yield Break(_full(place, name), f"{thing} is gone")


def _narrower(old: dict[str, str], new: dict[str, str]) -> Iterator[Break]:
    for thing in sorted(old.keys() & new.keys()):
        was, now = old[thing], new[thing]
        if was == now:
            continue
        noun, place, name = catalog.split_identity(thing)
        full = _full(place, name)
        if noun == "column":
            enums = {each.removeprefix("enum ") for each in old if each.startswith("enum ")}
            yield from (Break(place, f"{thing} {why}") for why in _narrower_column(was, now, enums))
        elif noun == "enum":
            lost = [value for value in _values(was) if value not in _values(now)]
            yield from (Break(full, f"value {value} of the enum {full} is gone") for value in lost)
        elif noun == "domain" and len(now) >= len(was):
            yield Break(full, f"{thing} is {now} now, not {was}")
        elif noun == "table" and "row security" in now and "row security" not in was:
            yield Break(full, f"{thing} shows and takes only the rows that its policies allow")
        elif noun in {"view", "materialized view"}:
            there = view_columns(now)
            yield from (
                Break(
                    full, f"{thing} {'has lost' if column not in there else 'has another type in'} the column {column}"
                )
                for column, kind in view_columns(was).items()
                if there.get(column) != kind
            )


def _demanding(old: dict[str, str], new: dict[str, str]) -> Iterator[Break]:
    for thing in sorted(new.keys() - old.keys()):
        noun, table, _ = catalog.split_identity(thing)
        if noun == "column" and f"table {table}" in old and f"table {table}" in new:
            column = _Column.parse(new[thing])
            if column.not_null and not column.gets_a_value:
                yield Break(table, f"{thing} is new and must be given a value")


class _Column(NamedTuple):
    type: str
    not_null: bool
    has_default: bool
    generated: str

    @classmethod
    def parse(cls, definition: str) -> _Column:
        match = re.fullmatch(
            r"(?P<type>.+?)(?P<null> not null(?: not valid)?)?"
            r"(?P<default> default .+?)?(?P<generated> generated .+)?(?: sequence \(.*\))?",
            definition,
            re.DOTALL,
        )
        if match is None:
            return cls(definition, not_null=False, has_default=False, generated="")
        return cls(match["type"], bool(match["null"]), bool(match["default"]), (match["generated"] or "").strip())

    @property
    def gets_a_value(self) -> bool:
        return self.has_default or bool(self.generated)


def _narrower_column(was: str, now: str, enums: set[str]) -> Iterator[str]:
    old, new = _Column.parse(was), _Column.parse(now)
    if not holds(new.type, old.type) and not (
        old.type.removeprefix("public.") in enums and new.type in {"text", "character varying"}
    ):
        yield f"is {new.type} now, not {old.type}"
    if new.not_null and not old.not_null:
        yield "must be given a value now"
    elif new.not_null and old.gets_a_value and not new.gets_a_value:
        yield "has lost its default"
    if new.generated.startswith("generated always") and not old.generated.startswith("generated always"):
        yield "can no longer be given a value"


_NUMBERS = ("smallint", "integer", "bigint", "numeric")
_WIDER = {("real", "double precision"), ("cidr", "inet")}
_SIZED = re.compile(r"(.+?)\((\d+)(?:,(-?\d+))?\)(.*)")


def holds(there: str, needed: str) -> bool:
    """Tell whether a column of type `there` takes and gives what code that was written for `needed` expects."""
    if there == needed:
        return True
    if _base(needed) == _base(there):
        return _size_holds(_size(there), _size(needed), is_number=_base(there) == "numeric")
    if _base(needed) in _NUMBERS[:3] and _base(there) in _NUMBERS[:3]:
        return _NUMBERS.index(_base(there)) > _NUMBERS.index(_base(needed))
    if there == "text":
        return _base(needed) in {"character varying", "citext"}
    if _base(there) == "character varying":
        return needed != "text" and _base(needed) == "character varying"
    return (needed, there) in _WIDER


def _base(type_: str) -> str:
    match = _SIZED.fullmatch(type_)
    return f"{match[1]}{match[4]}" if match else type_


def _size(type_: str) -> tuple[int, int] | None:
    match = _SIZED.fullmatch(type_)
    return (int(match[2]), int(match[3] or 0)) if match else None


def _size_holds(there: tuple[int, int] | None, needed: tuple[int, int] | None, *, is_number: bool) -> bool:
    if there is None:
        return True
    if needed is None:
        return False
    if is_number:  # digits before the point, and behind it
        return there[0] - there[1] >= needed[0] - needed[1] and there[1] >= needed[1]
    return there[0] >= needed[0]


def _columns(definitions: dict[str, str], table: str) -> list[str]:
    return [
        name for noun, place, name in map(catalog.split_identity, definitions) if noun == "column" and place == table
    ]


def view_columns(definition: str) -> dict[str, str]:
    """Return the columns of a view, `(id bigint, title text) uses ...`, each with its type."""
    match = re.match(r"\((.*?)\)(?: with \(| uses |$)", definition, re.DOTALL)
    columns = re.split(r", (?=(?:\"(?:[^\"]|\"\")+\"|\w+) )", match[1]) if match else []
    parts = [re.fullmatch(r'("(?:[^"]|"")+"|\S+) (.+)', column) for column in columns]
    return {part[1]: part[2] for part in parts if part}


def _values(definition: str) -> list[str]:
    return re.findall(r"'(?:[^']|'')*'", definition)


def _is_trigger_function(definition: str) -> bool:
    return bool(re.search(r"\bRETURNS (event_)?trigger\b", definition, re.IGNORECASE))


def _full(place: str, name: str) -> str:
    return f"{place}.{name}" if place else name
