"""What happens in one run, from the first look to the verification?

Find the database, take the lock, look again, carry out, retry, verify. Says "done" only after it has seen it done, from
outside, through every URL that is set.
"""

from __future__ import annotations

import time
from typing import NamedTuple

import psycopg2
from psycopg2.extensions import connection as Connection
from sqlalchemy.exc import DBAPIError

from railhead import nesting
from railhead.diagnosis import messages, refusals
from railhead.errors import NobodyAnswers, Stop
from railhead.execution import exclusive, step_failure, verification
from railhead.execution.arrival import Arrival
from railhead.execution.attempts import Lost
from railhead.execution.locked_run import LockedRun
from railhead.execution.retry_policy import Cause, StepFailed, Then
from railhead.execution.run_context import RunContext
from railhead.history import alembic_quirks
from railhead.history.planner import MigrationPlan
from railhead.logs import log
from railhead.postgres import blockers, failures
from railhead.postgres.advisory_lock import Lock, LockLost
from railhead.postgres.connection import knows_transactions, reach
from railhead.postgres.interrupts import at_most, watching
from railhead.postgres.retry_budget import Allowance
from railhead.settings import Settings
from railhead.state import inspection
from railhead.state.inspection import Snapshot
from railhead.state.status import Models

_KEPT_FROM_LOOKING = "what was committed is committed; alembic_version or the ledger could not be read"
_REFUSALS = (psycopg2.Error, DBAPIError, LockLost)
_PROBED = 2
"""After so many losses it is tried whether a transaction can be begun there at all."""


class Outcome(NamedTuple):
    """What a run did. `waited` and `duration` are seconds."""

    action: str
    before: tuple[str, ...]
    after: tuple[str, ...]
    applied: tuple[str, ...]
    waited: float
    duration: float

    def __str__(self) -> str:
        place = ", ".join(self.after) or "base"
        if not self.applied:
            return f"{self.action}: nothing to do, the database is at {place}"
        count = f"{len(self.applied)} revision{'' if len(self.applied) == 1 else 's'}"
        waited = f", of which {self.waited:.1f} s waiting" if self.waited >= 0.05 else ""
        return f"{self.action}: {count}, the database is at {place} ({self.duration:.2f} s{waited})"


class MigrationRun:
    """One run, from the first look to the verification."""

    def __init__(self, plan: MigrationPlan, settings: Settings, models: Models) -> None:
        self._context = RunContext.of(plan, settings)
        self._plan = plan
        self._settings = settings
        self._report = self._context.report
        self._arrival = Arrival(plan, models, self._report)
        self._started = time.monotonic()
        self._allowance = Allowance(settings.wait_database, "MIGRATE_WAIT_DATABASE")

    def tell(self) -> Outcome:
        """Carry the plan out, again from the start as long as connections are lost and the budget allows. Changes the schema.

        Raises Stop or Interrupted.
        """
        project, changes = self._settings.project, self._context.changes
        if nesting.is_migrating() or nesting.is_started_by_revision(self._settings.migrations.dsn.name):
            raise refusals.nested(nesting.caller(project.versions), self._plan.action)
        with watching(), at_most(self._context.budget.answer_timeout), alembic_quirks.keeping_context():
            while True:
                try:
                    return self._once()
                except Lost as lost:
                    self._survive(lost)
                except Stop as stop:
                    if stop.database.startswith("unchanged") and changes:
                        raise stop.after(str(changes)) from stop
                    raise

    def _once(self) -> Outcome:
        connection = self._reach()
        lock = Lock(connection)
        try:
            is_needed = exclusive.take(lock, self._context.budget, self._look, self._plan.action)
            versions = LockedRun(self._context, self._arrival, lock, self._allowance).carry_out() if is_needed else None
            return self._verified(versions)
        except _REFUSALS as error:
            failure = step_failure.while_looking(error, self._report, self._context.silence.seconds)
            if not failure.is_of_connection:
                raise self._report.refused(error) from error
            connection.close()
            raise Lost(failure, self._context.decide(failure)) from error
        except Lost:
            connection.close()  # without a ROLLBACK, whose answer might never come
            raise
        finally:
            lock.release()

    def _reach(self) -> Connection:
        """Return the connection for the lock. Once one was lost, the time that this takes is spent of the budget."""
        began = time.monotonic()
        losses, budget = self._context.losses, self._context.budget
        try:
            return reach(self._settings.migrations, self._plan.action, self._allowance)
        except Stop as stop:
            if not losses:
                raise
            if isinstance(stop, NobodyAnswers):
                raise self._connection_lost(dict(stop.facts)["PostgreSQL"]) from stop
            raise stop.replaced(database=messages.NOBODY_ANSWERS) from stop
        finally:
            self._context.silence.end()
            if losses:
                budget.spend(time.monotonic() - began)

    def _look(self, connection: Connection) -> Snapshot | None:
        """Return where the database is, None when nothing is left to do. Read-only. Raises Stop."""
        snapshot = inspection.snapshot(connection, self._settings.project.version_table)
        self._context.silence.end()
        self._report.note_first_look(snapshot)
        return None if self._arrival.is_reached(connection, snapshot) else snapshot

    def _survive(self, lost: Lost) -> None:
        """Return when the run may begin anew; raise Stop when the budget is spent."""
        failure, decision, budget = lost.failure, lost.decision, self._context.budget
        self._context.losses.count(failure.revision)
        words = _words(failure)
        address = self._settings.migrations
        if self._context.losses.total == _PROBED and not knows_transactions(address, self._plan.action):
            raise messages.statement_pooling(address, "unchanged") from failure.error
        if decision.then is Then.GIVE_UP:
            time.sleep(decision.pause)
            raise self._given_up(failure, words) from failure.error
        lapse = f"this process stood still for {failure.lapse:.0f} s: " if failure.lapse else ""
        log.warning("%s%s; connecting again and looking where the database is", lapse, words)
        budget.rest(failure.silence, decision.pause)
        self._allowance = Allowance(budget.left, "MIGRATE_WAIT_LOCK")

    def _given_up(self, failure: StepFailed, words: str) -> Stop:
        if failure.cause is not Cause.LOCK_MISSED:
            return self._connection_lost(words)
        owners = self._report.asking(lambda connection: blockers.find_blockers(connection, blockers.OWNERS_OF_TABLES))
        return messages.table_busy(failure.error, None, _KEPT_FROM_LOOKING, self._context.waited, owners)

    def _connection_lost(self, words: str) -> Stop:
        losses = self._context.losses
        return messages.connection_lost(losses.latest, words, losses.total, self._context.waited)

    def _verified(self, versions: frozenset[str] | None) -> Outcome:
        """Look from outside, through every URL there is, that it is really done: the database is at `versions`, or has arrived."""
        self._context.silence.end()
        places = verification.look(self._settings, self._plan.action, self._context.run, self._allowance, self._report)
        place = places[0].look
        is_there = self._arrival.is_at(place.versions) if versions is None else frozenset(place.versions) == versions
        if not is_there:
            raise messages.not_verified(", ".join(sorted(versions or ())) or self._plan.target, place.place)
        verification.assert_written(places[0], self._context.changes.done)
        verification.assert_same(places, self._settings)
        return Outcome(
            self._plan.action,
            self._report.before or (),
            place.versions,
            places[0].applied,
            self._context.budget.spent,
            time.monotonic() - self._started,
        )


def _words(failure: StepFailed) -> str:
    if failure.cause is Cause.LOCK_LOST:
        return "the migration lock was lost"
    return failures.server_words(messages.cause(failure.error))
