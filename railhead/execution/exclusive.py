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
from railhead.postgres.retry_budget import Allowance
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
    deadline = time.monotonic() + settings.wait_lock
    tell_at = time.monotonic()
    try:
        for pause in advisory_lock.pauses():
            seen = look(lock.connection)
            if lock.try_take():
                break
            if time.monotonic() >= tell_at:
                tell_at = time.monotonic() + TELL_EVERY
                log.info("%s: waiting for the migration lock, held by %s", doing, seen.holder or "nobody any more")
            if time.monotonic() >= deadline:
                raise messages.lock_busy(seen.holder, seen.place, Allowance(settings.wait_lock, "MIGRATE_WAIT_LOCK"))
            time.sleep(pause)
        with lock.looking() as connection:
            seen = look(connection)  # again, now that nobody else can change it
        yield lock, seen
    finally:
        lock.release()
