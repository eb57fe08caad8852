"""Which private parts of Alembic do we rely on? All of them stand here, each pinned by a test."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import alembic
import alembic.context
from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import HeadMaintainer, MigrationContext, _ProxyTransaction

SCRIPT = Path(alembic.__file__).parent / "script"
"""Warnings about how the revisions hang together come from here, and none about what the files hold."""


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
