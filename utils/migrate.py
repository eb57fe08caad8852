"""The front door: `alembic upgrade head` before the application serves, and the command line.

`migrate_on_startup` is called by `create_app()`: it runs what is pending against DATABASE_URL (or the PG* variables), and ends
the process with status 3 when that fails. Only with DEV_CREATE_TABLES, and never in production, a failure is followed by
`metadata.create_all`. `python utils/migrate.py [COMMAND]`, from any folder, is the command line: `status` says where the
database is. The engine behind both is the package `railhead`; this file says which project it works on.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT / "utils") == str(Path(sys.path[0] or ".").resolve()):
    sys.path[0] = str(ROOT)  # started by path: the project is what we import from, not this folder
elif str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from railhead import startup
from railhead.project import TEMPLATE_COMMAND, Project
from railhead.settings import Settings

if TYPE_CHECKING:
    from sqlalchemy import MetaData


def models() -> MetaData:
    """Return what the schema should be. A function, because only some commands need it and the import is not free."""
    from models import Base

    return Base.metadata


PROJECT = Project(root=ROOT, models=models, command=TEMPLATE_COMMAND)


def migrate_on_startup(settings: Settings) -> Settings:
    """Return the settings, completed, when the application may serve. Changes the schema, writes the ledger.

    Runs `alembic upgrade head`, and ends the process with status 3 after one message when that fails; with 143 or 130 when it is
    told to stop. With DEV_CREATE_TABLES, and never in production, a failure is followed by `metadata.create_all` instead.
    """
    return startup.migrate_on_startup(settings._replace(project=PROJECT))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command of the command line and return its exit code."""
    from railhead import cli  # an application that starts needs none of it

    return cli.main(PROJECT, arguments)


if __name__ == "__main__":
    exit_code = main()
    gc.freeze()  # the last look for reference cycles before the end, among hundreds of modules, is a tenth of a run
    sys.exit(exit_code)
