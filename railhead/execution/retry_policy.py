"""What may be tried again?

Only what was rolled back as a whole, or is safe to run again from the top; only for what passes. Read-only.
"""

from __future__ import annotations

import psycopg2

from railhead.diagnosis import hangs, messages
from railhead.errors import Stop
from railhead.execution.executor import Executor
from railhead.execution.failure_report import FailureReport
from railhead.execution.mending import ALREADY, HalfDone
from railhead.execution.step_transaction import NeedsItsOwn
from railhead.hazards import repeatability
from railhead.history.errors import raised_outside
from railhead.history.planner import MigrationPlan, MigrationStep
from railhead.postgres import failures
from railhead.postgres.advisory_lock import LockLost
from railhead.postgres.connection import fetch_value
from railhead.state import inspection


class Lost(Exception):
    """A connection or the lock was lost; what was not committed is rolled back."""

    def __init__(self, error: Exception, step: MigrationStep | None, silence: float = 0.0, lapse: float = 0.0) -> None:
        """`silence` is for how many seconds nobody had answered before we saw it, `lapse` for how many nothing ran here."""
        super().__init__(str(error))
        self.error = error
        self.step = step
        self.silence = silence
        self.lapse = lapse


def may_repeat(carrier: Executor, way: MigrationPlan) -> bool:
    """Tell whether the failed step may be tried again: rolled back as a whole, or made of verbs that allow it."""
    step = carrier.current
    return not carrier.left or step is None or step.path is None or not repeatability.leaves_half(step.path, way.action)


def is_better_alone(error: Exception, carrier: Executor) -> bool:
    """Tell whether a step that failed in one transaction for all is to be tried again with one each.

    So that those before it are kept; and what it needs may only have to be committed: a new value of an enum, rows that deferred
    constraints have not seen yet, locks that are given back.
    """
    nothing_stays = carrier.whole and not carrier.left
    return nothing_stays and (isinstance(error, NeedsItsOwn) or carrier.has_others)


def is_to_be_mended(error: Exception, carrier: Executor, account: FailureReport) -> bool:
    """Tell whether a step failed because an earlier run has left it half done, so that it is to be run once more, and mended."""
    if carrier.left or carrier.current is None:
        return False
    if isinstance(error, HalfDone):
        return True
    code = getattr(messages.cause(error), "pgcode", None)
    try:
        return code in ALREADY and account.asking(carrier.is_half_done)
    except psycopg2.Error:
        return False


def was_overtaken(carrier: Executor, account: FailureReport) -> bool:
    """Tell whether the database is no longer where the failed step began: whoever had the lock before us got through.

    A holder may die while PostgreSQL commits for him: we have his lock before his work is there.
    """
    if carrier.left or carrier.source is None:
        return False
    try:
        return frozenset(account.asking(inspection.snapshot).versions) != carrier.source
    except psycopg2.Error:
        return False


def is_foreign(error: Exception, carrier: Executor, account: FailureReport) -> bool:
    """Tell whether a connection that the project's own code has opened failed, while the database answers us."""
    cause = messages.cause(error)
    by_hook = isinstance(cause, psycopg2.Error) and cause.cursor is None and raised_outside(cause)
    if carrier.foreign or not by_hook:
        return carrier.foreign
    try:
        return account.asking(lambda one: fetch_value(one, "SELECT 1")) == 1
    except psycopg2.Error:
        return False


def hang(error: Exception, carrier: Executor, account: FailureReport, limit: float) -> Stop | None:
    """Return what ended a step that stood still: it waited for itself, or asked nothing for longer than `limit` seconds.

    A process that was stopped, or whose machine was, could not ask: that is a lost connection like any other.
    """
    monitor = carrier.monitor
    if monitor.standoff is not None:
        return hangs.waits_for_itself(carrier.current, monitor.standoff)
    if monitor.idle >= limit * _NEARLY and is_lost(error, account):
        return hangs.sat_idle(carrier.current, monitor.idle, limit, monitor.bystanders)
    return None


_NEARLY = 0.8
"""Of the time that PostgreSQL counts, which a busy machine's own look at it may miss a part of."""


def is_refused_change(error: Exception) -> bool:
    """Tell whether the server, or the role, only reads."""
    return getattr(messages.cause(error), "pgcode", None) == "25006"


def is_lost(error: Exception, account: FailureReport) -> bool:
    """Tell whether the connection is gone, or the server only follows another one."""
    if not is_refused_change(error):
        return failures.is_lost(messages.cause(error)) or bool(getattr(error, "connection_invalidated", False))
    try:
        return bool(account.asking(lambda one: fetch_value(one, "SELECT pg_is_in_recovery()")))
    except psycopg2.Error:
        return True


def is_passing(error: Exception, account: FailureReport) -> bool:
    """Tell whether asking again may get another answer: the connection or the lock was lost, or a table was held."""
    return isinstance(error, LockLost) or failures.is_lock_miss(messages.cause(error)) or is_lost(error, account)
