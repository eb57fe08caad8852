"""A start under gunicorn: the port answers while it works, and post-deploy work is done once it is open.

In gunicorn.conf.py: `from railhead.contrib.gunicorn import listen_first, on_starting, post_fork, when_ready`, and, where the port is known,
`listen_first(host, port)`. That import is also what tells a start that somebody does the work that it leaves.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from railhead import startup
from railhead.contrib.standby import Flag, Standby
from railhead.project import Project, around
from railhead.settings import load

startup.has_finisher = True

_opened: list[socket.socket] = []
_serves: Flag | None = None
"""Left by the first worker that serves, where each starts the application by itself."""


class Configuration(Protocol):
    """What is read of gunicorn's settings."""

    preload_app: bool
    chdir: str
    address: list[Any]


class Master(Protocol):
    """What is used of gunicorn's master."""

    cfg: Configuration
    log: Any
    LISTENERS: list[Any]


class Worker(Protocol):
    """What is used of one of gunicorn's workers."""

    sockets: Sequence[Any]


def listen_first(host: str, port: int) -> None:
    """Let a start that takes long answer on this port itself: `/healthz` with 200, everything else with 503.

    Gunicorn takes the port over from it, with whoever waits there.
    """
    global _serves
    _serves = Flag()
    startup.meanwhile = lambda: Standby(partial(_open, host, port))


def _open(host: str, port: int) -> list[socket.socket]:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    _opened.append(socket.create_server((host, port), family=family, backlog=2048))
    return _opened


def on_starting(master: Master) -> None:
    """Give gunicorn the port on which the start has answered, as it is. Gunicorn calls it before it opens one itself."""
    from gunicorn.sock import TCP6Socket, TCPSocket

    for opened in _opened:
        address = opened.getsockname()[:2]
        if [tuple(place) for place in master.cfg.address] == [address]:
            kind = TCP6Socket if opened.family == socket.AF_INET6 else TCPSocket
            master.LISTENERS = [kind(address, master.cfg, master.log, fd=os.dup(opened.fileno()))]
        opened.close()
    _opened.clear()


def post_fork(master: Master, worker: Worker) -> None:
    """Where each worker starts the application by itself, let it answer meanwhile on the port that it will serve. Gunicorn calls it."""
    if not master.cfg.preload_app and _serves is not None:
        startup.meanwhile = lambda: Standby(lambda: [listener.sock for listener in worker.sockets], _serves)


def when_ready(master: Master) -> None:
    """Start the process that does post-deploy work, unless this start has seen that there is none. Gunicorn calls it when the port is open."""
    if master.cfg.preload_app and not startup.unfinished:
        return
    root = around(Path(master.cfg.chdir))
    settings = load(Project(root))
    if settings.migrate_on_start == "off" or not startup.leaves_post_deploy_work(settings):
        return
    front_door = root / "utils" / "migrate.py"
    door = [str(front_door)] if front_door.is_file() else ["-m", "railhead"]
    subprocess.Popen(
        [sys.executable, *door, "finish", "--beside", str(os.getpid())],
        cwd=root,
        stdin=subprocess.DEVNULL,
        stderr=subprocess.STDOUT,  # platforms show what comes on standard error as errors
    )
