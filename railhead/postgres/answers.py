"""What does a server or a pooler mean that answers, and lets nobody in?

A table of what PostgreSQL, the poolers and the managed servers say, with what their makers advise. Never connects. Loaded only when a
connection has failed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from railhead.postgres import answers_of_clouds, answers_of_servers
from railhead.postgres.answer import Answer

UNKNOWN = Answer(
    "server-refuses",
    "the server refuses the connection",
    "what it says stands above, and waiting will not change it: see what its operator or its provider says of these words,\n"
    "or name another server in {variable}",
)
"""What is left to say of words that nobody here knows."""

_KNOWN: Sequence[tuple[str, Answer]] = (*answers_of_clouds.ANSWERS, *answers_of_servers.ANSWERS)
_PATTERNS = [(re.compile(pattern, re.IGNORECASE), answer) for pattern, answer in _KNOWN]

_NAMES = re.compile(r""""[^"]*"|'[\w.@-]+'|“[^”]*”|«[^»]*»""")
"""Names in a sentence: a host may be called `certificate-db`, a database `quota`."""

_ATTEMPT = re.compile(r"^(?=connection to server |could not connect to server)", re.MULTILINE)
_PLACE = re.compile(r"\A(?:connection to server .*? failed: |could not connect to server: )", re.DOTALL)
_SEVERITY = re.compile(r"\A\w[^:\n]{0,30}:  ")
"""How libpq writes the severity of what a server has sent, in whatever language: its own words have no two spaces there."""


class Saying(NamedTuple):
    """What came of one attempt to connect."""

    words: str
    from_server: bool
    """Whether a server has said so, and not libpq."""


def sayings(text: str) -> list[Saying]:
    """Return what a failed connection was told: one for each host, address and way of encryption that libpq has tried."""
    return [_saying(part.strip()) for part in _ATTEMPT.split(text) if part.strip()]


def _saying(text: str) -> Saying:
    words = _PLACE.sub("", text, count=1)
    severity = _SEVERITY.match(words)
    return Saying(words[severity.end() :] if severity else words, from_server=bool(severity))


def known(words: str) -> Answer | None:
    """Return what these words mean, None when nobody here knows."""
    unnamed = _NAMES.sub('""', words)
    return next((answer for pattern, answer in _PATTERNS if pattern.search(unnamed)), None)


def meaning(text: str) -> Answer | None:
    """Return what a failed connection means, None when nobody has answered.

    Somebody who is only starting, or has no room, may let us in later: that goes before all else. A server that wants encryption says so of
    the attempt without it, which libpq makes when the one with it has failed: that goes last.
    """
    attempts = sayings(text)
    meanings = [known(saying.words) for saying in attempts]
    answers = [answer for answer in meanings if answer is not None]
    if not answers and any(saying.from_server for saying in attempts):
        return UNKNOWN
    answers.sort(key=lambda answer: (not answer.passes, answer.slug == "tls-required"))
    return answers[0] if answers else None
