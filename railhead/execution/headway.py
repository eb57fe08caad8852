"""How far has a run come, under one lock?

Kept by the executor; its guard, its recorder, and whoever looks at a failure read it.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from railhead.execution.retry_policy import Mode

if TYPE_CHECKING:
    from railhead.history.planner import MigrationStep


class Headway:
    """Which step runs, or has failed, and what is committed."""

    def __init__(self) -> None:
        self.mode = Mode.EACH
        self.attempts = 0
        self.steps: list[MigrationStep] = []
        """The steps of this attempt."""
        self.current: MigrationStep | None = None
        """The step that runs, or that failed."""
        self.began = 0.0
        self.done: list[str] = []
        """The revisions whose transactions were committed, oldest first."""
        self.source: frozenset[str] | None = None
        """The versions that the database had when the step that runs, or that failed, began; None before that."""
        self._committed = 0.0

    @property
    def is_together(self) -> bool:
        """Tell whether the steps share one transaction."""
        return self.mode is Mode.TOGETHER

    @property
    def lasted(self) -> float:
        """Return for how many seconds the step runs."""
        return time.monotonic() - self.began

    @property
    def uncommitted(self) -> float:
        """Return the seconds of work that are not committed, and that a failure would waste."""
        return time.monotonic() - self._committed

    def begin_attempt(self, mode: Mode) -> None:
        """One more attempt begins."""
        self.mode = mode
        self.attempts += 1
        self.current = self.source = None
        self._committed = time.monotonic()

    def begin(self, step: MigrationStep) -> None:
        """A step begins."""
        self.current, self.began = step, time.monotonic()
        if not self.is_together:
            self._committed = self.began

    def commit(self, steps: Sequence[MigrationStep], versions: frozenset[str]) -> None:
        """These steps were committed, and the database is at `versions`."""
        self.done += [step.revision for step in steps if step.revision not in self.done]
        self.source = versions
        self._committed = time.monotonic()

    @property
    def under_way(self) -> tuple[str, ...]:
        """Return the revisions that the transaction at hand would commit, as far as they have begun."""
        if self.is_together:
            last = self.steps.index(self.current) + 1 if self.current else len(self.steps)
            return tuple(step.revision for step in self.steps[:last])
        return (self.current.revision,) if self.current else ()

    def before_current(self) -> list[MigrationStep]:
        """Return the steps that come before the one that runs."""
        assert self.current is not None
        return self.steps[: self.steps.index(self.current)]
