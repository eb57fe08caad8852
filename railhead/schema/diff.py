"""What is different between two catalogs?"""

from __future__ import annotations

import re
from collections import Counter
from typing import NamedTuple

from railhead.schema.catalog import Catalog
from railhead.schema.objects import COMMENT, RELATIONS, CatalogObject, Column, Constraint, Index, escaped, identity

_PLURALS = {"index": "indexes", "policy": "policies"}
_CAST = re.compile(
    r"(?P<text>'(?:[^']|'')*')"
    r'|::(?:"(?:[^"]|"")*"\.|\w+\.)?'
    r'(?:character varying|bit varying|double precision|time(?:stamp)?(?:\(\d\))? with(?:out)? time zone|"(?:[^"]|"")*"|\w+)'
    r"(?:\(\d+(?:,\d+)?\))?(?:\[\])*|[()\s]"
)
"""A cast as PostgreSQL writes it, and the brackets and blanks that come and go with it; none of them in a text."""


class Change(NamedTuple):
    """One difference between two catalogs: `added`, `removed` or `changed`."""

    kind: str
    object: str
    """What it is and its name, on one line: `column task.due_on`, `table archive.task` (the schema public is left out)."""
    before: str | None
    after: str | None
    parts: tuple[Change, ...] = ()
    """What came or went with it: the columns of a table, the same change in each partition."""
    was: CatalogObject | None = None
    """What the catalog said before; None where it was not there."""
    now: CatalogObject | None = None

    @property
    def thing(self) -> CatalogObject:
        """Return what it is about, as it is now or as it was last."""
        thing = self.now or self.was
        assert thing
        return thing


def difference(before: Catalog, after: Catalog) -> list[Change]:
    """Return what changed, sorted by object; nothing when the two are equal.

    A changed object is one change. What belongs to an added or removed table is part of that one change, and so is what
    partitions inherit of a change to their parent. Between servers of two major versions only the words that both use are
    compared.
    """
    if before.lines == after.lines:
        return []  # so most comparisons end
    common = set(before.lines).intersection(after.lines)  # nearly all; the others alone are looked at
    portable = bool(before.server and after.server and before.server != after.server)
    changes = _changes(_differing(before, common, portable=portable), _differing(after, common, portable=portable))
    return _gathered(changes)


def _differing(catalog: Catalog, common: set[str], *, portable: bool) -> dict[str, CatalogObject]:
    objects = (catalog.object_of(line) for line in catalog.lines if line not in common)
    return {thing.identity: thing._replace(here="") if portable else thing for thing in objects}


def _changes(before: dict[str, CatalogObject], after: dict[str, CatalogObject]) -> dict[str, Change]:
    """Return every object that differs; the origin of one is never a difference."""
    changes = {}
    for name in sorted(before.keys() | after.keys()):
        was, now = before.get(name), after.get(name)
        if was and now and was.words == now.words:
            continue
        kind = "added" if was is None else "removed" if now is None else "changed"
        changes[name] = Change(kind, name, was and was.words, now and now.words, was=was, now=now)
    return changes


def _gathered(changes: dict[str, Change]) -> list[Change]:
    """Return the changes that stand for themselves, each with the others as its parts."""
    parts: dict[str, list[Change]] = {}
    for change in changes.values():
        owner = _owner(change, changes)
        if owner:
            parts.setdefault(owner, []).append(change)

    def whole(change: Change) -> Change:
        with_parts = change._replace(parts=tuple(whole(part) for part in parts.get(change.object, ())))
        return _summed_up(with_parts) if change.thing.kind == "table" else with_parts

    owned = {change.object for group in parts.values() for change in group}
    return [whole(change) for change in changes.values() if change.object not in owned]


def _owner(change: Change, changes: dict[str, Change]) -> str | None:
    """Return the object whose change says everything that this one would."""
    for container in _containers(change.thing):
        around = changes.get(container)
        if around and around.kind == change.kind != "changed":
            return container
    origin = changes.get(change.thing.origin)
    if origin and _same(change, origin):
        return origin.object
    return _retyped_column(change, changes)


def _containers(thing: CatalogObject) -> list[str]:
    """Return the identities of what it comes and goes with."""
    noun = thing.kind.removeprefix(COMMENT)
    commented = [noun, *(["constraint"] if noun == "index" else [])]  # the index of a constraint has its name
    containers = [identity(kind, thing.full_name) for kind in commented] if noun != thing.kind else []
    return containers + ([identity(kind, thing.place) for kind in RELATIONS] if thing.table else [])


def _retyped_column(change: Change, changes: dict[str, Change]) -> str | None:
    """Return the column whose new type gave other casts, and nothing else, to the index or constraint that changed."""
    if change.kind != "changed" or not isinstance(change.thing.facts, Index | Constraint):
        return None
    if _without_casts(change.before or "") != _without_casts(change.after or ""):
        return None
    for column in changes.values():
        was, now = (column.was and column.was.facts), (column.now and column.now.facts)
        is_retyped = isinstance(was, Column) and isinstance(now, Column) and was.type != now.type
        if is_retyped and column.thing.place == change.thing.place:
            return column.object
    return None


def _without_casts(words: str) -> str:
    return _CAST.sub(lambda match: match["text"] or "", words)


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
        if part.thing.kind == "column":
            columns.append(f"{escaped(part.thing.name)} {part.before or part.after}")
        elif not part.thing.kind.startswith(COMMENT):
            others[part.thing.kind] += 1
    counted = [f"{count} {noun if count == 1 else _PLURALS.get(noun, f'{noun}s')}" for noun, count in others.items()]
    texts = (change.before or change.after or "", ", ".join(columns) or "no columns", ", ".join(counted))
    words = "; ".join(filter(None, texts))
    return change._replace(before=words) if change.kind == "removed" else change._replace(after=words)
