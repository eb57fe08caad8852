"""How is a constraint or an index called in the database that models.py gives a name, or a convention, or too long a name?"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic.util import sqla_compat


def final_name(constraint: Any, dialect: sa.Dialect) -> str | None:
    """Return the name of a constraint or an index, None where PostgreSQL makes one up."""
    return sqla_compat._get_constraint_final_name(constraint, dialect)  # noqa: SLF001  nobody else knows
