"""Does the release before this one keep working on the new schema?

Compares the catalogs before and after a revision: what code that was written for the first misses on the second. Knows no
database and no revision.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from railhead.schema.catalog import Catalog
from railhead.schema.objects import RELATIONS, CatalogObject, Column, Domain, Enum, Table, Text, View, identity

_USED = {"enum", "domain", "type", "range", "sequence", "function", "procedure", "aggregate", "extension"}
"""What code may name, beside tables and their columns."""

_NOT_VALID = " NOT VALID"

Objects = Mapping[str, CatalogObject]


class Break(NamedTuple):
    """One thing that the previous release misses."""

    object: str
    """The table that it is about, or the type, sequence or function itself."""
    why: str


def breaks(before: Catalog, after: Catalog) -> list[Break]:
    """Return what is gone or narrower than before, and what must be given a value now; nothing when the new schema serves both."""
    if before.lines == after.lines:
        return []
    old, new = before.objects, after.objects
    misses = [*_gone(old, new), *_narrower(old, new), *_demanding(old, new)]
    return list(dict.fromkeys(misses))


def _gone(old: Objects, new: Objects) -> Iterator[Break]:
    for thing in (old[name] for name in old.keys() - new.keys()):
        if thing.kind in RELATIONS:
            yield from _without_relation(thing, old, new)
        elif thing.kind == "column" and identity("table", thing.place) in new:
            yield Break(thing.place, f"{thing.identity} is gone")
        elif thing.kind in _USED and not (isinstance(thing.facts, Text) and thing.facts.is_trigger_function):
            yield Break(thing.full_name, f"{thing.identity} is gone")


def _without_relation(thing: CatalogObject, old: Objects, new: Objects) -> Iterator[Break]:
    """Yield what is missed of a table or view that is gone: what stands in its place must have its columns."""
    name = thing.full_name
    stand_in = next(filter(None, (new.get(identity(kind, name)) for kind in RELATIONS)), None)
    if stand_in is None:
        yield Break(name, f"{thing.identity} is gone")
    elif isinstance(stand_in.facts, View):
        columns = dict(stand_in.facts.columns)
        for column in _columns(old, name):
            if column not in columns:
                yield Break(name, f"{stand_in.kind} {name} lacks the column {column}")


def _narrower(old: Objects, new: Objects) -> Iterator[Break]:
    enums = {thing.full_name for thing in old.values() if thing.kind == "enum"}
    for name in sorted(old.keys() & new.keys()):
        was, now = old[name], new[name]
        if was.line != now.line:
            place = now.place if now.kind == "column" else now.full_name
            yield from (Break(place, why) for why in _lost(was, now, enums))


def _lost(was: CatalogObject, now: CatalogObject, enums: set[str]) -> Iterator[str]:
    """Yield what the previous release misses of an object that is there, in words that name it."""
    match was.facts, now.facts:
        case Column() as before, Column() as after:
            yield from (f"{now.identity} {why}" for why in _narrower_column(before, after, enums))
        case Enum(before), Enum(after):
            yield from (f"value {label} of the enum {now.full_name} is gone" for label in before if label not in after)
        case Domain() as before, Domain() as after:
            if _is_narrower_domain(before, after):
                yield f"{now.identity} is {now.definition} now, not {was.definition}"
        case Table() as before, Table() as after:
            if after.row_security and not before.row_security:
                yield f"{now.identity} shows and takes only the rows that its policies allow"
        case View(before), View(after):
            columns = dict(after)
            for column, type_ in before:
                if columns.get(column) != type_:
                    fault = "has another type in" if column in columns else "has lost"
                    yield f"{now.identity} {fault} the column {column}"


def _demanding(old: Objects, new: Objects) -> Iterator[Break]:
    for thing in (new[name] for name in sorted(new.keys() - old.keys())):
        table = identity("table", thing.place)
        must_be_given = isinstance(thing.facts, Column) and thing.facts.not_null and not thing.facts.gets_a_value
        if must_be_given and table in old and table in new:
            yield Break(thing.place, f"{thing.identity} is new and must be given a value")


def _narrower_column(old: Column, new: Column, enums: set[str]) -> Iterator[str]:
    if not holds(new.type, old.type) and not (
        old.type.removeprefix("public.") in enums and new.type in {"text", "character varying"}
    ):
        yield f"is {new.type} now, not {old.type}"
    if new.not_null and not old.not_null:
        yield "must be given a value now"
    elif new.not_null and old.gets_a_value and not new.gets_a_value:
        yield "has lost its default"
    if new.takes_no_value and not old.takes_no_value:
        yield "can no longer be given a value"


def _is_narrower_domain(old: Domain, new: Domain) -> bool:
    """Tell whether a domain takes less than before, or gives something else."""
    standing = {check.removesuffix(_NOT_VALID) for check in old.checks}
    rejects = any(check.removesuffix(_NOT_VALID) not in standing for check in new.checks)
    return rejects or bool(new.nullness and not old.nullness) or not holds(new.type, old.type)


_NUMBERS = ("smallint", "integer", "bigint", "numeric")
_WIDER = {("real", "double precision"), ("cidr", "inet")}
_SIZED = re.compile(r"(.+?)\((\d+)(?:,(-?\d+))?\)(.*)")


def holds(actual: str, needed: str) -> bool:
    """Tell whether a column of type `actual` takes and gives what code that was written for `needed` expects."""
    if actual == needed:
        return True
    if _base(needed) == _base(actual):
        return _size_holds(_size(actual), _size(needed), is_number=_base(actual) == "numeric")
    if _base(needed) in _NUMBERS[:3] and _base(actual) in _NUMBERS[:3]:
        return _NUMBERS.index(_base(actual)) > _NUMBERS.index(_base(needed))
    if actual == "text":
        return _base(needed) in {"character varying", "citext"}
    if _base(actual) == "character varying":
        return needed != "text" and _base(needed) == "character varying"
    return (needed, actual) in _WIDER


def _base(type_: str) -> str:
    match = _SIZED.fullmatch(type_)
    return f"{match[1]}{match[4]}" if match else type_


def _size(type_: str) -> tuple[int, int] | None:
    match = _SIZED.fullmatch(type_)
    return (int(match[2]), int(match[3] or 0)) if match else None


def _size_holds(actual: tuple[int, int] | None, needed: tuple[int, int] | None, *, is_number: bool) -> bool:
    if actual is None:
        return True
    if needed is None:
        return False
    if is_number:  # digits before the point, and behind it
        return actual[0] - actual[1] >= needed[0] - needed[1] and actual[1] >= needed[1]
    return actual[0] >= needed[0]


def _columns(objects: Objects, table: str) -> list[str]:
    return [thing.name for thing in objects.values() if thing.kind == "column" and thing.place == table]
