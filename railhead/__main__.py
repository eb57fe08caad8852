"""`railhead` and `python -m railhead`: the command line of the project in which one stands."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from railhead import cli
from railhead.errors import IMPOSSIBLE, Stop
from railhead.project import Project, around

if TYPE_CHECKING:
    from sqlalchemy import MetaData

MODELS = "models:Base.metadata"
"""Where the models are when alembic.ini says nothing else."""


def main() -> int:
    """Run one command on the project around this folder and return its exit code."""
    root = around(Path.cwd())
    if str(root) not in sys.path:
        sys.path.insert(0, str(root))  # `models` and what revisions import
    exit_code = cli.main(Project(root=root, models=_models(root)))
    gc.freeze()  # the last look for reference cycles before the end, among hundreds of modules, is a tenth of a run
    return exit_code


def _models(root: Path) -> Callable[[], MetaData]:
    def models() -> MetaData:
        from configparser import ConfigParser
        from importlib import import_module
        from operator import attrgetter

        alembic_ini = ConfigParser(interpolation=None)
        alembic_ini.read(Project(root).alembic_ini, encoding="utf-8")
        named = alembic_ini.get("railhead", "models", fallback=MODELS)
        module, _, attribute = named.partition(":")
        try:
            metadata: MetaData = attrgetter(attribute)(import_module(module))
        except (ImportError, AttributeError, ValueError) as error:
            raise Stop(
                "no-models",
                "the models cannot be imported",
                facts=[("alembic.ini", f"[railhead] models = {named}"), ("Python", f"{type(error).__name__}: {error}")],
                database="unchanged",
                next_step="name the module and the metadata there, for instance:\n[railhead]\nmodels = models:Base.metadata",
                exit_code=IMPOSSIBLE,
            ) from error
        return metadata

    return models


if __name__ == "__main__":
    sys.exit(main())
