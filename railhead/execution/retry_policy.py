"""What is to be done about a failure?

Decided from what is known of it, and from what is left of the budget, and from nothing else: nobody is asked, nothing is kept. Only what
was rolled back as a whole, or is safe to run again from the top, is tried again; only for what passes; only as long as the budget allows.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING

from railhead.errors import Stop
from railhead.postgres.blockers import Blocker
from railhead.postgres.connection import SHORTEST_ATTEMPT
from railhead.state.ledger import NewRow

if TYPE_CHECKING:
    from railhead.history.planner import MigrationStep

MOST_LOSSES = 5
"""How often one revision may lose its connection before we stop: it may be what brings the server down."""


class Mode(Enum):
    """What was under way."""

    LOOKING = auto()
    """No step: the lock was taken, the database looked at, or what was done verified."""
    TOGETHER = auto()
    """Steps that share one transaction, as on a database without a table."""
    EACH = auto()
    """Steps with a transaction each."""


class Cause(Enum):
    """Why it failed."""

    LOCK_LOST = auto()
    """The migration lock is not ours any more."""
    CONNECTION_LOST = auto()
    ONLY_FOLLOWS = auto()
    """The server takes no changes, because it follows another one or is away: no revision's fault."""
    LOCK_MISSED = auto()
    """A table stayed locked by others for as long as a statement may stand in the queue."""
    GAVE_UP = auto()
    """A wait for locks was ended, because it had spent the budget."""
    HUNG = auto()
    """A revision stood still, and its transaction was ended for it."""
    FOREIGN = auto()
    """A connection that the revision has opened itself, while ours is well."""
    NEEDS_ITS_OWN = auto()
    """The revision must not share its transaction."""
    HALF_DONE = auto()
    """An earlier run has left the revision half done."""
    OVERTAKEN = auto()
    """The database is not where the step began: whoever had the lock before got through."""
    REFUSED = auto()
    """We have refused to go on."""
    ERROR = auto()
    """Anything else: it would only fail again."""


@dataclass(frozen=True, slots=True)
class StepFailed:
    """What is known of a failure once it has been looked at. Seconds are `float`."""

    error: Exception
    cause: Cause
    mode: Mode
    step: MigrationStep | None = None
    """The step that failed; None when it was none."""
    left: bool = False
    """Whether the step has left its transaction, so that something of it may stay behind."""
    has_others: bool = False
    """Whether other steps, which are not committed, were rolled back with it."""
    is_repeatable: bool = True
    """Whether running it again from the top does no harm: rolled back as a whole, or made of verbs that allow it."""
    wasted: float = 0.0
    """For how long the work went on that was rolled back."""
    silence: float = 0.0
    """For how long nobody had answered."""
    lapse: float = 0.0
    """For how long nothing ran in this process."""
    blockers: tuple[Blocker, ...] = ()
    """Who was in the way of it."""
    stop: Stop | None = None
    """What is to be told in the place of the error."""
    row: NewRow | None = None
    """What the ledger is told of the step."""

    @property
    def is_of_connection(self) -> bool:
        """Tell whether another connection may find another answer: for a look always, for a step that does no harm when it is run again."""
        if self.cause in {Cause.CONNECTION_LOST, Cause.ONLY_FOLLOWS}:
            return self.is_repeatable
        is_missed_look = self.mode is Mode.LOOKING and self.cause is Cause.LOCK_MISSED
        return is_missed_look or self.cause in {Cause.LOCK_LOST, Cause.OVERTAKEN}

    @property
    def is_missed_lock(self) -> bool:
        """Tell whether the step did not get its locks, and does no harm when it is run again."""
        return self.mode is not Mode.LOOKING and self.cause is Cause.LOCK_MISSED and self.is_repeatable

    @property
    def revision(self) -> str | None:
        """The revision that a lost connection is counted for."""
        return None if self.step is None or self.cause is Cause.ONLY_FOLLOWS else self.step.revision


@dataclass(frozen=True, slots=True)
class Budget:
    """What may still be spent."""

    left: float
    """Seconds that may be spent on what leads to nothing."""
    pause: float
    """Seconds before the next attempt, as long as they are left."""
    losses: int = 0
    """How often connections were lost under this revision before."""


class Then(Enum):
    """What comes next."""

    RECONNECT = auto()
    """Connect again, and look where the database is."""
    RETRY = auto()
    """Run the steps that are not committed again, under the same lock."""
    ONE_EACH = auto()
    """Run them again with a transaction each."""
    MEND = auto()
    """Run the revision again, and pass over what an earlier run has done of it."""
    GIVE_UP = auto()


@dataclass(frozen=True, slots=True)
class Decision:
    """What comes next, after a pause of so many seconds."""

    then: Then
    pause: float = 0.0


def decide(failure: StepFailed, budget: Budget) -> Decision:
    """Return what is to be done about a failure."""
    if failure.is_of_connection:
        return _reconnect(failure, budget)
    if failure.is_missed_lock:
        return _retry(failure, budget)
    if failure.cause is Cause.HALF_DONE:
        return Decision(Then.MEND)
    return Decision(Then.ONE_EACH if _is_better_alone(failure) else Then.GIVE_UP)


def _reconnect(failure: StepFailed, budget: Budget) -> Decision:
    is_deadly = failure.revision is not None and budget.losses >= MOST_LOSSES
    if budget.left <= 0 or is_deadly:
        return Decision(Then.GIVE_UP)
    left = max(0.0, budget.left - failure.silence)
    pause = min(budget.pause, left)
    if left - pause < min(SHORTEST_ATTEMPT, failure.silence):  # nor would the next answer come in time
        return Decision(Then.GIVE_UP, left)
    return Decision(Then.RECONNECT, pause)


def _retry(failure: StepFailed, budget: Budget) -> Decision:
    left = max(0.0, budget.left - failure.wasted)
    return Decision(Then.RETRY, budget.pause) if budget.pause < left else Decision(Then.GIVE_UP, left)


def _is_better_alone(failure: StepFailed) -> bool:
    """Tell whether a step that failed in one transaction for all is to be tried again with one each.

    So that those before it are kept; and what it needs may only have to be committed: a new value of an enum, rows that deferred
    constraints have not seen yet, locks that are given back.
    """
    nothing_stays = failure.mode is Mode.TOGETHER and not failure.left
    passes = failure.cause not in {Cause.HUNG, Cause.GAVE_UP}
    return nothing_stays and passes and (failure.cause is Cause.NEEDS_ITS_OWN or failure.has_others)
