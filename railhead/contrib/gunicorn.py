"""Post-deploy work beside gunicorn: one process for each master, which begins once the port is open and ends with its master.

In gunicorn.conf.py: `from railhead.contrib.gunicorn import when_ready`. That import is also what tells a start that somebody does the
work that it leaves.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Protocol

from railhead import startup
from railhead.project import Project, around
from railhead.settings import load

startup.has_finisher = True


class Configuration(Protocol):
    """What is read of gunicorn's settings."""

    preload_app: bool
    chdir: str


class Master(Protocol):
    """What is used of gunicorn's master."""

    cfg: Configuration


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
