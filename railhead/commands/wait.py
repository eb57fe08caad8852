"""When can this code serve the database? Waits for somebody else to migrate it."""

from __future__ import annotations

import time

from railhead.errors import TableBusy
from railhead.history import loader
from railhead.logs import log
from railhead.postgres import advisory_lock
from railhead.postgres.retry_budget import Allowance
from railhead.settings import Settings
from railhead.state import status
from railhead.state.status import Models, Status


def wait(settings: Settings, models: Models) -> Status:
    """Return where the database is once this code can serve it, once waiting would not help, or after MIGRATE_WAIT_LOCK. Read-only.

    Never migrates it. Tells what it waits for, and again when that changes. Waits up to MIGRATE_WAIT_DATABASE for a server that does not answer, and raises Stop when none does.
    """
    history = loader.history(settings.project)
    deadline = time.monotonic() + settings.wait_lock
    allowance = Allowance(settings.wait_database, "MIGRATE_WAIT_DATABASE")
    told = None
    for pause in advisory_lock.pauses():
        try:
            found = status.read(settings, history, models, closely=False, allowance=allowance)
        except TableBusy:
            if time.monotonic() >= deadline:
                raise
            time.sleep(pause)
            continue
        if found.can_serve or found.state != "behind" or time.monotonic() >= deadline:
            return found
        seen = len(found.pending), found.lock and found.lock.pid
        if seen != told:
            told, lock = seen, f"held by {found.lock}" if found.lock else "free"
            log.info("wait: pending revisions: %d; the migration lock is %s", len(found.pending), lock)
        time.sleep(pause)
    raise AssertionError  # pauses never end
