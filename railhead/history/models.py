"""Which tables do the models of a project have, however many MetaData they come in?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from railhead.errors import Stop

if TYPE_CHECKING:
    import sqlalchemy as sa


def joined(models: sa.MetaData | Sequence[sa.MetaData]) -> sa.MetaData:
    """Return one MetaData with the tables of all that are given, which may be a list as for Alembic's target_metadata.

    The tables stay what they are, and parts of their own MetaData. Raises Stop(`models-twice`) where two have the same table.
    """
    if not isinstance(models, list | tuple | set):
        return models  # type: ignore[return-value]
    listed = list(models)
    if len(listed) == 1:
        return listed[0]  # type: ignore[no-any-return]
    whole: sa.MetaData = type(listed[0])(naming_convention=listed[0].naming_convention)
    for metadata in listed:
        for name, table in metadata.tables.items():
            if name in whole.tables:
                raise _twice(name)
            whole._add_table(table.name, table.schema, table)  # noqa: SLF001  a copy would be another table, and name its parts anew
        whole._sequences.update(metadata._sequences)  # noqa: SLF001
    return whole


def why_not_loaded(error: Exception) -> str:
    """Return the words of what somebody's models raised, below what we made of it."""
    cause = error.__cause__ if isinstance(error, Stop) and error.__cause__ else error
    return str(cause) or type(cause).__name__


def is_view(table: sa.Table | None) -> bool:
    """Tell whether a model says that it is mapped to a view: `info={"is_view": True}`, as Alembic's cookbook has it, and the like."""
    return table is not None and any(table.info.get(word) for word in _VIEW)


_VIEW = ("is_view", "view", "is_materialized_view", "materialized_view", "skip_autogenerate")


def _twice(name: str) -> Stop:
    return Stop(
        "models-twice",
        f"two of the MetaData that models() gives have a table {name}",
        facts=[("models", "models() in migrations/env.py gives them")],
        database="unchanged",
        next_step="leave out one of the two, or give its table another name or schema",
    )
