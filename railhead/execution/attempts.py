"""How often is a plan tried, under one lock?

Until it is done, until waiting is no longer allowed, or until it cannot be done. What comes after a failure, `retry_policy` decides.
"""

from __future__ import annotations

import traceback

from railhead.diagnosis import messages
from railhead.errors import Stop
from railhead.execution import step_failure
from railhead.execution.executor import Executor
from railhead.execution.retry_policy import Cause, Decision, Mode, StepFailed, Then
from railhead.execution.run_context import RunContext
from railhead.logs import log
from railhead.postgres import failures, interrupts


class Lost(Exception):
    """Another connection might find another answer; what was not committed is rolled back."""

    def __init__(self, failure: StepFailed, decision: Decision) -> None:
        super().__init__(str(failure.error))
        self.failure = failure
        self.decision = decision


class Attempts:
    """Tries what one executor carries out."""

    def __init__(self, context: RunContext, executor: Executor) -> None:
        self._context = context
        self._executor = executor

    def until_done(self, mode: Mode) -> frozenset[str]:
        """Return the versions that the database has then. Changes the schema. Raises Stop, Lost, Interrupted."""
        while True:
            try:
                return self._executor.attempt(mode)
            except Exception as error:
                interrupts.assert_undisturbed()
                failure = self._failure(error)
                mode = self._mode_after(failure, self._context.decide(failure))

    def _failure(self, error: Exception) -> StepFailed:
        context = self._context
        failure = step_failure.in_attempt(
            error, self._executor, context.plan.action, context.report, context.settings.idle_timeout
        )
        context.silence.end()
        return failure

    def _mode_after(self, failure: StepFailed, decision: Decision) -> Mode:
        """Do what is decided and return in which mode the next attempt is made."""
        _let_go(failure.error)
        match decision.then:
            case Then.RETRY:
                self._rest(failure, decision)
            case Then.ONE_EACH:
                self._tell_of_division(failure)
                return Mode.EACH
            case Then.MEND:
                self._mend(failure)
            case _ if failure.is_of_connection:
                raise Lost(failure, decision) from failure.error
            case _:
                raise self._given_up(failure, decision) from failure.error
        return failure.mode

    def _rest(self, failure: StepFailed, decision: Decision) -> None:
        """Say who was in the way, and sleep before the next attempt."""
        log.info(
            "%s: %s did not get its locks within %.0f ms, rolled back; in the way: %s",
            self._context.plan.action,
            _name(failure),
            self._context.budget.lock_timeout * 1000,
            "; ".join(map(str, failure.blockers)) or "nobody any more",
        )
        self._context.budget.miss(failure.wasted, decision.pause)

    def _tell_of_division(self, failure: StepFailed) -> None:
        log.info(
            "%s: each revision gets a transaction of its own now, because of %s: %s",
            self._context.plan.action,
            _name(failure),
            failures.server_words(messages.cause(failure.error)).splitlines()[0],
        )

    def _mend(self, failure: StepFailed) -> None:
        self._executor.guard.mends = _name(failure)
        log.warning(
            "%s: %s was left half done by an earlier run; what is there already is passed over",
            self._context.plan.action,
            _name(failure),
        )

    def _given_up(self, failure: StepFailed, decision: Decision) -> Stop:
        """Write it down and return what is to be told."""
        report, place = self._context.report, None
        if failure.is_missed_lock:
            self._rest(failure, decision)
            place = report.place()
        elif failure.cause is Cause.GAVE_UP:
            place = f"{report.place()}{report.leftovers()}"
        if place is None:
            return report.failed(failure)
        busy = messages.table_busy(failure.error, failure.step, place, self._context.waited, [*failure.blockers])
        return report.failed(failure, busy)


def _let_go(error: BaseException) -> None:
    """Give up what a failed attempt holds: the connections of a revision's own, and their locks, live on in the frames of its error."""
    last: BaseException | None = error
    while last is not None:
        traceback.clear_frames(last.__traceback__)
        last = last.__cause__ or last.__context__


def _name(failure: StepFailed) -> str:
    return failure.step.revision if failure.step else "the run"
