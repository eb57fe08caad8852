"""Where do the commands of a test run? In a copy of a project, as real processes."""

from __future__ import annotations

import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

from railhead.dsn import Dsn
from tests.processes import Running, environment

ROOT = Path(__file__).resolve().parent.parent
"""The folder of the project."""

_COPIED = ("railhead", "utils", "app", "migrations", "models.py", "alembic.ini", "gunicorn.conf.py", "Procfile")

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
    """A copy of the project in a folder of its own, in which commands run as real processes."""

    def __init__(self, root: Path, database: Dsn | None = None) -> None:
        """Take `root`, a copy made by `copy_project`, and the database that its commands are told."""
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


def copy_project(target: Path, source: Path = ROOT) -> None:
    """Copy what the application is made of; byte code that goes with it saves every process its compiling."""
    for name in _COPIED:
        if (source / name).is_dir():
            shutil.copytree(source / name, target / name, copy_function=shutil.copy2)
        elif (source / name).exists():
            shutil.copy2(source / name, target / name)
