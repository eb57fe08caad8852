"""What does one run know from its first look to its end?"""

from __future__ import annotations

import time
from typing import NamedTuple

from railhead.execution import retry_policy
from railhead.execution.failure_report import FailureReport
from railhead.execution.retry_policy import Budget, Decision, StepFailed
from railhead.history.planner import MigrationPlan
from railhead.postgres.retry_budget import Allowance, RetryBudget
from railhead.settings import Settings
from railhead.state import ledger


class Changes:
    """What a run has done to the database, as far as we know: the answer to a COMMIT may be lost."""

    def __init__(self) -> None:
        self.done: list[str] = []
        """The revisions that were committed."""
        self.taken_over: str | None = None
        """The revision that the run has found an unmanaged database at."""
        self.is_fresh = False
        """Whether the run found the database empty and has begun it with the baseline."""

    def __bool__(self) -> bool:
        return bool(self.done or self.taken_over)

    def __str__(self) -> str:
        if not self.done:
            return f"taken over at {self.taken_over} by this run"
        return f"{len(self.done)} revision{'' if len(self.done) == 1 else 's'} committed by this run"


class Silence:
    """For how long nobody has answered, as long as nothing is carried out."""

    def __init__(self) -> None:
        self._answered = time.monotonic()

    def end(self) -> None:
        """Somebody has answered."""
        self._answered = time.monotonic()

    @property
    def seconds(self) -> float:
        """Return for how long it has lasted."""
        return time.monotonic() - self._answered


class Losses:
    """How often connections were lost, by the revision that ran."""

    def __init__(self) -> None:
        self._counts: dict[str | None, int] = {}

    def __bool__(self) -> bool:
        return bool(self._counts)

    def count(self, revision: str | None) -> None:
        """One more was lost."""
        self._counts[revision] = self._counts.pop(revision, 0) + 1

    def under(self, revision: str | None) -> int:
        """Return how many were lost while this revision ran, or none did."""
        return self._counts.get(revision, 0)

    @property
    def latest(self) -> str | None:
        """Return the revision that ran when the last one was lost."""
        return [*self._counts][-1]

    @property
    def total(self) -> int:
        """Return how many were lost in all."""
        return sum(self._counts.values())


class RunContext(NamedTuple):
    """What all parts of one run have in common. The records in it grow with the run."""

    plan: MigrationPlan
    settings: Settings
    run: ledger.Run
    report: FailureReport
    budget: RetryBudget
    changes: Changes
    silence: Silence
    losses: Losses

    @classmethod
    def of(cls, plan: MigrationPlan, settings: Settings) -> RunContext:
        """Return that of a run that begins."""
        run = ledger.new_run(plan.action, settings)
        budget = RetryBudget(settings.wait_lock, settings.lock_timeout)
        return cls(plan, settings, run, FailureReport(plan, settings, run), budget, Changes(), Silence(), Losses())

    def decide(self, failure: StepFailed) -> Decision:
        """Return what is to be done about a failure, with what is left of this run's budget."""
        losses = self.losses.under(failure.revision)
        return retry_policy.decide(failure, Budget(self.budget.left, self.budget.next_pause(), losses))

    @property
    def waited(self) -> Allowance:
        """Return what is spent on waiting at most."""
        return Allowance(self.settings.wait_lock, "MIGRATE_WAIT_LOCK")
