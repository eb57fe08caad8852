"""What can stop us, with which exit code?

Every failure that a person may meet is a `Stop`: headline, facts, the state of the database, the next step, a slug.
This module never prints and never ends the process.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final, Self

from railhead.masking import masked

DONE, NO, USAGE, IMPOSSIBLE, BUSY, ROLLED_BACK, LEFT_BEHIND = range(7)

EXIT_CODES = {
    "usage": USAGE,
    "lock-busy": BUSY,
    "table-busy": BUSY,
    "migration-failed": ROLLED_BACK,
    "migration-half-done": LEFT_BEHIND,
}
"""Slugs that end with another code than IMPOSSIBLE (3)."""

Fact = tuple[str, str]
"""A label (at most ten characters) and what it says, units included."""

_LABEL_WIDTH = 11
_INDENT = "  "


class Stop(Exception):
    """Something that ends the run, told in four parts: headline, facts, `database`, `next`. Never changes: see `replaced`."""

    def __init__(
        self,
        slug: str,
        headline: str,
        *,
        facts: Iterable[Fact] = (),
        database: str,
        next_step: str,
        exit_code: int | None = None,
    ) -> None:
        """Keep the parts as they are; `exit_code` is by slug (`EXIT_CODES`, else 3) unless given."""
        super().__init__(headline)
        self.slug: Final = slug
        self.headline: Final = headline
        self.facts: Final = tuple(facts)
        self.database: Final = database
        self.next_step: Final = next_step
        self.exit_code: Final = EXIT_CODES.get(slug, IMPOSSIBLE) if exit_code is None else exit_code

    def replaced(
        self, *, database: str | None = None, next_step: str | None = None, exit_code: int | None = None
    ) -> Self:
        """Return the same with another state of the database, next step or exit code, where they are given."""
        return type(self)(
            self.slug,
            self.headline,
            facts=self.facts,
            database=self.database if database is None else database,
            next_step=self.next_step if next_step is None else next_step,
            exit_code=self.exit_code if exit_code is None else exit_code,
        )

    def after(self, done: str) -> Self:
        """Return the same, told of a database that was changed before: what was `done` to it, and where it is now."""
        place = re.sub(r"^unchanged(?: by us)?(?:, |$)", "", self.database)
        return self.replaced(database=f"{done}; {place}" if place else done)

    def render(self, doing: str = "start") -> str:
        """Return the whole message; `doing` is what was stopped (`upgrade`, `status`, ...)."""
        facts = [*self.facts, ("database", self.database)]
        told = [line for label, text in facts for line in labelled(label, text)]
        steps = labelled("next", self.next_step)
        steps[-1] = f"{steps[-1]:<65}  [{self.slug}]"
        return masked("\n".join([f"{doing} stopped: {self.headline}", "", *told, "", *steps]))

    def record(self) -> dict[str, object]:
        """Return the same parts for JSON."""
        return {
            "error": self.slug,
            "headline": masked(self.headline),
            "facts": {
                label: masked("\n".join(text for name, text in self.facts if name == label)) for label, _ in self.facts
            },
            "database": masked(self.database),
            "next": masked(self.next_step),
            "exit_code": self.exit_code,
        }


class NobodyAnswers(Stop):
    """The server does not answer, or has no room for us: it may, later."""


class TableBusy(Stop):
    """A table stayed locked by others for as long as was to be waited."""


class TwoDatabases(Stop):
    """The URLs of the application and of migrations lead to two places: nothing that is done at one helps the other."""


class Forked(Stop):
    """The history has several heads, or one id twice: what is applied is still known."""


class Refusal(Stop):
    """A revision may not go on. Who raises it does not know what the database is like: who catches it says so."""


def labelled(label: str, text: str) -> list[str]:
    """Return `text` as lines behind its label, aligned with the other facts of a message."""
    first, *rest = text.splitlines() or [""]
    lines = [f"{_INDENT}{label:<{_LABEL_WIDTH}}{first}"]
    lines += [f"{_INDENT}{'':<{_LABEL_WIDTH}}{line}" if line else "" for line in rest]
    return lines
