"""What has failed, and why?

Looks once, when it has happened: at the error, at how far the run had come, and at the database where neither of them tells. Read-only.
"""

from __future__ import annotations

import psycopg2

from railhead.diagnosis import hangs, messages
from railhead.errors import Stop
from railhead.execution.executor import Executor
from railhead.execution.failure_report import FailureReport
from railhead.execution.guard import NeedsItsOwn
from railhead.execution.mending import ALREADY, HalfDone
from railhead.execution.retry_policy import Cause, Mode, StepFailed
from railhead.hazards import repeatability
from railhead.history.errors import raised_outside
from railhead.postgres import failures
from railhead.postgres.activity import Monitor
from railhead.postgres.advisory_lock import LockLost
from railhead.postgres.connection import fetch_value


def while_looking(error: Exception, report: FailureReport, silence: float) -> StepFailed:
    """Return what failed while no step ran; nobody had answered for `silence` seconds."""
    return StepFailed(error, _general(error, report) or Cause.ERROR, Mode.LOOKING, silence=silence)


def in_attempt(error: Exception, executor: Executor, action: str, report: FailureReport, idle: float) -> StepFailed:
    """Return what ended the executor's attempt; `idle` are the seconds of MIGRATE_IDLE_TIMEOUT."""
    headway, monitor, step = executor.headway, executor.monitor, executor.headway.current
    wasted = headway.uncommitted
    cause = _cause(error, executor, report, idle)
    stop = error if isinstance(error, Stop) else None
    if cause is Cause.HUNG:
        stop = _told_of_hang(executor, idle)
    left = executor.guard.left
    leaves_half = left and step and step.path and repeatability.leaves_half(step.path, action)
    return StepFailed(
        error,
        cause,
        headway.mode,
        step,
        left=left,
        has_others=executor.recorder.has_unwritten,
        is_repeatable=not leaves_half,
        wasted=wasted,
        silence=monitor.silence,
        lapse=monitor.pulse.lapse,
        blockers=tuple(monitor.blockers if monitor.gave_up is None else monitor.gave_up),
        stop=stop,
        row=executor.recorder.row,
    )


def is_lost(error: Exception, report: FailureReport) -> bool:
    """Tell whether the connection is gone, or the server only follows another one."""
    return _general(error, report) in {Cause.CONNECTION_LOST, Cause.ONLY_FOLLOWS}


def _general(error: Exception, report: FailureReport) -> Cause | None:
    """Return what passes of itself, whatever ran: the lock or the connection was lost, or a table was held."""
    if isinstance(error, LockLost):
        return Cause.LOCK_LOST
    cause = messages.cause(error)
    if failures.is_lock_miss(cause):
        return Cause.LOCK_MISSED
    if getattr(cause, "pgcode", None) == _ONLY_READS:
        return Cause.ONLY_FOLLOWS if _only_follows(report) else None
    is_gone = failures.is_lost(cause) or getattr(error, "connection_invalidated", False)
    return Cause.CONNECTION_LOST if is_gone else None


_ONLY_READS = "25006"
"""What a standby says of a change, and a server, or for a role, that only reads."""


def _only_follows(report: FailureReport) -> bool:
    try:
        return bool(report.asking(lambda connection: fetch_value(connection, "SELECT pg_is_in_recovery()")))
    except psycopg2.Error:
        return True


def _cause(error: Exception, executor: Executor, report: FailureReport, idle: float) -> Cause:
    if isinstance(error, LockLost):
        return Cause.LOCK_LOST
    if hang := _hang(error, executor.monitor, report, idle):
        return hang
    if isinstance(error, Stop):
        return Cause.REFUSED
    if _is_foreign(error, executor, report):
        return Cause.FOREIGN
    if isinstance(error, NeedsItsOwn):
        return Cause.NEEDS_ITS_OWN
    return _general(error, report) or _of_earlier_run(error, executor, report) or Cause.ERROR


def _hang(error: Exception, monitor: Monitor, report: FailureReport, idle: float) -> Cause | None:
    """Return how a step was ended that stood still: it waited for locks, for itself, or asked nothing for longer than `idle` seconds.

    A process that was stopped, or whose machine was, could not ask: that is a lost connection like any other.
    """
    if monitor.gave_up is not None and getattr(messages.cause(error), "pgcode", None) == _CANCELED:
        return Cause.GAVE_UP
    sat_idle = monitor.idle >= idle * _NEARLY and is_lost(error, report)
    return Cause.HUNG if monitor.standoff is not None or sat_idle else None


_CANCELED = "57014"
_NEARLY = 0.8
"""Of the time that PostgreSQL counts, which a busy machine's own look at it may miss a part of."""


def _told_of_hang(executor: Executor, idle: float) -> Stop:
    monitor, step = executor.monitor, executor.headway.current
    if monitor.standoff is not None:
        return hangs.waits_for_itself(step, monitor.standoff)
    return hangs.sat_idle(step, monitor.idle, idle, monitor.bystanders)


def _is_foreign(error: Exception, executor: Executor, report: FailureReport) -> bool:
    """Tell whether a connection that the project's own code has opened failed, while the database answers us."""
    cause = messages.cause(error)
    by_hook = isinstance(cause, psycopg2.Error) and cause.cursor is None and raised_outside(cause)
    if executor.is_foreign or not by_hook:
        return executor.is_foreign
    try:
        return report.asking(lambda connection: fetch_value(connection, "SELECT 1")) == 1
    except psycopg2.Error:
        return False


def _of_earlier_run(error: Exception, executor: Executor, report: FailureReport) -> Cause | None:
    """Return what a run before this one, or beside it, has to do with the failure."""
    headway = executor.headway
    if executor.guard.left:
        return None
    try:
        if headway.current and _is_half_done(error, executor, report):
            return Cause.HALF_DONE
        if headway.source is not None and _has_moved(headway.source, report):
            return Cause.OVERTAKEN
    except psycopg2.Error:
        return None
    return None


def _is_half_done(error: Exception, executor: Executor, report: FailureReport) -> bool:
    if isinstance(error, HalfDone):
        return True
    is_there = getattr(messages.cause(error), "pgcode", None) in ALREADY
    return is_there and report.asking(executor.guard.is_half_done)


def _has_moved(source: frozenset[str], report: FailureReport) -> bool:
    """Tell whether the database is no longer where the step began: a holder of the lock may die while PostgreSQL commits for him.

    We have his lock then before his work is there.
    """
    return frozenset(report.snapshot().versions) != source
