"""Where do the commands of a test run? In a copy of a project, as real processes.

Tests of the engine have a project of their own in `tests/project`; only those of the application copy the sample.
"""

from __future__ import annotations

import compileall
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from railhead.dsn import Dsn
from railhead.project import TEMPLATE_COMMAND, Project
from tests.databases import rows_of
from tests.processes import Running, environment

if TYPE_CHECKING:
    from sqlalchemy import MetaData

ROOT = Path(__file__).resolve().parent.parent
"""The folder of the repository: the engine, the template, and the sample application."""

OWN = Path(__file__).with_name("project")
"""What is particular in the project of the engine's tests; the rest of a copy is the template's."""


def _models() -> MetaData:
    from tests.project.models import Base

    return Base.metadata


PROJECT = Project(root=OWN, models=_models, command=TEMPLATE_COMMAND)
"""That project where it stands, for tests that ask the engine in their own process."""

_ENGINE = ("railhead", "utils", "alembic.ini", "gunicorn.conf.py", "Procfile")
_SAMPLE = ("app", "migrations", "models.py")
_TEMPLATE = ("env.py", "script.py.mako")
_IGNORED = shutil.ignore_patterns("__pycache__")

_REVISION = '''\
"""{message}"""

import sqlalchemy as sa
from alembic import op

revision = {revision!r}
down_revision = {parent!r}
{extra}

def upgrade() -> None:
{upgrade}


def downgrade() -> None:
{downgrade}
'''


class Tree:
    """A copy of a project in a folder of its own, in which commands run as real processes."""

    def __init__(self, root: Path, database: Dsn | None = None) -> None:
        """Take `root`, a copy of a project, and the database that its commands are told."""
        self.root = root
        self.database = database
        self.versions = root / "migrations" / "versions"
        self._last: str | None = None
        self._started: list[Running] = []

    def write(
        self,
        name: str,
        upgrade: str = "pass",
        downgrade: str = "pass",
        *,
        after: str | tuple[str, ...] | None = None,
        revision: str | None = None,
        extra: str = "",
    ) -> Path:
        """Write the revision file `name`.py, which follows the one written before it unless `after` names another."""
        revision = revision or name
        path = self.versions / f"{name}.py"
        path.write_text(
            _REVISION.format(
                message=name.replace("_", " "),
                revision=revision,
                parent=after or self._last,
                extra=extra,
                upgrade=textwrap.indent(textwrap.dedent(upgrade).strip(), "    "),
                downgrade=textwrap.indent(textwrap.dedent(downgrade).strip(), "    "),
            )
        )
        self._last = revision
        return path

    def clear(self) -> None:
        """Take the revisions away, with what was sealed of them."""
        shutil.rmtree(self.versions)
        self.versions.mkdir()
        (self.root / "migrations" / "manifest.txt").unlink(missing_ok=True)

    def run(
        self, *command: str, within: float = 60.0, text: str = "", **variables: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in the tree and return how it ended; `variables` add to its clean environment."""
        return subprocess.run(
            [*command],
            cwd=self.root,
            env=environment(self.database, **variables),
            input=text,
            capture_output=True,
            text=True,
            timeout=within,
            check=False,
        )

    def start(self, *command: str, **variables: str) -> Running:
        """Start a command in the tree and go on; what still runs when the test ends is killed."""
        place = self.root / f"process-{len(self._started)}"
        running = Running(command, self.root, environment(self.database, **variables), place)
        self._started.append(running)
        return running

    def migrate(self, *arguments: str, text: str = "", **variables: str) -> subprocess.CompletedProcess[str]:
        """Run `python utils/migrate.py` with these arguments."""
        return self.run(*MIGRATE, *arguments, text=text, **variables)

    def alembic(self, *arguments: str, text: str = "", **variables: str) -> subprocess.CompletedProcess[str]:
        """Run `alembic`, as one types it."""
        return self.run(*ALEMBIC, *arguments, text=text, **variables)

    def end(self) -> None:
        """Kill what still runs."""
        for running in self._started:
            running.end()


MIGRATE = (sys.executable, "utils/migrate.py")
ALEMBIC = (str(Path(sys.executable).with_name("alembic")),)
GUNICORN = (str(Path(sys.executable).with_name("gunicorn")),)


def sql(tree: Tree, statement: str) -> list[tuple[object, ...]]:
    """Return the rows of one statement in the database of the tree."""
    assert tree.database
    return rows_of(tree.database, statement)


def planted(source: Path, root: Path, database: Dsn) -> Iterator[Tree]:
    """Give a copy of the project in `source`, whose commands are told `database`."""
    shutil.copytree(source, root)
    tree = Tree(root, database)
    yield tree
    tree.end()


def compiled(root: Path, copy: Callable[[Path], None]) -> Path:
    """Return `root` with a project in it; byte code that is copied with it saves every process its compiling."""
    copy(root)
    compileall.compile_dir(root, quiet=2)
    return root


def copy_project(target: Path) -> None:
    """Make the project of the engine's tests: the engine, the template's files, and what `tests/project` has of its own."""
    _copy(ROOT, _ENGINE, target)
    shutil.copytree(OWN, target, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__", "alembic.ini"))
    for name in _TEMPLATE:
        shutil.copy2(ROOT / "migrations" / name, target / "migrations" / name)


def copy_sample(target: Path) -> None:
    """Make a copy of what the sample application is made of."""
    _copy(ROOT, (*_ENGINE, *_SAMPLE), target)


def _copy(source: Path, names: tuple[str, ...], target: Path) -> None:
    for name in names:
        if (source / name).is_dir():
            shutil.copytree(source / name, target / name, ignore=_IGNORED)
        else:
            shutil.copy2(source / name, target / name)
