"""Which project is migrated: where its files are, where its models come from, and what people type there?"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from sqlalchemy import MetaData


TEMPLATE_COMMAND = "python utils/migrate.py"
"""What people type in a clone of the template. Messages are written with it; `Project.spoken` says them as others type."""

LEDGER_TABLE = "migration_ledger"


class VersionTable(NamedTuple):
    """Where Alembic keeps the version of a database."""

    name: str = "alembic_version"
    schema: str | None = None
    """None: wherever the search_path leads."""

    @property
    def sql(self) -> str:
        """The name as SQL writes it."""
        return ".".join(_written(part) for part in (self.schema, self.name) if part)

    @property
    def regclass(self) -> str:
        """An expression for its oid, NULL where it is not there."""
        return "to_regclass('{}')".format(self.sql.replace("'", "''"))

    def __str__(self) -> str:
        return f"{self.schema}.{self.name}" if self.schema else self.name

    def is_named_in(self, statement: str) -> bool:
        """Tell whether a statement reads or writes this table. A plain word may mean anything else, too."""
        if "_" in self.name:
            return self.name in statement
        place = rf'\b(?:INTO|UPDATE|FROM|JOIN|TABLE)\s+(?:\S+\.)?"?{re.escape(self.name)}(?!\w)'
        return bool(re.search(place, statement, re.IGNORECASE))


def _written(name: str) -> str:
    return name if name == "alembic_version" else '"{}"'.format(name.replace('"', '""'))  # any word may be a keyword


_version_table = VersionTable()

OWN_TABLES = frozenset({VersionTable().name, LEDGER_TABLE})
"""What the engine's own tables are called unless a project says otherwise."""


def version_table() -> VersionTable:
    """Return where the project that this process works on keeps its version."""
    return _version_table


def work_on(project: Project) -> None:
    """Let this process work on a project: a process has one."""
    global _version_table
    _version_table = project.version_table


def own_tables() -> frozenset[str]:
    """Return the names of the engine's own tables, which are no part of anybody's schema."""
    return OWN_TABLES | {_version_table.name}


IS_OWN = (
    f"(c.relname IN ('{VersionTable().name}', '{LEDGER_TABLE}') OR c.relnatts = 1 AND c.relkind = 'r' AND EXISTS"
    " (SELECT FROM pg_attribute v WHERE v.attrelid = c.oid AND v.attnum = 1 AND v.attname = 'version_num'))"
)
"""A condition on pg_class c: the ledger, or a table in which Alembic keeps a version, whatever it is called and whose ever it is."""


def _said_in(text: str) -> VersionTable:
    """Return what an alembic.ini says of it. A parser of such files would cost as much as all of a start with nothing to do."""
    section = text.partition("\n[railhead]")[2].partition("\n[")[0]
    said = dict(re.findall(r"^(version_table(?:_schema)?)[ \t]*[=:][ \t]*(\S.*?)[ \t]*$", section, re.MULTILINE))
    return VersionTable(said.get("version_table", VersionTable().name), said.get("version_table_schema"))


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
    def version_table(self) -> VersionTable:
        """Where the version is kept, as `[railhead]` in alembic.ini says: that file is known to every entrance, env.py is not."""
        try:
            text = (self.root / "alembic.ini").read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            return VersionTable()
        return _said_in(text) if "\nversion_table" in text else VersionTable()

    @property
    def data(self) -> Path:
        """The folder of the server of development."""
        return self.root / ".data"


HERE = Project()
"""The project in the folder where one stands, of which no more is known."""
