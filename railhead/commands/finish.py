"""Who does the post-deploy work, once the application serves?

One revision after the other, each a run of its own, so that the migration lock is free in between and a new release may start.
What takes away something that the previous release uses waits until that is gone. Changes the schema, writes the ledger.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from types import TracebackType
from typing import Self

import psycopg2
from psycopg2.extensions import connection as Connection

from railhead.commands.wait import not_served
from railhead.errors import Stop
from railhead.execution import entry
from railhead.history import loader
from railhead.history.graph import History
from railhead.logs import log
from railhead.postgres import advisory_lock, interrupts
from railhead.postgres.connection import connect, reach
from railhead.postgres.retry_budget import Allowance
from railhead.settings import Settings
from railhead.state import releases, status
from railhead.state.releases import Use
from railhead.state.status import Pending, Status

PATIENCE = 24 * 3600.0
"""Seconds that one revision may wait for locks: nobody waits for it."""

_LOOK_EVERY = 1.0
_TELL_EVERY = 60.0


def finish(settings: Settings, *, now: bool = False, beside: bool = False) -> tuple[str, ...]:
    """Return the revisions that this call has applied, once no post-deploy work is left. Changes the schema, writes the ledger.

    Waits for locks for as long as PATIENCE, and before something is taken away for the release that uses it, unless `now`.
    `beside` a server that may still be starting it waits for pre-deploy work, too, which is somebody else's; else that is refused.
    Raises Stop.
    """
    history = loader.history(settings.project)
    done: list[str] = []
    with Lookout(settings) as lookout:
        while (revision := _next(settings, history, beside=beside)) is not None:
            if revision.breaking:
                lookout.wait(revision.revision, now=now)
            outcome = entry.migrate("upgrade", revision.revision, settings._replace(wait_lock=PATIENCE, patient=True))
            log.info("finish: %s", outcome)
            done += outcome.applied
    return tuple(done)


def finish_beside(settings: Settings, master: int) -> None:
    """Do the post-deploy work beside the server whose process is `master`, and end with it; a failure is told in the log.

    Changes the schema, writes the ledger. The next start tries again what failed.
    """
    threading.Thread(target=_end_with, args=(master,), name="railhead-master", daemon=True).start()
    log.info("finish: post-deploy work begins, behind the open port")
    try:
        finish(settings, beside=True)
    except Stop as stop:
        log.error("%s", settings.project.spoken(stop.render("finish")))
    except interrupts.Interrupted as interrupted:
        log.info("finish: stopped by %s; the next start goes on", interrupted)
    else:
        log.info("finish: no post-deploy work is left")


def _end_with(master: int) -> None:
    """Stop this process once its master is gone, however that ended."""
    while os.getppid() == master:
        time.sleep(_LOOK_EVERY)
    os.kill(os.getpid(), signal.SIGTERM)


def _next(settings: Settings, history: History, *, beside: bool) -> Pending | None:
    """Return the next piece of post-deploy work; None when there is none for us. Raises Stop."""
    allowance = Allowance(settings.wait_database, "MIGRATE_WAIT_DATABASE")
    deadline = time.monotonic() + settings.wait_lock
    for pause in advisory_lock.pauses():
        place = status.read(settings, history, settings.project.models, closely=False, allowance=allowance)
        if place.state in {"current", "ahead"}:
            return None
        if place.state == "settling" or (place.state == "behind" and _is_post_deploy(history, place)):
            return place.pending[0]
        if not beside or place.state != "behind":
            fact = ("finish", "does post-deploy work only, on a database that this release can serve")
            raise not_served(settings.project, place, fact)
        if time.monotonic() >= deadline:
            log.warning("finish: no pre-deploy work was done for %.0f s (MIGRATE_WAIT_LOCK)", settings.wait_lock)
            return None
        time.sleep(pause)
    raise AssertionError  # pauses never end


def _is_post_deploy(history: History, place: Status) -> bool:
    """Tell whether only post-deploy work is left, although this release cannot be served without it."""
    return bool(place.current) and not history.before_serving([revision.revision for revision in place.pending])


class Lookout:
    """A session that looks whether the previous release is gone. While it is open, everybody sees for how long this one has served."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._began = time.monotonic()
        self._connection: Connection | None = None

    def __enter__(self) -> Self:
        allowance = Allowance(self._settings.wait_database, "MIGRATE_WAIT_DATABASE")
        reach(self._settings.application, "finish", allowance).close()
        self._connect()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._connection is not None:
            self._connection.close()

    def wait(self, revision: str, *, now: bool) -> None:
        """Return when no release but this one uses what `revision` takes away. Read-only. `now` only says who still does."""
        named: tuple[str, ...] | None = None
        told_at = 0.0
        while True:
            use = self._use()
            hindrance = use.hindrance(self._settings) if use else None
            if use is not None and hindrance is None:
                return
            if use is not None and now:
                users = ", ".join(use.others) or "no session of another release is seen"
                log.warning("finish: %s breaks the previous release; %s", revision, users)
                return
            if use is not None and (use.others != named or time.monotonic() - told_at >= _TELL_EVERY):
                named, told_at = use.others, time.monotonic()
                doubt = "" if use.is_certain else f" ({UNSEEN})"
                log.info("finish: %s breaks the previous release: %s%s", revision, hindrance, doubt)
            time.sleep(_LOOK_EVERY)

    def _use(self) -> Use | None:
        """Return who uses the database; None while nobody answers."""
        try:
            connection = self._connection or self._connect()
            use = releases.in_use(connection, self._settings)
        except psycopg2.Error:
            self._connection = None
            return None
        return use._replace(served=max(use.served, time.monotonic() - self._began))

    def _connect(self) -> Connection:
        self._connection = connect(self._settings.application.dsn, self._settings.session_of("finish"))
        return self._connection


UNSEEN = "sessions of other releases cannot be told here, so only the time counts"
