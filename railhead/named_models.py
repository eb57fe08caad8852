"""Where are the models, by what alembic.ini says? `[railhead] models = shop.models:Base.metadata`.

What stands there may be a MetaData, something that has one (a declarative base, Flask-SQLAlchemy's `db`), several of these with
commas, or a Flask application or its factory. Imports nothing before somebody asks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from importlib import import_module
from operator import attrgetter
from typing import TYPE_CHECKING, cast

from railhead.errors import IMPOSSIBLE, Stop
from railhead.project import Project

if TYPE_CHECKING:
    from sqlalchemy import MetaData

DEFAULT = "models:Base.metadata"
"""Where they are when alembic.ini says nothing else."""

OF_APPLICATION = "railhead.contrib.flask:models"
CONFIGURATION = "railhead.contrib.flask:configuration"
"""What asks an application for them, and for its settings. By name, because the engine knows no Flask."""


def named(project: Project) -> str | None:
    """Return what `[railhead] models` says, None where it says nothing."""
    return project.options.get("models")


def source(project: Project) -> Callable[[], MetaData]:
    """Return what imports the models that the project's alembic.ini names. It raises Stop(`no-models`)."""

    def models() -> MetaData:
        text = named(project) or DEFAULT
        try:
            parts = [metadata_of(imported(part.strip())) for part in text.split(",")]
            if None in parts:
                return cast("MetaData", imported(OF_APPLICATION)())  # type: ignore[operator]
        except (ImportError, AttributeError, ValueError, RuntimeError) as error:
            raise _no_models(text, error) from error
        return together(part for part in parts if part is not None)

    return models


def imported(text: str) -> object:
    """Return what `module:attribute` names. Raises what the import raises."""
    module, _, attribute = text.partition(":")
    return attrgetter(attribute)(import_module(module))


def metadata_of(thing: object) -> MetaData | None:
    """Return the metadata that something is, or has; None where it has none, as an application or its factory."""
    if isinstance(thing, list | tuple):
        return together(part for part in map(metadata_of, thing) if part is not None)
    if hasattr(thing, "tables") and hasattr(thing, "sorted_tables"):
        return thing  # type: ignore[return-value]  # SQLAlchemy must not be imported to know it
    metadata = getattr(thing, "metadata", None)
    return metadata_of(metadata) if metadata is not None else None


def together(parts: Iterable[MetaData]) -> MetaData:
    """Return one metadata that has the tables of all, and the naming convention of the first."""
    first, *others = parts
    if not others:
        return first
    from sqlalchemy import MetaData

    whole = MetaData(naming_convention=first.naming_convention, schema=first.schema)
    for part in (first, *others):
        for table in part.tables.values():
            table.to_metadata(whole)
    return whole


def _no_models(text: str, error: Exception) -> Stop:
    return Stop(
        "no-models",
        "the models cannot be imported",
        facts=[("alembic.ini", f"[railhead] models = {text}"), ("Python", f"{type(error).__name__}: {error}")],
        database="unchanged",
        next_step="name the module and the metadata there, for instance:\n[railhead]\nmodels = models:Base.metadata",
        exit_code=IMPOSSIBLE,
    )
