"""How is a long replay spread over two processes?

The second one goes to the middle of the history without looking, and looks at what is behind it. What it does not manage, for whatever
reason, is done here once more, so that every failure is told by who asked.
"""

from __future__ import annotations

import os
import pickle  # what it reads is written by a process that we have started
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from railhead.dsn import Dsn
from railhead.hazards import history_replay
from railhead.hazards.footprint import Footprint
from railhead.history.graph import History
from railhead.project import Project

_WORTH_IT = 40
"""Fewer revisions are replayed before another process has even imported what it needs."""

_LOOK_EVERY = 0.1

_MAIN = "import pickle, sys; sys.path[:] = pickle.load(sys.stdin.buffer); from railhead.hazards.parallel_replay import _serve; _serve()"


def footprints(server: Dsn, history: History, ids: Iterable[str], tell: Callable[[str], None]) -> Iterator[Footprint]:
    """Yield the footprint of each wanted revision, in the order of the history. Changes scratch databases only.

    `tell` gets the id of each revision when it is replayed. Raises Failed when a revision does not run from empty, psycopg2.Error
    where there may be no scratch database.
    """
    chosen = set(ids)
    todo = [revision for revision in history.by_id if revision in chosen]
    if len(todo) < _WORTH_IT or _cores() < 2:
        yield from history_replay.footprints(server, history, todo, tell)
        return
    middle = len(todo) * 11 // 20  # the other one has a longer way to its first revision
    with _OtherHalf(server, history, todo[middle:]) as second:
        for footprint in history_replay.footprints(server, history, todo[:middle], tell):
            second.pass_on(tell)
            yield footprint
        done = second.finished(tell)
    yield from done
    yield from history_replay.footprints(server, history, todo[middle + len(done) :], tell)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class _OtherHalf:
    """A process that replays, and what it has found so far."""

    def __init__(self, server: Dsn, history: History, revisions: list[str]) -> None:
        self._request = pickle.dumps((server[:], history.project.root.resolve(), history.origin, revisions))
        self._found: list[Footprint] = []
        self._told = 0

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-c", _MAIN],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # what goes wrong there is told here, where it is done again
        )
        self._reader = threading.Thread(target=self._read, name="the other half of a replay", daemon=True)
        self._reader.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self._process.terminate()  # it drops its scratch databases
        self._process.wait()
        self._reader.join()

    def pass_on(self, tell: Callable[[str], None]) -> None:
        """Tell what was found since the last time."""
        for footprint in self._found[self._told :]:
            self._told += 1
            tell(footprint.revision)

    def finished(self, tell: Callable[[str], None]) -> list[Footprint]:
        """Return what was found, once nothing more comes."""
        while self._reader.is_alive():
            self._reader.join(_LOOK_EVERY)
            self.pass_on(tell)
        return self._found

    def _read(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with self._process, suppress(OSError, EOFError, pickle.UnpicklingError):
            self._process.stdin.write(pickle.dumps(sys.path) + self._request)
            self._process.stdin.close()
            answers = pickle.Unpickler(self._process.stdout)  # noqa: S301  # our own process
            while True:
                self._found.append(answers.load())


def _serve() -> None:
    """Replay what standard input asks for, and write each footprint to standard output, which is nobody else's."""
    from railhead.history import loader
    from railhead.postgres import interrupts

    server, root, origin, revisions = pickle.load(sys.stdin.buffer)  # noqa: S301  # who started us asks
    answers = _own_output()
    history = loader.history(Project(root=Path(root))).begun(origin)
    pickler = pickle.Pickler(answers)  # one for all: what two footprints share is sent once
    with interrupts.watching():
        for footprint in history_replay.footprints(Dsn(server), history, revisions, lambda _: None):
            pickler.dump(footprint)
            answers.flush()


def _own_output() -> BinaryIO:
    """Return standard output, and leave to whoever prints (a revision may) the way to nowhere."""
    own = os.dup(1)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)
    return os.fdopen(own, "wb")
