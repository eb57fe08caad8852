"""What is proposed that Alembic has no operation for?

Comparators put these beside Alembic's own; `check` and `drift` tell them, and files hold what they become.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import sqlalchemy as sa
from alembic.operations import MigrateOperation

BEFORE, WITHIN, AFTER = range(3)
"""When a statement's turn is: before what needs it, among the changes, or behind what it needs."""


class Statement(MigrateOperation):
    """Something that plain SQL does in its transaction, there and back."""

    def __init__(
        self,
        thing: str,
        kind: str,
        forth: Sequence[str],
        back: Sequence[str],
        *,
        place: tuple[str | None, str],
        when: int = WITHIN,
        remarks: Sequence[str] = (),
        shape: tuple[str, str] = ("there", "not there"),
        locks: bool = True,
    ) -> None:
        """Keep it. `thing` and `kind` are drift's words, `place` the table, `shape` what the models have and what there is."""
        self.thing = thing
        self.kind = kind
        self.forth = list(forth)
        self.back = list(back)
        self.schema, self.table_name = place
        self.when = when
        self.remarks = list(remarks)
        self.shape = shape
        self.locks = locks

    def reverse(self) -> Statement:
        """Return the way back."""
        return Statement(
            self.thing,
            {"added": "removed", "removed": "added"}.get(self.kind, self.kind),
            self.back,
            self.forth,
            place=(self.schema, self.table_name),
            when=self.when,
            shape=self.shape[::-1],
            locks=self.locks,
        )

    def to_diff_tuple(self) -> tuple[str, ...]:
        """Return what `alembic check` prints."""
        return (f"{self.thing} {self.kind}", *self.forth)


class KeyShape(NamedTuple):
    """A primary key."""

    name: str
    columns: tuple[str, ...]

    def __str__(self) -> str:
        return f"primary key ({', '.join(self.columns)})"


class ChangePrimaryKey(MigrateOperation):
    """A table gets a primary key, another one, or loses it."""

    def __init__(
        self,
        place: tuple[str | None, str],
        old: KeyShape | None,
        new: KeyShape | None,
        needed_by: Sequence[str] = (),
    ) -> None:
        """Keep it; `needed_by` are the foreign keys that lean on the old one."""
        self.schema, self.table_name = place
        self.old = old
        self.new = new
        self.name = old.name if old else new.name if new else ""
        self.needed_by = needed_by

    def reverse(self) -> ChangePrimaryKey:
        """Return the way back."""
        return ChangePrimaryKey((self.schema, self.table_name), self.new, self.old)

    def to_diff_tuple(self) -> tuple[str, ...]:
        """Return what `alembic check` prints."""
        return ("change_primary_key", self.table_name, f"{self.old} to {self.new}")


class Serial(sa.DefaultClause):
    """The default of a column that takes its numbers from a sequence of its own."""

    def __init__(self, sequence: str) -> None:
        """Keep the sequence, as SQL names it."""
        quoted = sequence.replace("'", "''")
        super().__init__(sa.text(f"nextval('{quoted}'::regclass)"))
        self.sequence = sequence
