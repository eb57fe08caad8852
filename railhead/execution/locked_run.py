"""What does a run do while it has the migration lock?

Looks again, takes over or begins what has no version, refuses what would hurt, and carries out the steps.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache

from psycopg2.extensions import connection as Connection

from railhead import nesting
from railhead.errors import Stop
from railhead.execution import adoption, confirmation
from railhead.execution.arrival import UNMANAGED, Arrival
from railhead.execution.attempts import Attempts
from railhead.execution.executor import Executor
from railhead.execution.judge import Judge
from railhead.execution.retry_policy import Mode
from railhead.execution.run_context import RunContext
from railhead.hazards import gate
from railhead.history.planner import MigrationStep
from railhead.logs import log
from railhead.postgres import interrupts
from railhead.postgres.advisory_lock import Lock
from railhead.postgres.interrupts import Interrupted
from railhead.postgres.retry_budget import Allowance
from railhead.schema.ownership import few
from railhead.state import inspection, ledger, status
from railhead.state.inspection import Snapshot


class LockedRun:
    """The part of a run for which it must be alone."""

    def __init__(self, context: RunContext, arrival: Arrival, lock: Lock, allowance: Allowance) -> None:
        """`allowance` is how long the other URL's database may keep us waiting."""
        self._context = context
        self._plan = context.plan
        self._report = context.report
        self._arrival = arrival
        self._lock = lock
        self._allowance = allowance

    def carry_out(self) -> frozenset[str]:
        """Do what is to be done and return the versions that the database must have then. Changes the schema, writes the ledger."""
        with self._lock.looking() as connection:
            snapshot = inspection.snapshot(connection, self._context.settings.project.version_table)
            is_reached = self._arrival.is_reached(connection, snapshot)
        if is_reached:
            return frozenset(snapshot.versions)
        status.assert_one_database(self._context.settings, allowance=self._allowance)
        if self._plan.action == "upgrade" and inspection.state(snapshot, self._plan.history) in UNMANAGED:
            self._take_over(snapshot)
            return self.carry_out()
        others = snapshot.tables if self._plan.action == "upgrade" and not snapshot.taken_back else ()
        if others:
            log.info("left alone, because no revision and no model names them: %s", few(others))
        steps = self._plan.steps(() if self._plan.purge else snapshot.versions)
        if self._is_to_begin(snapshot, steps):
            self._begin()
            return self.carry_out()
        return self._move(snapshot, steps, has_others=bool(others))

    def _take_over(self, snapshot: Snapshot) -> None:
        settings, history = self._context.settings, self._plan.history
        self._context.changes.taken_over = self._report.asking(
            lambda connection: adoption.take_over(connection, self._lock, settings, history, snapshot)
        )

    def _is_to_begin(self, snapshot: Snapshot, steps: Sequence[MigrationStep]) -> bool:
        """Tell whether this database begins with the baseline of the history: it has nothing of ours, and the plan leads past it."""
        first = self._plan.history.origin.baseline
        is_new = not (snapshot.versions or (snapshot.has_tables and snapshot.taken_back))
        leads_past = first is not None and any(step.revision == first for step in steps)
        return self._plan.action == "upgrade" and is_new and leads_past

    def _begin(self) -> None:
        run, history = self._context.run, self._plan.history
        self._report.asking(lambda connection: adoption.begin(connection, self._lock, run, history))
        self._context.changes.is_fresh = True

    def _move(self, snapshot: Snapshot, steps: Sequence[MigrationStep], *, has_others: bool) -> frozenset[str]:
        """Judge the steps and take them; `has_others`: there are tables of somebody else's, and none of ours."""
        by_id = self._plan.history.by_id
        pending = [by_id[step.revision] for step in steps if step.revision in by_id]
        sealed = gate.sealed(self._plan.history.project, pending)
        is_empty = self._context.changes.is_fresh or not (snapshot.has_tables or snapshot.versions)
        is_together = self._plan.action == "stamp" or is_empty
        lenient = cache(lambda: is_together or has_others or (snapshot.has_ledger and self._never_arrived()))
        if self._plan.action != "stamp":
            judge = Judge(self._plan, self._context.settings, self._report, lenient)
            try:
                judge.assert_harmless(pending, sealed, snapshot.place, empty=is_empty or has_others)
            except Stop as stop:
                self._report.note_refusal(stop, snapshot)
                raise
        self._tell_of_pooler()
        if not snapshot.has_ledger:
            self._report.asking(_make_ledger)
        return self._execute(Mode.TOGETHER if is_together else Mode.EACH, sealed, lenient)

    def _execute(self, mode: Mode, sealed: gate.Sealed, lenient: Callable[[], bool]) -> frozenset[str]:
        settings, changes = self._context.settings, self._context.changes
        executor = Executor(
            self._plan, sealed, settings, self._lock, self._context.budget, self._context.run, lenient=lenient
        )
        with nesting.running(settings.migrations.dsn.name), executor:
            try:
                versions = Attempts(self._context, executor).until_done(mode)
            except Interrupted as interrupted:
                self._tell(interrupted, executor)
                raise
            finally:
                changes.done += executor.headway.done
        self._context.silence.end()
        self._report.keep_catalog()
        if changes.done and (self._lock.replicated or executor.monitor.replicating):
            limit = min(confirmation.WITHIN, self._context.budget.left)
            self._report.asking(lambda connection: confirmation.wait(connection, changes.done, limit))
        return versions

    def _tell(self, interrupted: Interrupted, executor: Executor) -> None:
        """Let the signal say what stays behind, and what nobody has confirmed."""
        headway, settings = executor.headway, self._context.settings
        if executor.guard.left and headway.current:
            interrupted.half_done = headway.current.revision
        if executor.monitor.replicating and headway.under_way:
            interrupted.unconfirmed = tuple(dict.fromkeys((*headway.done, *headway.under_way)))
        elif self._lock.has_replicas:
            confirmation.tell(interrupted, headway, settings.migrations, settings.project.version_table)

    def _never_arrived(self) -> bool:
        return self._report.asking(ledger.never_arrived)

    def _tell_of_pooler(self) -> None:
        if self._lock.pooled:
            log.warning(
                "a pooler stands between us and the database (%s); set MIGRATE_DATABASE_URL to a direct connection",
                self._context.settings.migrate_variable,
            )


def _make_ledger(connection: Connection) -> None:
    with interrupts.limit(connection, interrupts.ANSWER_TIMEOUT):
        ledger.create(connection)
