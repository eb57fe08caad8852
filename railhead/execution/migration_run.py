"""What happens in one run, from the first look to the verification?

Find the database, take the lock, look again, carry out, retry, verify. Says "done" only after it has seen it done, from
outside, through every URL that is set. Retries only what was rolled back as a whole, or what is safe to run again, and
only as long as there is patience.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import psycopg2
from psycopg2.extensions import connection as Connection
from sqlalchemy.exc import DBAPIError

from railhead import nesting
from railhead.diagnosis import messages, refusals
from railhead.errors import NobodyAnswers, Stop
from railhead.execution import adoption, confirmation, retry_policy, verification
from railhead.execution.executor import Executor
from railhead.execution.failure_report import FailureReport
from railhead.execution.judge import Judge
from railhead.hazards import gate
from railhead.history import alembic_quirks
from railhead.history.errors import unknown_version
from railhead.history.planner import MigrationPlan, MigrationStep
from railhead.logs import log
from railhead.postgres import advisory_lock, blockers, failures, interrupts
from railhead.postgres.advisory_lock import Lock, LockLost
from railhead.postgres.connection import SHORTEST_ATTEMPT, reach
from railhead.postgres.interrupts import Interrupted, at_most, watching
from railhead.postgres.retry_budget import Allowance, RetryBudget
from railhead.schema import requirements
from railhead.schema.ownership import few
from railhead.settings import Settings
from railhead.state import inspection, ledger, status
from railhead.state.inspection import Snapshot
from railhead.state.status import Models

MOST_LOSSES = 5
"""How often one revision may lose its connection before we stop: it may be what brings the server down."""

_SECONDS_TO_TELL = 5.0
_KEPT_FROM_LOOKING = "what was committed is committed; alembic_version or the ledger could not be read"
UNMANAGED = {"unmanaged", "fallback"}
_REFUSALS = (psycopg2.Error, DBAPIError, LockLost)


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

    def __init__(self, way: MigrationPlan, settings: Settings, models: Models) -> None:
        self.way = way
        self.models = models
        self.ahead = False
        self.fresh = False
        """Whether this run found the database empty and has begun it with the baseline."""
        self.settings = settings
        self.patience = RetryBudget(settings.wait_lock, settings.lock_timeout)
        self.run = ledger.new_run(way.action, settings)
        self.account = FailureReport(way, settings, self.run)
        self.started = time.monotonic()
        self.done: list[str] = []
        """The revisions that were committed, as far as we know: the answer to a COMMIT may be lost."""
        self.taken_over: str | None = None
        """The revision that this run has found an unmanaged database at."""
        self.allowance = Allowance(settings.wait_database, "MIGRATE_WAIT_DATABASE")
        self.losses: dict[str | None, int] = {}
        """How often connections were lost, by the revision that ran; the latest stands last."""
        self.answered = time.monotonic()
        """When the database was last known to be there, as long as nothing is carried out."""

    def tell(self) -> Outcome:
        """Run the story, again from the start as long as connections are lost and patience is left."""
        if nesting.is_migrating() or nesting.is_started_by_revision(self.settings.migrations.dsn.name):
            raise refusals.nested(nesting.caller(self.settings.project.versions), self.way.action)
        with watching(), at_most(self.patience.answer_timeout), alembic_quirks.keeping_context():
            while True:
                try:
                    return self._once()
                except retry_policy.Lost as lost:
                    self._survive(lost)
                except Stop as stop:
                    if stop.database.startswith("unchanged") and (self.taken_over or self.done):
                        raise stop.after(self._changed()) from stop
                    raise

    def _once(self) -> Outcome:
        connection = self._reach()
        lock = Lock(connection)
        try:
            after = self._under(lock) if self._take(lock) else None
            applied = self._verify(after)
        except _REFUSALS as error:
            if not retry_policy.is_passing(error, self.account):
                raise self.account.refused(error) from error
            connection.close()
            raise retry_policy.Lost(error, None, time.monotonic() - self.answered) from error
        except retry_policy.Lost:
            connection.close()  # without a ROLLBACK, whose answer might never come
            raise
        finally:
            lock.release()
        return self._outcome(applied)

    def _reach(self) -> Connection:
        """Return the connection for the lock. Once one was lost, the time that this takes is spent of the budget."""
        began = time.monotonic()
        try:
            return reach(self.settings.migrations, self.way.action, self.allowance)
        except Stop as stop:
            if not self.losses:
                raise
            if isinstance(stop, NobodyAnswers):
                raise self._given_up(dict(stop.facts)["PostgreSQL"]) from stop
            raise stop.replaced(database=messages.NOBODY_ANSWERS) from stop
        finally:
            self.answered = time.monotonic()
            if self.losses:
                self.patience.spend(self.answered - began)

    def _take(self, lock: Lock) -> bool:
        """Wait for the lock, and tell whether there is still something to do under it."""
        told = 0.0
        started = time.monotonic()
        for pause in advisory_lock.pauses():
            seen = inspection.snapshot(lock.connection)
            if self.account.before is None:
                self.account.before, self.account.place_before = seen.versions, seen.place
            if self._is_there(lock.connection, seen):
                return False
            if lock.try_take():
                return True
            waited = time.monotonic() - started
            if self.patience.left <= 0:
                raise messages.lock_busy(seen.holder, seen.place, self._waited())
            if waited >= told:
                told = waited + _SECONDS_TO_TELL
                log.info("waiting for the migration lock, held by %s", seen.holder or "nobody when we looked")
            time.sleep(min(pause, self.patience.left))
            before, self.answered = self.answered, time.monotonic()
            self.patience.spend(self.answered - before)
        raise AssertionError  # pauses never end

    def _is_there(self, connection: Connection, seen: Snapshot) -> bool:
        """Tell whether nothing is left to do. Raises Stop when the database is where this command must not touch it."""
        if self.way.moved_elsewhere(seen.versions):
            raise messages.moved(self.way.target, ", ".join(self.account.before or ()) or "base", seen.place)
        if self.way.problem:
            raise self.way.problem
        if self.way.purge:
            return False  # `stamp --purge` is how somebody says that what alembic_version holds does not count
        newer = inspection.on_top(connection, seen, self.way.history)
        where = inspection.state(seen, self.way.history, newer)
        if where == "unknown" or (newer and self.way.action != "upgrade"):
            ours = self.way.history
            raise unknown_version(seen.versions, ours.heads, ours.redundant(seen.versions))
        if self.way.action == "upgrade" and where in UNMANAGED:
            return False
        self.ahead = bool(newer)
        if self.ahead:
            self._assert_served(connection, newer, seen)
        return self.ahead or not self.way.steps(seen.versions)

    def _assert_served(self, connection: Connection, newer: tuple[str, ...], seen: Snapshot) -> None:
        """Raise Stop unless this older release finds all that its models need on the newer schema. Read-only."""
        unmet = requirements.unmet(self.models(), connection)
        if unmet:
            raise messages.ahead(newer, unmet, ledger.release_of(connection, newer[-1]), seen.place)
        log.warning(
            "the database is ahead of this release by %s; all that its models need is still there", ", ".join(newer)
        )

    def _under(self, lock: Lock) -> frozenset[str]:
        """Do what is to be done now that nobody else does. Returns the versions that the database must have then."""
        with lock.looking() as connection:
            seen = inspection.snapshot(connection)
            is_there = self._is_there(connection, seen)
        if is_there:
            return frozenset(seen.versions)
        status.assert_one_database(self.settings, allowance=self.allowance)
        if self.way.action == "upgrade" and inspection.state(seen, self.way.history) in UNMANAGED:
            self.taken_over = self.account.asking(
                lambda one: adoption.take_over(one, lock, self.settings, self.way.history, seen)
            )
            return self._under(lock)
        others = seen.tables if self.way.action == "upgrade" and not seen.taken_back else ()
        if others:
            log.info("left alone, because no revision and no model names them: %s", few(others))
        steps = self.way.steps(() if self.way.purge else seen.versions)
        if self._is_to_begin(seen, steps):
            self.account.asking(lambda one: adoption.begin(one, lock, self.run, self.way.history))
            self.fresh = True
            return self._under(lock)
        whole = self.way.action == "stamp" or self.fresh or not (seen.has_tables or seen.versions)
        by_id = self.way.history.by_id
        pending = [by_id[step.revision] for step in steps if step.revision in by_id]
        lines = gate.sealed(self.way.history.project, pending)
        lenient = cache(
            lambda: whole or bool(others) or (seen.has_ledger and bool(self.account.asking(ledger.never_arrived)))
        )
        if self.way.action != "stamp":
            judge = Judge(self.way, self.settings, self.account, lenient)
            judge.assert_harmless(pending, lines, seen.place, empty=whole or bool(others))
        if lock.pooled:
            log.warning(
                "a pooler stands between us and the database (%s); set MIGRATE_DATABASE_URL to a direct connection",
                self.settings.migrate_variable,
            )
        if not seen.has_ledger:
            self.account.asking(_make_ledger)
        with (
            nesting.running(self.settings.migrations.dsn.name),
            Executor(self.way, lines, self.settings, lock, self.patience, self.run, lenient=lenient) as carrier,
        ):
            try:
                after = self._attempts(carrier, whole=whole)
            except Interrupted as interrupted:
                interrupted.half_done = carrier.current.revision if carrier.left and carrier.current else None
                if carrier.monitor.replicating and carrier.current:
                    interrupted.unconfirmed = tuple(dict.fromkeys((*carrier.done, carrier.current.revision)))
                raise
            finally:
                self.done += carrier.done
        self.account.keep_catalog()
        if self.done and (lock.replicated or carrier.monitor.replicating):
            limit = min(confirmation.WITHIN, self.patience.left)
            self.account.asking(lambda one: confirmation.wait(one, self.done, limit))
        return after

    def _is_to_begin(self, seen: Snapshot, steps: Sequence[MigrationStep]) -> bool:
        """Tell whether this database begins with the baseline of the history: it has nothing of ours, and the way leads past it."""
        first = self.way.history.origin.baseline
        is_new = self.way.action == "upgrade" and not (seen.versions or (seen.has_tables and seen.taken_back))
        return is_new and first is not None and any(step.revision == first for step in steps)

    def _attempts(self, carrier: Executor, *, whole: bool) -> frozenset[str]:
        """Try until it is done, until waiting is no longer allowed, or until it cannot be done."""
        while True:
            try:
                return carrier.attempt(whole=whole)
            except LockLost as error:
                raise retry_policy.Lost(error, carrier.current) from error
            except Stop as stop:
                if hang := self._hang(stop, carrier):
                    raise self.account.failed(hang, carrier) from stop
                if not retry_policy.is_better_alone(stop, carrier):
                    raise self.account.failed(stop, carrier) from stop
                whole = self._divided(stop, carrier)
            except Exception as error:
                interrupts.assert_undisturbed()
                if hang := self._hang(error, carrier):
                    raise self.account.failed(hang, carrier) from error
                self.answered = time.monotonic()
                whole = carrier.whole
                if retry_policy.is_foreign(error, carrier, self.account):
                    if not retry_policy.is_better_alone(error, carrier):
                        raise self.account.failed(None, carrier, error, foreign=True) from error
                    whole = self._divided(error, carrier)
                elif retry_policy.may_repeat(carrier, self.way) and failures.is_lock_miss(messages.cause(error)):
                    self._missed(error, carrier, carrier.uncommitted)
                elif retry_policy.may_repeat(carrier, self.way) and retry_policy.is_lost(error, self.account):
                    # a standby is no revision's fault
                    step = None if retry_policy.is_refused_change(error) else carrier.current
                    raise retry_policy.Lost(
                        error, step, carrier.monitor.silence, carrier.monitor.pulse.lapse
                    ) from error
                elif retry_policy.is_better_alone(error, carrier):
                    whole = self._divided(error, carrier)
                elif retry_policy.is_to_be_mended(error, carrier, self.account):
                    assert carrier.current is not None
                    carrier.mends = carrier.current.revision
                    log.warning(
                        "%s: %s was left half done by an earlier run; what is there already is passed over",
                        self.way.action,
                        carrier.mends,
                    )
                elif retry_policy.was_overtaken(carrier, self.account):
                    raise retry_policy.Lost(error, carrier.current) from error
                else:
                    raise self.account.failed(None, carrier, error) from error

    def _hang(self, error: Exception, carrier: Executor) -> Stop | None:
        """Return what is to be told of a step that was ended because it stood still; None when it was not."""
        if carrier.monitor.gave_up is not None and getattr(messages.cause(error), "pgcode", None) == "57014":
            place = f"{self.account.place()}{self.account.leftovers()}"
            return messages.table_busy(error, carrier.current, place, self._waited(), carrier.monitor.gave_up)
        return retry_policy.hang(error, carrier, self.account, self.settings.idle_timeout)

    def _divided(self, error: Exception, carrier: Executor) -> bool:
        """Say why what was one transaction for all is tried again with one each. Returns False, for `whole`."""
        step = carrier.current
        log.info(
            "%s: each revision gets a transaction of its own now, because of %s: %s",
            self.way.action,
            step.revision if step else "the run",
            failures.server_words(messages.cause(error)).splitlines()[0],
        )
        return False

    def _missed(self, error: Exception, carrier: Executor, wasted: float) -> None:
        """Sleep before the next attempt; say who was in the way."""
        who = carrier.monitor.blockers
        step = carrier.current
        log.info(
            "%s: %s did not get its locks within %.0f ms, rolled back; in the way: %s",
            self.way.action,
            step.revision if step else "the run",
            self.patience.lock_timeout * 1000,
            "; ".join(map(str, who)) or "nobody any more",
        )
        self.patience.miss(wasted)
        if self.patience.left <= 0:
            stop = messages.table_busy(error, step, self.account.place(), self._waited(), who)
            raise self.account.failed(stop, carrier) from error

    def _survive(self, lost: retry_policy.Lost) -> None:
        """Return when the story may be told once more; raise Stop when the budget is spent."""
        revision = lost.step.revision if lost.step else None
        self.losses[revision] = self.losses.pop(revision, 0) + 1
        told = (
            "the migration lock was lost"
            if isinstance(lost.error, LockLost)
            else failures.server_words(messages.cause(lost.error))
        )
        deadly = revision is not None and self.losses[revision] > MOST_LOSSES
        if self.patience.left <= 0 or deadly:
            raise self._given_up(told, lost.error) from lost.error
        lapse = f"this process stood still for {lost.lapse:.0f} s: " if lost.lapse else ""
        log.warning("%s%s; connecting again and looking where the database is", lapse, told)
        self.patience.rest(lost.silence)
        if min(SHORTEST_ATTEMPT, lost.silence) > self.patience.left:  # nor would the next answer come in time
            time.sleep(self.patience.left)
            raise self._given_up(told, lost.error) from lost.error
        self.allowance = Allowance(self.patience.left, "MIGRATE_WAIT_LOCK")

    def _given_up(self, told: str, error: Exception | None = None) -> Stop:
        if error and failures.is_lock_miss(messages.cause(error)):
            who = self.account.asking(lambda one: blockers.find_blockers(one, blockers.OWNERS_OF_TABLES))
            return messages.table_busy(error, None, _KEPT_FROM_LOOKING, self._waited(), who)
        *_, (revision, _) = self.losses.items()
        return messages.connection_lost(revision, told, sum(self.losses.values()), self._waited())

    def _changed(self) -> str:
        """Return what this run has done to the database."""
        if not self.done:
            return f"taken over at {self.taken_over} by this run"
        return f"{len(self.done)} revision{'' if len(self.done) == 1 else 's'} committed by this run"

    def _verify(self, after: frozenset[str] | None) -> tuple[str, ...]:
        """Look from outside, through every URL there is, that it is really done. Returns what this run has applied."""
        self.answered = time.monotonic()
        seen = verification.look(self.settings, self.way.action, self.run, self.allowance, self.account)
        here = seen[0].look
        there = (
            frozenset(here.versions) == after if after is not None else self.ahead or not self.way.steps(here.versions)
        )
        if not there:
            raise messages.not_verified(", ".join(sorted(after or ())) or self.way.target, here.place)
        verification.assert_written(seen[0], self.done)
        verification.assert_same(seen, self.settings)
        self.after = here.versions
        return seen[0].applied

    def _outcome(self, applied: tuple[str, ...]) -> Outcome:
        duration = time.monotonic() - self.started
        return Outcome(self.way.action, self.account.before or (), self.after, applied, self.patience.spent, duration)

    def _waited(self) -> Allowance:
        return Allowance(self.settings.wait_lock, "MIGRATE_WAIT_LOCK")


def _make_ledger(connection: Connection) -> None:
    with interrupts.limit(connection, interrupts.ANSWER_TIMEOUT):
        ledger.create(connection)
