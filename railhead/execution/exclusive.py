"""How does a command work alone on the database? Under the migration lock, once nobody else has it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from psycopg2.extensions import connection as Connection

from railhead.diagnosis import messages
from railhead.logs import log
from railhead.postgres import advisory_lock
from railhead.postgres.advisory_lock import Lock
from railhead.postgres.connection import open_now
from railhead.postgres.retry_budget import Allowance, RetryBudget
from railhead.settings import Settings
from railhead.state.inspection import Snapshot

TELL_EVERY = 5.0
"""Seconds between two lines that say who holds the lock."""


@contextmanager
def exclusive(
    doing: str, settings: Settings, look: Callable[[Connection], Snapshot]
) -> Iterator[tuple[Lock, Snapshot]]:
    """Give the migration lock, and what `look` sees under it; say who holds it while we wait.

    Raises Stop when the lock stays busy for MIGRATE_WAIT_LOCK.
    """
    lock = Lock(open_now(settings.migrations, doing))
    try:
        take(lock, RetryBudget(settings.wait_lock, settings.lock_timeout), look, doing)
        with lock.looking() as connection:
            snapshot = look(connection)  # again, now that nobody else can change it
        yield lock, snapshot
    finally:
        lock.release()


def take(lock: Lock, budget: RetryBudget, look: Callable[[Connection], Snapshot | None], doing: str) -> bool:
    """Tell whether the lock is ours; not when `look`, which comes before each attempt, says by None that it is not needed.

    Says who holds it, at once and every few seconds. Raises Stop when it stays busy until the budget is spent.
    """
    tell_at = time.monotonic()
    for pause in advisory_lock.pauses():
        began = time.monotonic()
        snapshot = look(lock.connection)
        if snapshot is None or lock.try_take():
            return snapshot is not None
        if budget.left <= 0:
            raise messages.lock_busy(snapshot.holder, snapshot.place, Allowance(budget.budget, "MIGRATE_WAIT_LOCK"))
        if time.monotonic() >= tell_at:
            tell_at = time.monotonic() + TELL_EVERY
            holder = snapshot.holder or "nobody when we looked"
            log.info("%s: waiting for the migration lock, held by %s", doing, holder)
        time.sleep(min(pause, budget.left))
        budget.spend(time.monotonic() - began)
    raise AssertionError  # pauses never end
