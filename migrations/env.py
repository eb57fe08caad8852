"""Where Alembic enters: every command, typed or called, goes through the same story in `railhead.execution.entry`."""

from alembic import context
from sqlalchemy import MetaData

from railhead.execution import entry
from railhead.operations import verbs  # noqa: F401  registers the verbs that migrations use


def models() -> MetaData:
    """Return what the schema should be. A function, because only some commands need it and the import is not free."""
    from models import Base

    return Base.metadata


entry.enter(context, models)
