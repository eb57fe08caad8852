"""Which part of a long list is shown?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self
from urllib.parse import urlencode

from flask import request


@dataclass(frozen=True, slots=True)
class Page:
    """A page of a list of `total` things, `size` at a time. Numbers start at 1."""

    number: int
    total: int
    size: int
    name: str
    """What the address calls it, and the id of its place on the page."""

    @classmethod
    def asked_for(cls, name: str, total: int, size: int) -> Self:
        """Return the page that the address asks for, or the nearest there is."""
        asked = request.args.get(name, 1, type=int)
        return cls(min(max(1, asked), cls(1, total, size, name).last), total, size, name)

    @property
    def last(self) -> int:
        """The number of the last page; 1 when there is nothing."""
        return max(1, -(-self.total // self.size))

    @property
    def offset(self) -> int:
        """How many things come before this page."""
        return (self.number - 1) * self.size

    def address(self, number: int) -> str:
        """Return the address of page `number`, all else being as it is now."""
        kept = {name: value for name, value in request.args.items() if value and name != self.name}
        kept |= {self.name: str(number)} if number > 1 else {}
        return f"{request.path}?{urlencode(kept)}#{self.name}" if kept else f"{request.path}#{self.name}"
