"""When can this code serve the database? Waits for somebody else to migrate it."""

from __future__ import annotations

import time

from railhead.commands import report
from railhead.diagnosis import messages
from railhead.errors import Fact, Stop, TableBusy
from railhead.history import loader
from railhead.history.errors import unknown_version
from railhead.logs import log
from railhead.postgres import advisory_lock
from railhead.postgres.retry_budget import Allowance
from railhead.project import Project
from railhead.settings import Settings
from railhead.state import status
from railhead.state.status import Models, Status


def wait(settings: Settings, models: Models, *, whole: bool = False) -> Status:
    """Return where the database is once this code can serve it, once waiting would not help, or after MIGRATE_WAIT_LOCK. Read-only.

    `whole`: once it is at head, with all post-deploy work done. Never migrates it. Tells what it waits for, and again when that changes. Waits up to MIGRATE_WAIT_DATABASE for a server that does not answer, and raises Stop when none does.
    """
    history = loader.history(settings.project)
    deadline = time.monotonic() + settings.wait_lock
    allowance = Allowance(settings.wait_database, "MIGRATE_WAIT_DATABASE")
    told = None
    for pause in advisory_lock.pauses():
        try:
            found = status.read(settings, history, models, closely=False, allowance=allowance)
            if found.state == "current":  # somebody may have changed the schema
                return status.read(settings, history, models, allowance=allowance)
        except TableBusy:
            if time.monotonic() >= deadline:
                raise
            time.sleep(pause)
            continue
        is_there = found.can_serve and not (whole and found.state == "settling")
        if is_there or found.state not in {"behind", "settling"} or time.monotonic() >= deadline:
            return found
        seen = len(found.pending), found.lock and found.lock.pid
        if seen != told:
            told, lock = seen, f"held by {found.lock}" if found.lock else "free"
            log.info("wait: pending revisions: %d; the migration lock is %s", len(found.pending), lock)
        time.sleep(pause)
    raise AssertionError  # pauses never end


def not_served(project: Project, found: Status, fact: Fact) -> Stop:
    """Return the refusal of a database that this code cannot serve, by a process that does not migrate."""
    problem = loader.history(project).problem if found.state == "forked" else None
    if problem:
        return problem
    place = f"at {', '.join(found.current)}" if found.current else "without a version"
    if found.state == "current" and found.unmet:
        return messages.lacking(report.sentence(found), found.unmet, place, edited="edited" in found.flags)
    if found.state == "ahead" and found.unmet:
        return messages.ahead(found.unknown, list(found.unmet), found.newer_release, place)
    if found.state == "unknown":
        return unknown_version(found.current, found.heads, found.redundant, found.known)
    let = "let the pre-deploy command migrate:\n" if found.state == "behind" else ""
    return Stop(
        "not-at-head",
        report.sentence(found),
        facts=[fact],
        database=f"unchanged, {place}",
        next_step=f"{let}{report.next_step(found)}",
    )
