"""Which database when nobody named one? A real PostgreSQL in `.data/`, for development only.

Every entrance shares it, and it stops when its last user goes: a user holds a shared lock on `users.lock`, and a small
warden process stops the server once nobody does. Locks of the kernel, not pids, say who lives, so that a SIGKILL or a power
cut leaves nothing to tidy up. It listens on no port, and never opens the permissions of a folder.

What only a start needs is imported where it is needed: an entrance that finds the server running pays half a millisecond.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from railhead.devserver import file_lock
from railhead.devserver.binaries import binary, failure
from railhead.devserver.server import Server
from railhead.dsn import Dsn
from railhead.errors import Stop
from railhead.logs import log
from railhead.settings import Settings

PACKAGES = Path(__file__).resolve().parents[2]
"""The folder that this package is imported from."""
LINGER = 3.0
"""Seconds that the server outlives its last user, so that a chain of shell commands does not start it each time."""

_joined: dict[Path, int] = {}
"""Folders whose server this process uses, and the descriptor that holds the shared lock; forks inherit it, programs do not."""


def fill(settings: Settings) -> Settings:
    """Return `settings` with a database: those named, else in development the embedded server, which then runs.

    Raises Stop(`no-database`) in production, Stop(`embedded-failed`) when the server does not start.
    """
    if settings.database:
        return settings
    if settings.production:
        raise Stop(
            "no-database",
            "no database is named",
            facts=[
                ("setting", "neither DATABASE_URL nor PGHOST, PGDATABASE, PGUSER ... is set"),
                ("production", f"because {settings.why}; development would get its own server"),
            ],
            database="not touched",
            next_step="set DATABASE_URL, for instance\nDATABASE_URL=postgresql://user:password@host:5432/name",
        )
    dsn = settings.migrate_database or use(settings.project.data)
    return settings._replace(database=dsn, migrate_database=dsn)


def use(folder: Path, options: Mapping[str, str] | None = None, linger: float = LINGER) -> Dsn:
    """Return the Dsn of the shared server in `folder`; it runs for as long as this process or a fork of it lives.

    Starts it when it does not run yet, with `options` as its settings. Waits for up to 60 s. Raises Stop(`embedded-failed`).
    """
    try:
        _join(folder)
        server = Server(folder / "postgres", options)
        if not _runs(folder, server):
            _start(folder, server, linger)
        return server.dsn
    except OSError as error:
        raise failure(folder, f"{error.strerror}: {error.filename}") from error


def leave(folder: Path) -> None:
    """Use the server in `folder` no longer: it stops when nobody else does."""
    if folder in _joined:
        os.close(_joined.pop(folder))


def gone(folder: Path) -> bool:
    """Tell whether the server in `folder`, and whoever looks after it, has ended."""
    return not file_lock.is_held(folder / "warden.lock") and not file_lock.is_held(folder / "postgres.lock")


def _join(folder: Path) -> None:
    """Be a user of the server in `folder`; waits while it stops. A folder that was removed and made again is another one."""
    while not (folder in _joined and file_lock.is_same(_joined[folder], folder / "users.lock")):
        leave(folder)
        if not folder.exists():
            folder.mkdir(parents=True, exist_ok=True)
            file_lock.give(folder)
        descriptor = file_lock.opened(folder / "users.lock")
        file_lock.wait(descriptor, file_lock.TOGETHER)
        _joined[folder] = descriptor
    os.utime(_joined[folder])


def _runs(folder: Path, server: Server) -> bool:
    return file_lock.is_held(folder / "warden.lock") and server.ready()


def _start(folder: Path, server: Server, linger: float) -> None:
    """Start the server through a new warden, unless somebody else does just that."""
    binary("postgres")
    starting = file_lock.opened(folder / "start.lock")
    try:
        file_lock.wait(starting, file_lock.ALONE)
        if _runs(folder, server):
            return
        began = time.monotonic()
        answer = _post_warden(folder, server, linger, starting)
        if answer != "ready":
            raise failure(folder, answer)
        log.info("embedded PostgreSQL in %s is up after %.1f s; no database is named", folder, time.monotonic() - began)
    finally:
        os.close(starting)


def _post_warden(folder: Path, server: Server, linger: float, starting: int) -> str:
    """Start a warden that belongs to nobody and return the first that it says: `ready`, or why not."""
    import subprocess

    # It keeps the lock on starting too, in case that we die while it starts the server.
    process = subprocess.Popen(
        [
            sys.executable,
            *("-m", "railhead.devserver.warden"),
            *(str(folder), str(linger), str(starting)),
            *(f"{name}={value}" for name, value in server.options.items()),
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd=PACKAGES,  # where `-m` finds the package; the warden leaves it at once
        start_new_session=True,
        pass_fds=[starting],
    )
    with process:
        assert process.stdout is not None
        return process.stdout.read().decode(errors="replace").strip()
