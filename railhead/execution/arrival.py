"""Is the database where a command leads, and may the command move it? Read-only."""

from __future__ import annotations

from collections.abc import Iterable

from psycopg2.extensions import connection as Connection

from railhead.diagnosis import messages
from railhead.execution.failure_report import FailureReport
from railhead.history.errors import unknown_version
from railhead.history.planner import MigrationPlan
from railhead.logs import log
from railhead.schema import requirements
from railhead.state import inspection, ledger
from railhead.state.inspection import Snapshot
from railhead.state.status import Models

UNMANAGED = {"unmanaged", "fallback"}


class Arrival:
    """Knows where a plan leads."""

    def __init__(self, plan: MigrationPlan, models: Models, report: FailureReport) -> None:
        self._plan = plan
        self._models = models
        self._report = report
        self._is_ahead = False
        """Whether a newer release has brought the database further, and this one can work with that."""

    def is_reached(self, connection: Connection, snapshot: Snapshot) -> bool:
        """Tell whether nothing is left to do. Raises Stop when the database is where this command must not touch it."""
        plan = self._plan
        if plan.moved_elsewhere(snapshot.versions):
            raise messages.moved(plan.target, ", ".join(self._report.before or ()) or "base", snapshot.place)
        if plan.problem:
            raise plan.problem
        if plan.purge:
            return False  # `stamp --purge` is how somebody says that what alembic_version holds does not count
        newer = inspection.on_top(connection, snapshot, plan.history)
        state = inspection.state(snapshot, plan.history, newer)
        if state == "unknown" or (newer and plan.action != "upgrade"):
            history, versions = plan.history, snapshot.versions
            ours = [version for version in versions if version in history.by_id]
            raise unknown_version(versions, history.heads, history.redundant(versions), ours)
        if plan.action == "upgrade" and state in UNMANAGED:
            return False
        self._is_ahead = bool(newer)
        if newer:
            self._assert_served(connection, newer, snapshot)
        return self.is_at(snapshot.versions)

    def is_at(self, versions: Iterable[str]) -> bool:
        """Tell whether a database at `versions`, which may be ahead as it was when we looked, has arrived."""
        return self._is_ahead or not self._plan.steps(versions)

    def _assert_served(self, connection: Connection, newer: tuple[str, ...], snapshot: Snapshot) -> None:
        """Raise Stop unless this older release finds all that its models need on the newer schema."""
        unmet = requirements.unmet(self._models(), connection)
        if unmet:
            raise messages.ahead(newer, unmet, ledger.release_of(connection, newer[-1]), snapshot.place)
        log.warning(
            "the database is ahead of this release by %s; all that its models need is still there", ", ".join(newer)
        )
