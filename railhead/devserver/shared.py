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
from typing import NoReturn

from railhead.devserver import file_lock as filelock
from railhead.devserver.binaries import binary, failure
from railhead.devserver.server import Server
from railhead.errors import Stop
from railhead.logs import log
from railhead.settings import ROOT, Dsn, Settings

FOLDER = ROOT / ".data"
LINGER = 3.0
"""Seconds that the server outlives its last user, so that a chain of shell commands does not start it each time."""

_LOOK_EVERY = 0.25

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
                ("production", "because APP_ENV or a RAILWAY_* variable says so; development would get its own server"),
            ],
            database="not touched",
            next_step="set DATABASE_URL, for instance\nDATABASE_URL=postgresql://user:password@host:5432/name",
        )
    dsn = settings.migrate_database or use()
    return settings._replace(database=dsn, migrate_database=dsn)


def use(folder: Path = FOLDER, options: Mapping[str, str] | None = None, linger: float = LINGER) -> Dsn:
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


def leave(folder: Path = FOLDER) -> None:
    """Use the server in `folder` no longer: it stops when nobody else does."""
    if folder in _joined:
        os.close(_joined.pop(folder))


def gone(folder: Path = FOLDER) -> bool:
    """Tell whether the server in `folder`, and whoever looks after it, has ended."""
    return not filelock.is_held(folder / "warden.lock") and not filelock.is_held(folder / "postgres.lock")


def _join(folder: Path) -> None:
    """Be a user of the server in `folder`; waits while it stops. A folder that was removed and made again is another one."""
    while not (folder in _joined and filelock.is_same(_joined[folder], folder / "users.lock")):
        leave(folder)
        if not folder.exists():
            folder.mkdir(parents=True, exist_ok=True)
            filelock.give(folder)
        descriptor = filelock.opened(folder / "users.lock")
        filelock.wait(descriptor, filelock.TOGETHER)
        _joined[folder] = descriptor
    os.utime(_joined[folder])


def _runs(folder: Path, server: Server) -> bool:
    return filelock.is_held(folder / "warden.lock") and server.ready()


def _start(folder: Path, server: Server, linger: float) -> None:
    """Start the server through a new warden, unless somebody else does just that."""
    binary("postgres")
    starting = filelock.opened(folder / "start.lock")
    try:
        filelock.wait(starting, filelock.ALONE)
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
            *(
                "-c",
                "import sys; sys.path[:0] = sys.argv[1:2]; from railhead.devserver.shared import _ward; _ward(*sys.argv[2:])",
            ),
            *(str(ROOT), str(folder), str(linger), str(starting)),
            *(f"{name}={value}" for name, value in server.options.items()),
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd="/",
        start_new_session=True,
        pass_fds=[starting],
    )
    with process:
        assert process.stdout is not None
        return process.stdout.read().decode(errors="replace").strip()


def _ward(place: str, linger: str, starting: str, *options: str) -> NoReturn:
    """Be the warden: start the server, say so, stop it when nobody has used it for `linger` seconds."""
    import signal

    if os.fork():
        os._exit(0)  # the caller waits for this half, the other half belongs to nobody
    folder = Path(place)
    server = Server(folder / "postgres", dict(option.split("=", 1) for option in options))
    warden = filelock.opened(folder / "warden.lock")
    users = filelock.opened(folder / "users.lock")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        filelock.wait(warden, filelock.ALONE)
        server.start()
        print("ready", flush=True)
        _be_quiet()
        os.close(int(starting))
        _wait_for_the_last_user(server, users, folder / "users.lock", float(linger))
    except Stop as stop:
        print("\n".join(text for _, text in stop.facts), flush=True)
    finally:
        server.stop("fast" if server.data.exists() else "immediate")
    sys.exit(0)


def _wait_for_the_last_user(server: Server, users: int, path: Path, linger: float) -> None:
    """Return when nobody has used the server for `linger` seconds, with the door locked; or when the server is gone."""
    busy, seen = time.monotonic(), 0
    while server.running() and filelock.is_same(users, path):
        last_entry = os.fstat(users).st_mtime_ns
        alone = filelock.taken(users, filelock.ALONE)
        if not alone or last_entry != seen:
            busy, seen = time.monotonic(), last_entry
        if alone:
            if time.monotonic() - busy >= linger:
                return
            filelock.wait(users, filelock.FREE)
        time.sleep(_LOOK_EVERY)


def _be_quiet() -> None:
    """Let go of the caller's pipe, which ends its waiting."""
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in (1, 2):
        os.dup2(nothing, descriptor)
    os.close(nothing)
