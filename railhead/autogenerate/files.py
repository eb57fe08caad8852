"""Which file does a change belong into?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from alembic.operations import MigrateOperation

from railhead.autogenerate.render import Key

PREPARE, VALUES, CHANGE, FINISH = range(4)
"""The parts of the work, in order: what is taken away by verbs, new enum values, what stays in its transaction, what is
built and looked at by verbs."""


class ProposedChange(NamedTuple):
    """One step: how it goes forth and back."""

    part: int
    table: Key
    """What it is about; a type is a table here whose name begins with `type `."""
    forth: Sequence[MigrateOperation]
    back: Sequence[MigrateOperation]
    """In the order in which they run."""
    locks: bool = False
    """Whether it keeps everybody from an existing table until its transaction ends."""


class RevisionPart(NamedTuple):
    """What goes into one file."""

    ending: str
    """Of its id, when there are several files."""
    changes: list[ProposedChange]

    @property
    def tables(self) -> str:
        """Return what the docstring says of the tables."""
        names = dict.fromkeys(name for change in self.changes for _, name in [change.table])
        verbs = all(change.part in {PREPARE, FINISH} for change in self.changes)
        how = " (outside a transaction: safe to run again, and traffic goes on meanwhile)" if verbs else ""
        return ", ".join(names) + how


def parts(changes: Sequence[ProposedChange]) -> list[RevisionPart]:
    """Return one part for what each file may hold: verbs, or what one transaction does to one table in use."""
    groups: dict[Key | None, list[ProposedChange]] = {None: []}
    for change in changes:
        if change.part == CHANGE:
            place = change.table if change.locks else next(reversed(groups))
            groups.setdefault(place, []).append(change)
    first, *others = _joined(groups) or [[]]
    prepare, values, finish = (
        [change for change in changes if change.part == part] for part in (PREPARE, VALUES, FINISH)
    )
    if not first:
        prepare, finish = [], [*prepare, *finish]
    files = [
        RevisionPart("values", values),
        RevisionPart("prepare", prepare),
        RevisionPart("", first),
        *(RevisionPart(group[0].table[1], group) for group in others),
        RevisionPart("finish", finish),
    ]
    filled = [file for file in files if file.changes]
    return [filled[0]._replace(ending="")] if len(filled) == 1 else filled


def _joined(groups: dict[Key | None, list[ProposedChange]]) -> list[list[ProposedChange]]:
    """Return the groups with what locks nothing put before the first that does."""
    free, *locking = groups.values()
    if not locking:
        return [free] if free else []
    return [[*free, *locking[0]], *locking[1:]]
