"""Which private parts of Alembic do we rely on? All of them stand here, each pinned by a test."""

from __future__ import annotations

import re
import threading
import traceback
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import alembic
import alembic.context
import alembic.op
from alembic.operations import Operations
from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import HeadMaintainer, MigrationContext, _ProxyTransaction
from alembic.script import base

SCRIPT = Path(alembic.__file__).parent / "script"
"""Warnings about how the revisions hang together come from here, and none about what the files hold."""

# Alembic leaves out the locks of Emacs and would load what macOS leaves behind; see history/files.py. Commands that never come
# to env.py (`alembic heads`) still do.
base._only_source_rev_file = re.compile(r"(?!\.|__init__)(.*\.py)$")  # noqa: SLF001


def being_loaded(error: BaseException) -> Path | None:
    """Return the revision file that Alembic was loading when this was raised, None when it was doing something else."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__) if frame.f_code.co_name == _LOADS]
    places = [frame.f_locals.get("path") for frame in frames if Path(frame.f_code.co_filename).parent == SCRIPT]
    return Path(places[-1]) if places and places[-1] else None


_LOADS = base.Script._from_path.__name__  # noqa: SLF001


class Heads(HeadMaintainer):
    """What Alembic makes of the heads with each step, without its statement for each."""

    def _insert_version(self, version: str) -> None:
        self.heads.add(version)

    def _delete_version(self, version: str) -> None:
        self.heads.remove(version)

    def _update_version(self, from_: str, to_: str) -> None:
        self.heads.remove(from_)
        self.heads.add(to_)


@contextmanager
def keeping_context() -> Iterator[None]:
    """Leave `alembic.context` as it was: a command of Alembic's that a revision calls takes it away when it ends, and its way out fails."""
    proxy: EnvironmentContext = vars(alembic.context)["_proxy"]
    try:
        yield
    finally:
        if not hasattr(alembic.context, "config"):
            proxy._install_proxy()  # noqa: SLF001


def follow(context: MigrationContext) -> None:
    """Let Alembic take the transaction that its connection is in, or begins now, for its own: a commit by hand has ended that one."""
    assert context.connection is not None
    context._transaction = context.connection.get_transaction() or context.connection.begin()  # noqa: SLF001  what this module is for


def one_each(context: MigrationContext) -> AbstractContextManager[object]:
    """Let each revision have its own transaction from here on, and return what ends the one that we are in."""
    context._transaction_per_migration = True  # noqa: SLF001
    return _ProxyTransaction(context)


@contextmanager
def answering(operations: Operations) -> Iterator[None]:
    """Let `alembic.op` speak to these operations in this thread; every other thread speaks to whom it spoke before."""
    module = vars(alembic.op)
    with _SPEAKS:
        was = {"_proxy": module["_proxy"]} if "_proxy" in module else {}
        module["_proxy"] = _ByThread(operations, was.get("_proxy"))
        try:
            yield
        finally:
            del module["_proxy"]
            module.update(was)


_SPEAKS = threading.Lock()


class _ByThread:
    """Operations of the thread that made it, and those of all others."""

    def __init__(self, ours: Operations, others: Operations | None) -> None:
        self._thread = threading.get_ident()
        self._ours, self._others = ours, others

    def __getattr__(self, name: str) -> object:
        return getattr(self._ours if threading.get_ident() == self._thread else self._others, name)
