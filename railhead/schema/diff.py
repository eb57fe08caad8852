"""What is different between two catalogs?"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from railhead.schema.catalog import Catalog, CatalogLine, split_identity

_BELONGINGS = {"column", "constraint", "index", "trigger", "rule", "policy"}
_RELATIONS = ("table", "view", "materialized view")
_PLURALS = {"index": "indexes", "policy": "policies"}
_CAST = re.compile(
    r'::(?:"(?:[^"]|"")*"\.|\w+\.)?'
    r'(?:character varying|bit varying|double precision|time(?:stamp)?(?:\(\d\))? with(?:out)? time zone|"(?:[^"]|"")*"|\w+)'
    r"(?:\(\d+(?:,\d+)?\))?(?:\[\])*|[()\s]"
)
"""A cast as PostgreSQL writes it, and the brackets and blanks that come and go with it."""


class Change(NamedTuple):
    """One difference between two catalogs: `added`, `removed` or `changed`."""

    kind: str
    object: str
    """What it is and its name, on one line: `column task.due_on`, `table archive.task` (the schema public is left out)."""
    before: str | None
    after: str | None
    parts: tuple[Change, ...] = ()
    """What came or went with it: the columns of a table, the same change in each partition."""
    was: CatalogLine = CatalogLine("")
    """What the catalog said before, taken apart; empty where it was not there."""
    now: CatalogLine = CatalogLine("")


def difference(before: Catalog | Iterable[str], after: Catalog | Iterable[str]) -> list[Change]:
    """Return what changed, sorted by object; nothing when the two are equal.

    A changed object is one change. What belongs to an added or removed table is part of that one change, and so is what
    partitions inherit of a change to their parent. Between servers of two major versions only the words that both use are
    compared.
    """
    one, other = _catalog(before), _catalog(after)
    if one.lines == other.lines:
        return []  # so most comparisons end, and to take apart a thousand tables' lines costs more than to read them
    portable = bool(one.server and other.server and one.server != other.server)
    changes, origins = _changes(_by_identity(one, portable=portable), _by_identity(other, portable=portable))
    return _gathered(changes, origins)


def _catalog(given: Catalog | Iterable[str]) -> Catalog:
    return given if isinstance(given, Catalog) else Catalog(tuple(given))


def _by_identity(catalog: Catalog, *, portable: bool) -> dict[str, CatalogLine]:
    lines = map(CatalogLine.parse, catalog.lines)
    return {line.identity: line._replace(here="") if portable else line for line in lines}


def _changes(before: dict[str, CatalogLine], after: dict[str, CatalogLine]) -> tuple[dict[str, Change], dict[str, str]]:
    """Return every line that differs, and the origin of each that has one; the origin itself is never a difference."""
    changes, origins = {}, {}
    for identity in sorted(before.keys() | after.keys()):
        old, new = before.get(identity), after.get(identity)
        if old and new and old.words() == new.words():
            continue
        kind = "added" if old is None else "removed" if new is None else "changed"
        was, now = old or CatalogLine(""), new or CatalogLine("")
        changes[identity] = Change(
            kind, identity, was.words() if old else None, now.words() if new else None, was=was, now=now
        )
        origins[identity] = (now if new else was).origin
    return changes, origins


def _gathered(changes: dict[str, Change], origins: dict[str, str]) -> list[Change]:
    """Return the changes that stand for themselves, each with the others as its parts."""
    parts: dict[str, list[Change]] = {}
    for change in changes.values():
        owner = _owner(change, changes, origins)
        if owner:
            parts.setdefault(owner, []).append(change)

    def whole(change: Change) -> Change:
        with_parts = change._replace(parts=tuple(whole(part) for part in parts.get(change.object, ())))
        return _summed_up(with_parts) if change.object.startswith("table ") else with_parts

    owned = {change.object for group in parts.values() for change in group}
    return [whole(change) for change in changes.values() if change.object not in owned]


def _owner(change: Change, changes: dict[str, Change], origins: dict[str, str]) -> str | None:
    """Return the object whose change says everything that this one would."""
    for container in _containers(change.object):
        around = changes.get(container)
        if around and around.kind == change.kind != "changed":
            return container
    origin = changes.get(origins[change.object])
    if origin and _same(change, origin):
        return origin.object
    return _retyped_column(change, changes)


def _containers(identity: str) -> list[str]:
    commented = identity.removeprefix("comment on ")
    if commented != identity:
        twin = commented.replace("index ", "constraint ", 1)  # the index of a constraint has its name
        return [commented, twin, *_containers(commented)]
    noun, place, _ = split_identity(identity)
    return [f"{relation} {place}" for relation in _RELATIONS] if noun in _BELONGINGS else []


def _retyped_column(change: Change, changes: dict[str, Change]) -> str | None:
    """Return the column whose new type gave other casts, and nothing else, to the index or constraint that changed."""
    noun, table, _ = split_identity(change.object)
    if change.kind != "changed" or noun not in {"index", "constraint"}:
        return None
    if _CAST.sub("", change.before or "") != _CAST.sub("", change.after or ""):
        return None
    for other in changes.values():
        if other.kind == "changed" and split_identity(other.object)[:2] == ("column", table):
            return other.object
    return None


def _same(change: Change, origin: Change) -> bool:
    """Tell whether `change` is what `origin` did to a partition: the same words came and went."""
    if change.kind != origin.kind:
        return False
    return change.kind != "changed" or _moved(change) <= _moved(origin)


def _moved(change: Change) -> Counter[str]:
    before, after = Counter((change.before or "").split()), Counter((change.after or "").split())
    return Counter({f"-{word}": count for word, count in (before - after).items()}) + Counter(
        {f"+{word}": count for word, count in (after - before).items()}
    )


def _summed_up(change: Change) -> Change:
    """Return the change of a table with its columns, and the number of its other parts, in its words."""
    if change.kind == "changed" or not change.parts:
        return change
    columns, others = [], Counter[str]()
    for part in change.parts:
        noun, _, name = part.object.partition(" ")
        if noun == "column":
            columns.append(f"{name[len(change.object) - len('table ') + 1 :]} {part.before or part.after}")
        elif noun != "comment":
            others[noun] += 1
    counted = [f"{count} {noun if count == 1 else _PLURALS.get(noun, f'{noun}s')}" for noun, count in others.items()]
    told = (change.before or change.after or "", ", ".join(columns) or "no columns", ", ".join(counted))
    words = "; ".join(filter(None, told))
    return change._replace(before=words) if change.kind == "removed" else change._replace(after=words)
