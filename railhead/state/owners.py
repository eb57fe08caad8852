"""Whose are the things in a database: ours, or another application's?

Ours is what a revision of the history makes and what the models know. Read-only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from psycopg2.extensions import connection as Connection

from railhead.history import made_objects
from railhead.history.graph import History
from railhead.logs import log
from railhead.project import Project
from railhead.schema.ownership import Ownership, ownership

if TYPE_CHECKING:
    from sqlalchemy import MetaData


def ours(tables: Sequence[str], history: History) -> tuple[str, ...]:
    """Return those of `tables` that a revision makes or a model knows, in their order. Loads the models only if need be."""
    names = made_objects.may_make(history, tables)
    if not names.issuperset(tables):
        names |= {*tables} & _known_to_models(history.project)
    return tuple(table for table in tables if table in names)


def in_database(
    connection: Connection,
    history: History,
    versions: Sequence[str] | None,
    models: Callable[[], MetaData] | None = None,
) -> Ownership:
    """Return whose is what in a database at these versions, or wherever it is. Read-only. Loads the models, if they are given."""
    from alembic.script import ScriptDirectory

    from railhead.history import env_file
    from railhead.history.loader import config

    is_certain = all(version in history.by_id for version in versions or ())
    made_here = made_objects.made_at(history, versions if is_certain else None)
    alembic_config = config(history.project)
    ignored = env_file.arguments(alembic_config, ScriptDirectory.from_config(alembic_config)).ignore
    metadata = _loaded(models) if models else None
    return ownership(connection, made_here, metadata, ignored, is_certain=is_certain)


def _known_to_models(project: Project) -> set[str]:
    metadata = _loaded(project.models)
    return {table.name for table in metadata.tables.values()} if metadata is not None else set()


def _loaded(models: Callable[[], MetaData]) -> MetaData | None:
    from railhead.history.models import joined, why_not_loaded

    try:
        return joined(models())
    except Exception as error:  # somebody's code; a broken application stops no migration
        log.warning(
            "the models cannot be loaded (%s), so the revisions alone say which tables are ours", why_not_loaded(error)
        )
        return None
