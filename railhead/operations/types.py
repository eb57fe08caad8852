"""What is a column's type that only PostgreSQL knows, or that no words of Python make again?"""

from __future__ import annotations

from typing import Any

from sqlalchemy.types import UserDefinedType


class SqlType(UserDefinedType[Any]):
    """A type as SQL writes it: `SqlType("vector(3)")`. Revisions use it where the class of the models cannot be written down."""

    cache_ok = True

    def __init__(self, sql: str) -> None:
        """Keep the words."""
        super().__init__()
        self.sql = sql

    def get_col_spec(self, **_: object) -> str:
        """Return the words."""
        return self.sql
