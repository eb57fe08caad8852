"""Where Alembic enters: every command, typed or called, goes through the same story in `utils.upgrade`."""

from alembic import context
from sqlalchemy import MetaData

from utils import operations, upgrade  # noqa: F401  operations registers the verbs that migrations use


def models() -> MetaData:
    """Return what the schema should be. A function, because only some commands need it and the import is not free."""
    from models import Base

    return Base.metadata


upgrade.enter(context, models)
