"""For tests that ask in their own process; in a copy of this project stands the template's file."""

from alembic import context

from railhead.execution import entry
from railhead.operations import verbs  # noqa: F401  registers the verbs that migrations use
from tests.project.models import Base

entry.enter(context, lambda: Base.metadata)
