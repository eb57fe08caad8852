"""What does a process of a test see, and how does a test wait for what it does?

Never guesses how long something takes: `eventually` asks until it is so.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from railhead.dsn import Dsn
from tests.databases import url_of

_KEPT = {"HOME", "LANG", "LC_ALL", "PATH", "TMPDIR"}
"""What a process started by a test sees of our environment; all else is what the test says."""


def eventually(question: Callable[[], object], within: float = 10.0, what: str = "") -> None:
    """Return as soon as `question` is answered with something true; fail when it is not `within` seconds."""
    deadline = time.monotonic() + within
    while not question():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {within:g} s: {what or getattr(question, '__name__', question)}")
        time.sleep(0.01)


def environment(database: Dsn | None = None, **variables: str) -> dict[str, str]:
    """Return a clean environment: no PG*, no RAILWAY_*, nothing of ours but what is given."""
    kept = {name: value for name, value in os.environ.items() if name in _KEPT}
    return {**kept, **({"DATABASE_URL": url_of(database)} if database else {}), **variables}


class Running:
    """A process that a test started and does not wait for; what it says goes to files, so it never blocks on a pipe."""

    def __init__(self, command: Iterable[str], cwd: Path, env: dict[str, str], place: Path) -> None:
        """Start it, as the leader of a process group of its own."""
        self._files = place.with_suffix(".out"), place.with_suffix(".err")
        with self._files[0].open("wb") as stdout, self._files[1].open("wb") as stderr:
            self.process = subprocess.Popen(
                [*command],
                cwd=cwd,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                start_new_session=True,
            )

    @property
    def stdout(self) -> str:
        """What it wrote so far."""
        return self._files[0].read_text(errors="replace")

    @property
    def stderr(self) -> str:
        """What it complained of so far."""
        return self._files[1].read_text(errors="replace")

    @property
    def pid(self) -> int:
        """Its process id, which is its group's too."""
        return self.process.pid

    def wait(self, within: float = 60.0) -> int:
        """Return its exit code; fail with what it said when it does not end `within` seconds."""
        try:
            return self.process.wait(within)
        except subprocess.TimeoutExpired:
            said = self.stdout + self.stderr
            raise AssertionError(f"still running after {within:g} s: {self.process.args}\n{said}") from None

    def send(self, number: int) -> None:
        """Send it a signal, and not its children."""
        self.process.send_signal(number)

    def end(self) -> None:
        """Kill it and all that it started in its group."""
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()
