"""What is the ledger told of a step?"""

from __future__ import annotations

import time
from collections.abc import Mapping

from railhead.history.checksum import checksum_of
from railhead.history.manifest import SealedRevision
from railhead.history.planner import MigrationPlan, MigrationStep
from railhead.postgres.retry_budget import RetryBudget
from railhead.state import ledger


class StepRows:
    """Makes the rows of one run, whose steps are those of a plan."""

    def __init__(self, way: MigrationPlan, sealed: Mapping[str, SealedRevision], patience: RetryBudget) -> None:
        self._way = way
        self._sealed = sealed
        self._patience = patience

    def row(self, step: MigrationStep, began: float, duration: float, attempts: int) -> ledger.NewRow:
        """Return what is known of a step that `began` then and took that many seconds, in this attempt."""
        return ledger.NewRow(
            revision=step.revision,
            parent=step.parent,
            checksum=self.checksum(step),
            breaking=self._breaking(step),
            ago=time.monotonic() - began,
            duration=duration,
            waited=self._patience.spent,
            attempts=attempts,
        )

    def checksum(self, step: MigrationStep) -> str | None:
        """Return what a step's file means, in one word."""
        entry = self._sealed.get(step.revision)
        if entry is not None:
            return entry.checksum
        return checksum_of(step.path) if step.path else None

    def _breaking(self, step: MigrationStep) -> bool | None:
        revision = self._way.history.by_id.get(step.revision)
        return revision.is_breaking(self._sealed.get(step.revision)) if revision else None
