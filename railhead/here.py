"""Which project is it in which somebody stands? Its folder, its models and what its application says, each asked for when it matters."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from railhead import named_models
from railhead.project import Project, around
from railhead.settings import names_a_database

if TYPE_CHECKING:
    from sqlalchemy import MetaData


def project(place: Path | None = None) -> Project:
    """Return the project around a folder, the current one unless given, from which Python imports from now on."""
    root = around((place or Path.cwd()).resolve())
    if str(root) not in sys.path:
        sys.path.insert(0, str(root))  # `models` and what revisions import
    return Project(root=root, models=_models(root), configuration=_configuration(root))


def _models(root: Path) -> Callable[[], MetaData]:
    """Return what imports the models: those that alembic.ini names, else those that env.py hands in."""
    named = Project(root)
    if named_models.named(named) or not _enters(named.scripts / "env.py"):
        return named_models.source(named)

    def models() -> MetaData:
        from alembic.script import ScriptDirectory

        from railhead.history import env_file, loader

        config = loader.config(named)
        handed_in = env_file.models_of(config, ScriptDirectory.from_config(config))
        return handed_in() if handed_in else named_models.source(named)()

    return models


def _enters(env_py: Path) -> bool:
    """Tell whether env.py is the engine's door."""
    try:
        return "railhead" in env_py.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return False


def _configuration(root: Path) -> Callable[[], Mapping[str, object]]:
    """Return what asks the application for its database, where the environment names none and alembic.ini names the application."""

    def configuration() -> Mapping[str, object]:
        if names_a_database() or "app" not in Project(root).options:
            return {}
        ask: Callable[[Path], Mapping[str, object]] = named_models.imported(named_models.CONFIGURATION)  # type: ignore[assignment]
        return ask(root)

    return configuration
