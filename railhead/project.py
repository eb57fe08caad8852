"""Which project is migrated: where its files are, where its models come from, and what people type there?"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from sqlalchemy import MetaData


TEMPLATE_COMMAND = "python utils/migrate.py"
"""What people type in a clone of the template. Messages are written with it; `Project.spoken` says them as others type."""

VERSION_TABLE = "alembic_version"
LEDGER_TABLE = "migration_ledger"

OWN_TABLES = frozenset({VERSION_TABLE, LEDGER_TABLE})
"""The engine's own tables, which are no part of anybody's schema."""


def _nobody_named_models() -> MetaData:
    raise RuntimeError("this project names no models")


class Project(NamedTuple):
    """What an application hands to the engine. Everything else follows from its folder."""

    root: Path = Path()
    """The folder with alembic.ini; where one stands unless somebody says otherwise."""
    models: Callable[[], MetaData] = _nobody_named_models
    """Returns what the schema should be. Called only where that matters: importing models is not free, and they may be broken."""
    command: str = "railhead"
    """What people type to get here, for messages and help texts."""

    def spoken(self, text: str) -> str:
        """Return a text in which every command is as it is typed in this project."""
        return text.replace(TEMPLATE_COMMAND, self.command)

    @property
    def versions(self) -> Path:
        """The folder of the revision files."""
        return self.root / "migrations" / "versions"

    @property
    def manifest(self) -> Path:
        """The file that says what was sealed."""
        return self.root / "migrations" / "manifest.txt"

    @property
    def baseline(self) -> Path:
        """The file that fresh databases begin with, where the history has one."""
        return self.root / "migrations" / "baseline.sql"

    @property
    def data(self) -> Path:
        """The folder of the server of development."""
        return self.root / ".data"


HERE = Project()
"""The project in the folder where one stands, of which no more is known."""
