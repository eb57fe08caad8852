"""Whose are the tables of a database without a version: ours, or another application's?

Ours is what a revision of the history makes and what the models know. Read-only: never connects.
"""

from __future__ import annotations

from collections.abc import Sequence

from railhead.history.graph import History
from railhead.history.made_tables import made
from railhead.logs import log
from railhead.project import Project

MOST_NAMES = 10


def ours(tables: Sequence[str], history: History) -> tuple[str, ...]:
    """Return those of `tables` that a revision makes or a model knows, in their order. Loads the models only if need be."""
    found = made(history, tables)
    if not found.issuperset(tables):
        found |= {*tables} & _known_to_models(history.project)
    return tuple(table for table in tables if table in found)


def few(tables: Sequence[str]) -> str:
    """Return the names for a sentence, not too many of them."""
    more = [f"{len(tables) - MOST_NAMES} more"] if len(tables) > MOST_NAMES else []
    return ", ".join([*tables[:MOST_NAMES], *more])


def _known_to_models(project: Project) -> set[str]:
    try:
        return {table.name for table in project.models().tables.values()}
    except Exception as error:  # somebody's code; a broken application stops no migration
        log.warning("the models cannot be loaded (%s), so the revisions alone say which tables are ours", error)
        return set()
