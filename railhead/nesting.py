"""Is the engine at work in this process already?

Revisions make applications (`create_app()` in `upgrade()`, at the top of the file, in env.py), and an application brings its database
to head before it serves. Inside the engine, or inside Alembic, there is nothing to be brought anywhere: it may have its application.
Imports nothing of the engine's, and nothing that takes time.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import NamedTuple

_MARK = "RAILHEAD_MIGRATES"
"""Tells programs that a revision starts who migrates, and which database: `4121 name`. Set while revisions run, read by nobody else."""


_ANY = "*"
"""In the place of the name, while revisions are only tried: a program that one of them starts then must migrate nothing at all."""


class _Work(NamedTuple):
    """What the engine does in this process. Threads that were there before it are not called by its revisions."""

    process: int
    thread: int
    others: frozenset[int]
    revisions: bool
    tried_on: str | None


_works: list[_Work] = []


@contextmanager
def at_work() -> Iterator[None]:
    """Inside, the engine is at work."""
    with _doing(revisions=False, tried_on=None):
        yield


@contextmanager
def running(database: str) -> Iterator[None]:
    """Inside, revisions run on the database of that name; programs that are started know it, too."""
    with _doing(revisions=True, tried_on=None), _marked(database):
        yield


@contextmanager
def trying(dsn: str) -> Iterator[None]:
    """Inside, revisions are only tried, on a database of their own: whatever they make shall find that one."""
    with _doing(revisions=True, tried_on=dsn), _marked(_ANY):
        yield


def is_nested() -> bool:
    """Tell whether who asks was called by the engine, or by Alembic, in this thread, or in one that began meanwhile."""
    return is_at_work() or ("alembic" in sys.modules and any(map(_is_alembics, _frames())))


def is_at_work() -> bool:
    """Tell whether who asks was called by the engine."""
    return any(map(_is_inside, _works))


def is_migrating() -> bool:
    """Tell whether who asks was called by a revision that this process runs."""
    return any(work.revisions and _is_inside(work) for work in _works)


def is_in_flask_command() -> bool:
    """Tell whether a command of flask's makes the application, after which no request follows: `flask routes`, `flask shell`, `flask db`."""
    click = sys.modules.get("click")
    context = click.get_current_context(silent=True) if click and "flask.cli" in sys.modules else None
    if context is None or context.info_name == "run":
        return False
    return isinstance(context.find_root().command, sys.modules["flask.cli"].FlaskGroup)


def tried_on() -> str | None:
    """Return the database on which revisions are only tried, None when they run where the settings say."""
    return next((work.tried_on for work in reversed(_works) if work.tried_on is not None and _is_inside(work)), None)


def caller(folder: Path) -> str | None:
    """Return the line of the revision in `folder`, or of the env.py above it, that called who asks; None when it was another thread."""
    lines = [(Path(frame.f_code.co_filename), frame.f_lineno) for frame in _frames()]
    revisions = (f"migrations/versions/{path.name}, line {line}" for path, line in lines if path.parent == folder)
    envs = (f"migrations/env.py, line {line}" for path, line in lines if path == folder.parent / "env.py")
    return next(revisions, None) or next(envs, None)


def is_started_by_revision(database: str) -> bool:
    """Tell whether this process was started by a revision that still runs, in another one, on the database of that name."""
    pid, _, name = os.environ.get(_MARK, "").partition(" ")
    if not pid.isdecimal() or name not in {database, _ANY} or int(pid) == os.getpid():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass  # it is somebody else's
    return True


@contextmanager
def _doing(*, revisions: bool, tried_on: str | None) -> Iterator[None]:
    others = frozenset(id(thread) for thread in threading.enumerate())
    _works.append(_Work(os.getpid(), threading.get_ident(), others, revisions, tried_on))
    try:
        yield
    finally:
        _works.pop()


@contextmanager
def _marked(database: str) -> Iterator[None]:
    before = os.environ.get(_MARK)
    os.environ[_MARK] = f"{os.getpid()} {database}"
    try:
        yield
    finally:
        os.environ.pop(_MARK, None)
        if before is not None:
            os.environ[_MARK] = before


def _is_inside(work: _Work) -> bool:
    """Tell whether this thread does the work, began while it was done, or is a copy of the one that does, in a child."""
    here = threading.current_thread()
    return work.process != os.getpid() or threading.get_ident() == work.thread or id(here) not in work.others


def _frames() -> Iterator[FrameType]:
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001  `inspect` would be one more import
    while frame is not None:
        yield frame
        frame = frame.f_back


def _is_alembics(frame: FrameType) -> bool:
    return str(frame.f_globals.get("__name__")).startswith(("alembic.script.", "alembic.runtime.", "alembic.command"))
