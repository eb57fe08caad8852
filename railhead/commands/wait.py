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
            place = status.read(settings, history, models, closely=False, allowance=allowance)
            if place.state == "current":  # somebody may have changed the schema
                return status.read(settings, history, models, allowance=allowance)
        except TableBusy:
            if time.monotonic() >= deadline:
                raise
            time.sleep(pause)
            continue
        is_there = place.can_serve and not (whole and place.state == "settling")
        if is_there or place.state not in {"behind", "settling"} or time.monotonic() >= deadline:
            return place
        seen = len(place.pending), place.lock and place.lock.pid
        if seen != told:
            told, lock = seen, f"held by {place.lock}" if place.lock else "free"
            log.info("wait: pending revisions: %d; the migration lock is %s", len(place.pending), lock)
        time.sleep(pause)
    raise AssertionError  # pauses never end


def not_served(project: Project, status: Status, fact: Fact) -> Stop:
    """Return the refusal of a database that this code cannot serve, by a process that does not migrate."""
    problem = loader.history(project).problem if status.state == "forked" else None
    if problem:
        return problem
    place = f"at {', '.join(status.current)}" if status.current else "without a version"
    if status.state == "current" and status.unmet:
        return messages.lacking(report.sentence(status), status.unmet, place, edited="edited" in status.flags)
    if status.state == "ahead" and status.unmet:
        return messages.ahead(status.unknown, list(status.unmet), status.newer_release, place)
    if status.state == "unknown":
        return unknown_version(status.current, status.heads, status.redundant, status.known)
    let = "let the pre-deploy command migrate:\n" if status.state == "behind" else ""
    return Stop(
        "not-at-head",
        report.sentence(status),
        facts=[fact],
        database=f"unchanged, {place}",
        next_step=f"{let}{report.next_step(status)}",
    )
