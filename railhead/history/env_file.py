"""What does the project's env.py hand in?

Its models carry the naming convention by which Alembic names what a revision leaves unnamed: they are needed wherever revisions
run, in a replay too, and nowhere else. Models that cannot be imported stop no migration. What else it hands in is what people tell
`context.configure` elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, NamedTuple, cast

import alembic.context
from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.script import ScriptDirectory

from railhead.logs import log

if TYPE_CHECKING:
    from sqlalchemy import MetaData

_MODELS = "models"
_ARGUMENTS = "arguments"
_ONLY_ASKED = "only_asked"


class EnvArguments(NamedTuple):
    """What env.py says beside the models. Everything is optional."""

    ignore: Sequence[str] = ()
    """Patterns of tables, types and other things that are somebody else's: `celery_*`, `billing.*`."""


def take(environment: EnvironmentContext, models: Callable[[], MetaData], arguments: EnvArguments) -> bool:
    """Keep what env.py hands in, for whoever asks, and tell whether there is more to do than that."""
    environment.config.attributes[_MODELS] = models
    environment.config.attributes[_ARGUMENTS] = arguments
    return _ONLY_ASKED not in environment.config.attributes


def target_metadata(config: Config, script: ScriptDirectory) -> MetaData | None:
    """Return the models of the project, None when it has no env.py. Asks env.py, unless it is what called us.

    They are imported once something of them is asked for; where that fails, a warning says so.
    """
    models = _asked(config, script).attributes.get(_MODELS)
    return cast("MetaData", _Late(cast("Callable[[], MetaData]", models))) if models else None


class _Late:
    """The models, imported when an operation asks for their naming convention: of raw SQL none does, and SQLAlchemy's ORM takes 100 ms."""

    def __init__(self, models: Callable[[], MetaData]) -> None:
        self._models = models

    def __getattr__(self, name: str) -> object:
        if "_found" not in self.__dict__:
            self._found = _imported(self._models)
        return getattr(self._found, name)


def arguments(config: Config, script: ScriptDirectory) -> EnvArguments:
    """Return what env.py says beside the models. Asks it, unless it is what called us."""
    try:
        said = _asked(config, script).attributes.get(_ARGUMENTS)
    except Exception as error:  # anybody's code, which who only looks does not need
        log.warning("migrations/env.py cannot be asked what it leaves out: %s: %s", type(error).__name__, error)
        said = None
    return said if isinstance(said, EnvArguments) else EnvArguments()


def _asked(config: Config, script: ScriptDirectory) -> Config:
    """Return the configuration in which env.py has put what it hands in."""
    if hasattr(alembic.context, "config"):  # Alembic's proxy is installed: we are called by way of env.py
        return alembic.context.config
    with _one_at_a_time:
        if _MODELS not in config.attributes:
            _ask(config, script)
    return config


_one_at_a_time = Lock()
"""Alembic's proxies belong to the process, and an application asks in several threads."""


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
