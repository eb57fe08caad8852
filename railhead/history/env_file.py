"""What does the project's env.py hand in?

Its models carry the naming convention by which Alembic names what a revision leaves unnamed: they are needed wherever revisions
run, in a replay too, and nowhere else. Models that cannot be imported stop no migration.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, cast

import alembic.context
from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.script import ScriptDirectory

from railhead.logs import log

if TYPE_CHECKING:
    from sqlalchemy import MetaData

_MODELS = "models"
_ONLY_ASKED = "only_asked"


def take(environment: EnvironmentContext, models: Callable[[], MetaData]) -> bool:
    """Keep what env.py hands in, for whoever asks `target_metadata`, and tell whether there is more to do than that."""
    environment.config.attributes[_MODELS] = models
    return _ONLY_ASKED not in environment.config.attributes


def target_metadata(config: Config, script: ScriptDirectory) -> MetaData | None:
    """Return the models of the project, None when it has no env.py. Asks env.py, unless it is what called us.

    They are imported once something of them is asked for; where that fails, a warning says so.
    """
    if hasattr(alembic.context, "config"):  # Alembic's proxy is installed: we are called by way of env.py
        config = alembic.context.config
    elif _MODELS not in config.attributes:
        _ask(config, script)
    models = config.attributes.get(_MODELS)
    return cast("MetaData", _Late(cast("Callable[[], MetaData]", models))) if models else None


class _Late:
    """The models, imported when an operation asks for their naming convention: of raw SQL none does, and SQLAlchemy's ORM takes 100 ms."""

    def __init__(self, models: Callable[[], MetaData]) -> None:
        self._models = models

    def __getattr__(self, name: str) -> object:
        if "_found" not in self.__dict__:
            self._found = _imported(self._models)
        return getattr(self._found, name)


def _ask(config: Config, script: ScriptDirectory) -> None:
    if not Path(script.env_py_location).exists():
        return
    config.attributes[_ONLY_ASKED] = True
    try:
        with EnvironmentContext(config, script):
            script.run_env()
    finally:
        del config.attributes[_ONLY_ASKED]


def _imported(models: Callable[[], MetaData]) -> MetaData | None:
    try:
        return models()
    except Exception as error:
        log.warning(
            "the models cannot be imported, so revisions run without their naming convention: %s: %s",
            type(error).__name__,
            error,
        )
        return None
