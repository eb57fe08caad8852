"""What do we hand to env.py, and get back from it, through Alembic's configuration?

Alembic keeps a dictionary there in which anybody may put anything. Of ours there is one place for each thing, and one type.
"""

from __future__ import annotations

from typing import Generic, TypeVar, cast

from alembic.config import Config

T = TypeVar("T")


class Attribute(Generic[T]):
    """A place in Alembic's configuration for something of one type."""

    def __init__(self, name: str) -> None:
        self._key = f"railhead.{name}"

    def put(self, config: Config, value: T) -> None:
        """Let it be there."""
        config.attributes[self._key] = value

    def get(self, config: Config) -> T | None:
        """Return what is there, None when nothing is."""
        return cast("T | None", config.attributes.get(self._key))

    def take_away(self, config: Config) -> None:
        """Let nothing be there."""
        config.attributes.pop(self._key, None)
