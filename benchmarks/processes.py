"""How long did a program take, and how much memory did it need at most?

Starts `launcher.py` for each measurement and hands its answer on. Keeps what programs print in one log file.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks import places

PATIENCE = 900.0
"""Seconds after which a measurement is given up."""


class Ended(NamedTuple):
    """One process that has ended: seconds since the first of its batch started, peak memory in bytes, exit code."""

    seconds: float
    memory: int
    exit_code: int


class ProgramFailed(Exception):
    """A program that was to succeed did not; the message holds the end of what it printed."""


def run(command: Sequence[str], tree: Path, environment: Mapping[str, str], count: int = 1) -> list[Ended]:
    """Start `count` copies of `command` at once and return them in the order in which they ended, whatever their exit codes.

    Raises ProgramFailed when they do not end within PATIENCE.
    """
    places.LOG.unlink(missing_ok=True)
    order = json.dumps({"command": list(command), "count": count, "log": str(places.LOG)})
    launcher = [str(places.PYTHON), "-I", "-S", str(places.HERE / "launcher.py"), order]
    with subprocess.Popen(
        launcher, cwd=tree, env=environment, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        try:
            answer, _ = process.communicate(timeout=PATIENCE)
        except BaseException as error:
            os.killpg(process.pid, signal.SIGKILL)
            if isinstance(error, subprocess.TimeoutExpired):
                raise ProgramFailed(f"{command[0]} did not end within {PATIENCE:.0f} s\n{_last_words()}") from None
            raise
    return [Ended(**ended) for ended in json.loads(answer)]


def once(command: Sequence[str], tree: Path, environment: Mapping[str, str]) -> Ended:
    """Run `command` and return how it went. Raises ProgramFailed when its exit code is not 0."""
    (ended,) = run(command, tree, environment)
    if ended.exit_code:
        raise ProgramFailed(f"{' '.join(command)} ended with {ended.exit_code} in {tree}\n{_last_words()}")
    return ended


def printed(command: Sequence[str], tree: Path, environment: Mapping[str, str]) -> str:
    """Return what `command` prints on standard output. Raises ProgramFailed when its exit code is not 0."""
    return completed(command, tree, environment).stdout


def completed(command: Sequence[str], tree: Path, environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Run `command` and return what it printed. Raises ProgramFailed when its exit code is not 0."""
    done = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ProgramFailed(f"{' '.join(command)} ended with {done.returncode} in {tree}\n{done.stderr[-3000:]}")
    return done


def _last_words() -> str:
    return places.LOG.read_text(errors="replace")[-3000:] if places.LOG.is_file() else ""
