"""May a run touch this database? Asked once it has the lock, before anything is touched. Read-only."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from railhead.execution import unsealed
from railhead.execution.failure_report import FailureReport
from railhead.hazards import gate, loss, loss_counts, table_sizes
from railhead.history.graph import Revision
from railhead.history.planner import MigrationPlan
from railhead.settings import Settings


class Judge:
    """Knows what pending revisions do, and asks the database how much of what they would block or lose is there."""

    def __init__(
        self, plan: MigrationPlan, settings: Settings, report: FailureReport, lenient: Callable[[], bool]
    ) -> None:
        """`lenient` tells whether no run has ended well here yet, so that starting from nothing is a way out."""
        self._plan = plan
        self._settings = settings
        self._report = report
        self._lenient = lenient

    def assert_harmless(self, pending: Sequence[Revision], lines: gate.Sealed, place: str, *, empty: bool) -> None:
        """Raise Stop for what could not be mended after a crash, would block a large table, or lose what is there."""
        history, settings, action = self._plan.history, self._settings, self._plan.action
        weighs = action == "upgrade" and not empty
        if weighs:
            with gate.lenient_if(self._lenient):
                lines = unsealed.judged(pending, lines, history, settings, self._large_tables, place)
        gate.assert_repeatable(pending, lines, history, action, place, empty=empty, lenient=self._lenient)
        if action == "upgrade":
            gate.warn_of_unsealed(pending, lines, settings)
        if weighs:
            gate.warn_of_adopted(pending, lines, settings)
            with gate.lenient_if(self._lenient):
                gate.judge(pending, lines, history, settings, self._sizes, place, self._at_stake)

    def _sizes(self, tables: Sequence[str]) -> Mapping[str, float]:
        """Return the rows of these tables, asked on a connection whose locks are gone at once."""
        return self._report.asking(lambda connection: table_sizes.sizes_of(connection, tables))

    def _at_stake(self, losses: Sequence[loss.Loss]) -> Mapping[loss.Loss, str]:
        """Return of each loss how much is there."""
        return self._report.asking(lambda connection: loss_counts.at_stake(connection, losses))

    def _large_tables(self) -> Mapping[str, float]:
        """Return the tables that are large here, and their rows."""
        return self._report.asking(lambda connection: table_sizes.large_tables(connection, self._settings.large_table))
