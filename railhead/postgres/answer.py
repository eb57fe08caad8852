"""What is told of a server that answers, and lets nobody in?"""

from __future__ import annotations

from typing import NamedTuple


class Answer(NamedTuple):
    """What an answer means, and what to do. Words in braces are filled with the names of the address."""

    slug: str
    headline: str
    advice: str
    passes: bool = False
    """Whether waiting may help: who starts, stops or is full lets us in later."""
