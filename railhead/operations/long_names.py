"""How is a thing called in the database whose name is too long for it?

As SQLAlchemy calls it when it makes the tables: cut, with a few figures that tell it from others.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.sql.elements import conv

LONGEST = 63
"""Bytes of a name in PostgreSQL."""


def cut(name: str, dialect: sa.Dialect, *, is_index: bool = False) -> str:
    """Return the name, cut where it is too long."""
    if len(name.encode()) <= LONGEST:
        return str(name)
    preparer: Any = dialect.identifier_preparer
    rendering = preparer.truncate_and_render_index_name if is_index else preparer.truncate_and_render_constraint_name
    return str(rendering(conv(str(name)), _alembic_quote=False))
