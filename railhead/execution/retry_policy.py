"""What may be tried again?

Only what was rolled back as a whole, or is safe to run again from the top; only for what passes. Read-only.
"""

from __future__ import annotations

import psycopg2

from railhead.diagnosis import messages as diagnosis
from railhead.execution.executor import Runner
from railhead.execution.failure_report import Account
from railhead.hazards import rules as hazards
from railhead.history import manifest
from railhead.history.planner import Way
from railhead.postgres import connection as database
from railhead.postgres.advisory_lock import LockLost
from railhead.state import status


def may_repeat(carrier: Runner, way: Way) -> bool:
    """Tell whether the failed step may be tried again: rolled back as a whole, or made of verbs that allow it."""
    step = carrier.current
    return (
        not carrier.left
        or step is None
        or step.file is None
        or not hazards.mixes(manifest.FOLDER / step.file, way.action)
    )


def was_overtaken(carrier: Runner, account: Account) -> bool:
    """Tell whether the database is no longer where the failed step began: whoever had the lock before us got through.

    A holder may die while PostgreSQL commits for him: we have his lock before his work is there.
    """
    if carrier.left or carrier.source is None:
        return False
    try:
        return frozenset(account.asking(status.look).versions) != carrier.source
    except psycopg2.Error:
        return False


def is_refused_change(error: Exception) -> bool:
    """Tell whether the server, or the role, only reads."""
    return getattr(diagnosis.cause(error), "pgcode", None) == "25006"


def is_lost(error: Exception, account: Account) -> bool:
    """Tell whether the connection is gone, or the server only follows another one."""
    if not is_refused_change(error):
        return database.is_lost(diagnosis.cause(error)) or bool(getattr(error, "connection_invalidated", False))
    try:
        return bool(account.asking(lambda one: database.scalar(one, "SELECT pg_is_in_recovery()")))
    except psycopg2.Error:
        return True


def is_passing(error: Exception, account: Account) -> bool:
    """Tell whether asking again may get another answer: the connection or the lock was lost, or a table was held."""
    return isinstance(error, LockLost) or database.is_lock_miss(diagnosis.cause(error)) or is_lost(error, account)
