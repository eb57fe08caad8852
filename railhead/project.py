"""Which project is migrated: where its files are, where its models come from, and what people type there?"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from railhead.masking import masked

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


_INI = "alembic.ini"
_OPTION = re.compile(r"^(\w+)[ \t]*[=:][ \t]*(\S.*?)[ \t]*$", re.MULTILINE)


def _options(text: str, section: str) -> dict[str, str]:
    """Return what an alembic.ini says. A parser of such files would cost as much as all of a start with nothing to do."""
    return dict(_OPTION.findall(f"\n{text}".partition(f"\n[{section}]")[2].partition("\n[")[0]))


def _version_table_in(text: str) -> VersionTable:
    said = _options(text, "railhead")
    return VersionTable(said.get("version_table", VersionTable().name), said.get("version_table_schema"))


def root_of(alembic_ini: Path) -> Path:
    """Return the folder of the project whose alembic.ini this is: the one above where it stands beside env.py, as Flask-Migrate's does."""
    folder = alembic_ini.resolve().parent
    return folder.parent if (folder / "env.py").is_file() else folder


def around(place: Path) -> Path:
    """Return the folder of the project in which `place` is; `place` itself where there is none."""
    for folder in (place, *place.parents):
        for alembic_ini in (folder / _INI, folder / "migrations" / _INI):
            if alembic_ini.is_file():
                return root_of(alembic_ini)
    return place


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
    configuration: Callable[[], Mapping[str, object]] = dict
    """Returns what the application's own configuration says of settings, by their names. The environment goes first, but for the database."""

    def spoken(self, text: str) -> str:
        """Return a text for people: every command as it is typed in this project, every file where it is, and no secret."""
        text = masked(text).replace(TEMPLATE_COMMAND, self.command)
        return _placed(text, self) if "migrations/" in text else text

    @property
    def alembic_ini(self) -> Path:
        """Alembic's configuration: in the folder, or beside env.py below it, where Flask-Migrate has it."""
        for place in (self.root / _INI, self.root / "migrations" / _INI):
            if place.is_file():
                return place
        below = (place for place in sorted(self.root.glob(f"*/{_INI}")) if (place.parent / "env.py").is_file())
        return next(below, self.root / _INI)

    @property
    def options(self) -> Mapping[str, str]:
        """What `[railhead]` in alembic.ini says."""
        return _options(_text_of(self.alembic_ini), "railhead")

    @property
    def scripts(self) -> Path:
        """The folder of env.py and of what the engine writes."""
        return self._places()[0]

    @property
    def versions(self) -> Path:
        """The folder of the revision files."""
        return self._places()[1]

    @property
    def manifest(self) -> Path:
        """The file that says what was sealed."""
        return self.scripts / "manifest.txt"

    @property
    def baseline(self) -> Path:
        """The file that fresh databases begin with, where the history has one."""
        return self.scripts / "baseline.sql"

    def _places(self) -> tuple[Path, Path]:
        alembic_ini = self.alembic_ini
        return _places_in(_text_of(alembic_ini), alembic_ini, self.root)

    @property
    def version_table(self) -> VersionTable:
        """Where the version is kept, as `[railhead]` in alembic.ini says: that file is known to every entrance, env.py is not."""
        text = _text_of(self.alembic_ini)
        return _version_table_in(text) if "\nversion_table" in text else VersionTable()

    @property
    def data(self) -> Path:
        """The folder of the server of development."""
        return self.root / ".data"


def _text_of(alembic_ini: Path) -> str:
    try:
        return alembic_ini.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""


@lru_cache
def _places_in(text: str, alembic_ini: Path, root: Path) -> tuple[Path, Path]:
    said = _options(text, "alembic")
    beside = alembic_ini.parent if root_of(alembic_ini) != alembic_ini.parent else root / "migrations"
    scripts = _place(said["script_location"], alembic_ini, root) if "script_location" in said else beside
    named = said.get("version_locations")
    return scripts, _place(named, alembic_ini, root) if named else scripts / "versions"


def _place(named: str, alembic_ini: Path, root: Path) -> Path:
    """Return the folder that an option names: a path, with `%(here)s` or from the root, or `package:folder`."""
    path = named.replace("%(here)s", str(alembic_ini.parent)).replace("%%", "%")
    package, colon, folder = path.partition(":")
    if colon and package.replace(".", "").isidentifier():
        path = f"{package.replace('.', '/')}/{folder}"
    return root / path


def _placed(text: str, project: Project) -> str:
    """Return a text in which the folders of the template are those of the project."""
    scripts, versions = project._places()  # noqa: SLF001
    try:
        above, below = (f"{place.relative_to(project.root).as_posix()}/" for place in (scripts, versions))
    except ValueError:
        return text  # they are elsewhere: what the folders of the template are called says as much
    if (above, below) == ("migrations/", "migrations/versions/"):
        return text
    text = re.sub(r"(?<![\w/.-])migrations/versions/", lambda _: "\0", text)
    return re.sub(r"(?<![\w/.-])migrations/", lambda _: above, text).replace("\0", below)


HERE = Project()
"""The project in the folder where one stands, of which no more is known."""
