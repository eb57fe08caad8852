"""Is the schema what models.py and the ledger say?

Three answers, kept apart: what somebody changed outside the migrations, where models.py is ahead of them, and what an older
release misses on a newer schema. Never changes anything.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple, Self

from psycopg2.extensions import connection as Driver

from railhead.autogenerate.model_diff import Difference
from railhead.schema import catalog, diff, undo_sql
from railhead.schema.catalog import Catalog
from railhead.schema.diff import Change
from railhead.schema.ownership import Ownership
from railhead.state import ledger

MEND_OUTSIDE = "it was changed outside the migrations: what mends that is told there"


class Drift(NamedTuple):
    """The two answers, apart; None where there is nothing to compare with."""

    outside: list[Difference] | None
    """What changed outside the migrations since the last run; None when no run has kept a catalog."""
    models: list[Difference] | None
    """Where models.py is ahead of the migrations; None when the database is not at head."""
    left_alone: tuple[str, ...] = ()
    """What is not ours: tables, and whatever else came or changed, that no revision makes and no model knows."""

    @classmethod
    def of(
        cls, outside: list[Difference] | None, models: list[Difference] | None, left_alone: Iterable[str] = ()
    ) -> Self:
        """Return both; what was changed outside is no reason for a revision, though models.py differs from it as well."""
        elsewhere = {difference.object for difference in outside or ()}
        named = models and [
            difference._replace(mend=MEND_OUTSIDE) if difference.object in elsewhere else difference
            for difference in models
        ]
        return cls(outside, named, tuple(left_alone))

    @property
    def is_there(self) -> bool:
        """Tell whether either answer names a difference."""
        return bool(self.outside or self.models)

    def record(self) -> dict[str, object]:
        """Return it for JSON."""
        halves = {"outside": self.outside, "models": self.models}
        shown = {
            half: None if differences is None else [difference._asdict() for difference in differences]
            for half, differences in halves.items()
        }
        return {**shown, **({"left_alone": list(self.left_alone)} if self.left_alone else {})}


def sort_out(differences: list[Difference] | None, owners: Ownership) -> tuple[list[Difference] | None, list[str]]:
    """Return the differences that are for us to mend, and the names of what is somebody else's."""
    others = [
        difference
        for difference in differences or ()
        if (owners.is_certain or difference.kind == "added") and not owners.owns(difference.object)
    ]
    tables = [f"table {name}" for name in owners.left_alone()] if owners.is_certain else []
    named = [
        difference.object if difference.kind == "added" else f"{difference.object} {difference.kind}"
        for difference in others
    ]
    ours = differences and [difference for difference in differences if difference not in others]
    return ours, list({name.replace('"', ""): name for name in (*tables, *named)}.values())  # the catalog writes quotes


def outside(connection: Driver, now: Catalog | None = None) -> list[Difference] | None:
    """Return what changed in the schema since the last run, outside the migrations. Read-only.

    None when no run has kept a catalog to compare with. `now` is the schema, when it was just read.
    """
    return since(ledger.last_catalog(connection), connection, now)


def since(kept: str | None, connection: Driver, now: Catalog | None = None) -> list[Difference] | None:
    """Return what is not as in the catalog that was `kept`; None when there is none to compare with. Read-only."""
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
