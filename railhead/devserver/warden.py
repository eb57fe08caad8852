"""When may the shared server stop? A process that waits for its last user."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import NoReturn

from railhead.devserver import file_lock
from railhead.devserver.server import Server
from railhead.errors import Stop

_LOOK_EVERY = 0.25


def ward(place: str, linger: str, starting: str, *options: str) -> NoReturn:
    """Be the warden: start the server, say so, stop it when nobody has used it for `linger` seconds."""
    os.chdir("/")  # whoever removes the folder that it was started in does not wait for the warden
    import signal

    if os.fork():
        os._exit(0)  # the caller waits for this half, the other half belongs to nobody
    folder = Path(place)
    server = Server(folder / "postgres", dict(option.split("=", 1) for option in options))
    warden = file_lock.opened(folder / "warden.lock")
    users = file_lock.opened(folder / "users.lock")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        file_lock.wait(warden, file_lock.ALONE)
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
    busy, latest = time.monotonic(), 0
    while server.running() and file_lock.is_same(users, path):
        last_entry = os.fstat(users).st_mtime_ns
        alone = file_lock.taken(users, file_lock.ALONE)
        if not alone or last_entry != latest:
            busy, latest = time.monotonic(), last_entry
        if alone:
            if time.monotonic() - busy >= linger:
                return
            file_lock.wait(users, file_lock.FREE)
        time.sleep(_LOOK_EVERY)


def _be_quiet() -> None:
    """Let go of the caller's pipe, which ends its waiting."""
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in (1, 2):
        os.dup2(nothing, descriptor)
    os.close(nothing)


if __name__ == "__main__":
    ward(*sys.argv[1:])
