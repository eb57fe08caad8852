"""Is the schema what models.py and the ledger say?

Three answers, kept apart: what somebody changed outside the migrations, where models.py is ahead of them, and what an older
release misses on a newer schema. Never changes anything.
"""

from __future__ import annotations

from typing import NamedTuple, Self

from psycopg2.extensions import connection as Driver

from railhead.autogenerate.model_diff import Difference
from railhead.schema import catalog, diff, undo_sql
from railhead.schema.catalog import Catalog
from railhead.schema.diff import Change
from railhead.state import ledger

MEND_OUTSIDE = "it was changed outside the migrations: what mends that is told there"


class Drift(NamedTuple):
    """The two answers, apart; None where there is nothing to compare with."""

    outside: list[Difference] | None
    """What changed outside the migrations since the last run; None when no run has kept a catalog."""
    models: list[Difference] | None
    """Where models.py is ahead of the migrations; None when the database is not at head."""

    @classmethod
    def of(cls, outside: list[Difference] | None, models: list[Difference] | None) -> Self:
        """Return both; what was changed outside is no reason for a revision, though models.py differs from it as well."""
        elsewhere = {one.object for one in outside or ()}
        told = models and [one._replace(mend=MEND_OUTSIDE) if one.object in elsewhere else one for one in models]
        return cls(outside, told)

    @property
    def is_there(self) -> bool:
        """Tell whether either answer names a difference."""
        return bool(self.outside or self.models)

    def record(self) -> dict[str, object]:
        """Return it for JSON."""
        return {
            half: None if differences is None else [one._asdict() for one in differences]
            for half, differences in self._asdict().items()
        }


def outside(connection: Driver, now: Catalog | None = None) -> list[Difference] | None:
    """Return what changed in the schema since the last run, outside the migrations. Read-only.

    None when no run has kept a catalog to compare with. `now` is the schema, when it was just read.
    """
    kept = ledger.last_catalog(connection)
    if kept is None:
        return None
    try:
        before = Catalog.from_text(kept)
    except ValueError:
        return None
    if before.format != catalog.FORMAT:
        return None
    return [_outside(change) for change in diff.difference(before, now or catalog.read(connection))]


def _outside(change: Change) -> Difference:
    return Difference(
        object=change.object,
        kind=change.kind,
        expected=change.before or "not there",
        found=change.after or "not there",
        mend=undo_sql.mend(change),
    )
