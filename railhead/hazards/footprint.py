"""What did a revision do, statement by statement?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from railhead.hazards.loss import Loss
from railhead.schema.catalog import Catalog

STRENGTH = (
    "AccessShareLock",
    "RowShareLock",
    "RowExclusiveLock",
    "ShareUpdateExclusiveLock",
    "ShareLock",
    "ShareRowExclusiveLock",
    "ExclusiveLock",
    "AccessExclusiveLock",
)
"""PostgreSQL's table locks, weakest first (https://www.postgresql.org/docs/current/explicit-locking.html)."""

BLOCKS_WRITES = STRENGTH.index("ShareLock")
"""From this one on, others cannot write."""

EXCLUSIVE = STRENGTH.index("AccessExclusiveLock")
"""Others can neither write nor read."""


class Statement(NamedTuple):
    """What one statement did. Tables are named only if they were there before the revision; a partition counts as its parent."""

    sql: str
    held: Mapping[str, int]
    """The strongest lock on each table when the statement had ended, as an index of STRENGTH."""
    taken: Mapping[str, int]
    """The strongest lock on each table that this statement took."""
    rewritten: tuple[str, ...]
    scanned: tuple[str, ...]
    indexed: tuple[tuple[str, str], ...]
    """Pairs of index and table."""
    foreign_keys: tuple[tuple[str, str], ...]
    """Pairs of validated constraint and table."""
    written: tuple[str, ...]
    """Tables whose rows it changes; rows that it adds one by one do not count."""
    emptied: tuple[str, ...]
    """Tables of which it takes rows away."""
    asked: tuple[str, ...]
    """Tables that it asks for rows and that had none: what is done with them was not seen."""
    outside: bool
    """Whether it ran outside the revision's transaction."""
    alone: bool
    """Whether it was a transaction of its own."""


class Footprint(NamedTuple):
    """What a revision did to a scratch database: forwards, backwards, and forwards again."""

    revision: str
    statements: tuple[Statement, ...]
    before: Catalog
    after: Catalog
    tables: tuple[str, ...]
    """The tables that were there before it."""
    undone: str | None
    """Why its downgrade does not give back what was before; None when it does."""
    repeated: str | None
    """Why it cannot run again from the top after a crash; None when it can, or when one transaction keeps it whole."""

    losses: tuple[Loss, ...] = ()
    """What it takes away from rows that are there."""

    @property
    def leaves(self) -> bool:
        """Tell whether the revision leaves its transaction."""
        return any(statement.outside for statement in self.statements)
