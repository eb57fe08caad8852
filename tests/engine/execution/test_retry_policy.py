"""What is done about a failure, case by case: it depends on what is known of it and on what is left, and on nothing else."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, replace
from typing import TYPE_CHECKING, NamedTuple, cast

import pytest

from railhead.execution.retry_policy import MOST_LOSSES, Budget, Cause, Decision, Mode, StepFailed, Then, decide

if TYPE_CHECKING:
    from railhead.history.planner import MigrationStep


class Step(NamedTuple):
    """A step, as far as anybody who decides looks at it."""

    revision: str


STEP = cast("MigrationStep", Step("0002_more"))
PLENTY = Budget(left=60.0, pause=0.5)
SPENT = Budget(left=0.0, pause=0.5)
WORN = replace(PLENTY, losses=MOST_LOSSES)

RECONNECT = Decision(Then.RECONNECT, 0.5)
RETRY = Decision(Then.RETRY, 0.5)
ONE_EACH = Decision(Then.ONE_EACH)
MEND = Decision(Then.MEND)
GIVE_UP = Decision(Then.GIVE_UP)


def looking(cause: Cause, **known: float) -> StepFailed:
    """Return what failed while no step ran."""
    return StepFailed(Exception(), cause, Mode.LOOKING, **known)


def each(cause: Cause, **known: float) -> StepFailed:
    """Return what failed in a step with a transaction of its own."""
    return StepFailed(Exception(), cause, Mode.EACH, STEP, **known)


def left(cause: Cause, *, is_repeatable: bool) -> StepFailed:
    """Return what failed in a step that had left its transaction."""
    return replace(each(cause), left=True, is_repeatable=is_repeatable)


def together(cause: Cause, *, has_others: bool = True, left: bool = False) -> StepFailed:
    """Return what failed in one transaction for all steps."""
    return StepFailed(Exception(), cause, Mode.TOGETHER, STEP, has_others=has_others, left=left)


CASES: dict[str, tuple[StepFailed, Budget, Decision]] = {
    # a connection, or the lock
    "lost while looking": (looking(Cause.CONNECTION_LOST), PLENTY, RECONNECT),
    "lost in a step": (each(Cause.CONNECTION_LOST), PLENTY, RECONNECT),
    "lost in one transaction for all": (together(Cause.CONNECTION_LOST), PLENTY, RECONNECT),
    "lost outside a transaction, by verbs": (left(Cause.CONNECTION_LOST, is_repeatable=True), PLENTY, RECONNECT),
    "lost outside a transaction, half done": (left(Cause.CONNECTION_LOST, is_repeatable=False), PLENTY, GIVE_UP),
    "the lock was lost": (each(Cause.LOCK_LOST), PLENTY, RECONNECT),
    "the lock was lost, half done": (left(Cause.LOCK_LOST, is_repeatable=False), PLENTY, RECONNECT),
    "the server only follows": (each(Cause.ONLY_FOLLOWS), PLENTY, RECONNECT),
    "somebody was faster": (each(Cause.OVERTAKEN), PLENTY, RECONNECT),
    "lost, and nothing is left": (each(Cause.CONNECTION_LOST), SPENT, GIVE_UP),
    "lost by the same revision again and again": (each(Cause.CONNECTION_LOST), WORN, GIVE_UP),
    "lost once less": (each(Cause.CONNECTION_LOST), replace(WORN, losses=MOST_LOSSES - 1), RECONNECT),
    "lost again and again while looking": (looking(Cause.CONNECTION_LOST), WORN, RECONNECT),
    "a standby is no revision's fault": (each(Cause.ONLY_FOLLOWS), WORN, RECONNECT),
    "the pause is no longer than what is left": (
        each(Cause.CONNECTION_LOST),
        Budget(left=0.3, pause=0.5),
        Decision(Then.RECONNECT, 0.3),
    ),
    "silence is spent before the pause": (
        each(Cause.CONNECTION_LOST, silence=1.0),
        Budget(left=2.2, pause=0.5),
        Decision(Then.GIVE_UP, 1.2000000000000002),
    ),
    "the next answer would come in time": (
        each(Cause.CONNECTION_LOST, silence=1.0),
        Budget(left=2.5, pause=0.5),
        RECONNECT,
    ),
    "silence has spent everything": (looking(Cause.CONNECTION_LOST, silence=90.0), PLENTY, GIVE_UP),
    # locks of tables
    "a lock was missed": (each(Cause.LOCK_MISSED), PLENTY, RETRY),
    "a lock was missed in one transaction for all": (together(Cause.LOCK_MISSED), PLENTY, RETRY),
    "a lock was missed outside, by verbs": (left(Cause.LOCK_MISSED, is_repeatable=True), PLENTY, RETRY),
    "a lock was missed outside, half done": (left(Cause.LOCK_MISSED, is_repeatable=False), PLENTY, GIVE_UP),
    "a lock was missed while looking": (looking(Cause.LOCK_MISSED), PLENTY, RECONNECT),
    "a lock was missed, and nothing is left": (each(Cause.LOCK_MISSED), SPENT, GIVE_UP),
    "a lock was missed, and the work has spent everything": (each(Cause.LOCK_MISSED, wasted=90.0), PLENTY, GIVE_UP),
    "a lock was missed, and the pause would be the last": (
        each(Cause.LOCK_MISSED, wasted=1.0),
        Budget(left=1.25, pause=0.5),
        Decision(Then.GIVE_UP, 0.25),
    ),
    "locks were lost often before": (each(Cause.LOCK_MISSED), WORN, RETRY),
    "a wait was ended": (each(Cause.GAVE_UP), PLENTY, GIVE_UP),
    "a wait was ended in one transaction for all": (together(Cause.GAVE_UP), PLENTY, GIVE_UP),
    # one transaction for all
    "failed behind others": (together(Cause.ERROR), PLENTY, ONE_EACH),
    "failed behind others, without a budget": (together(Cause.ERROR), SPENT, ONE_EACH),
    "failed as the first": (together(Cause.ERROR, has_others=False), PLENTY, GIVE_UP),
    "failed behind others, after it left": (together(Cause.ERROR, left=True), PLENTY, GIVE_UP),
    "refused behind others": (together(Cause.REFUSED), PLENTY, ONE_EACH),
    "needs its own": (together(Cause.NEEDS_ITS_OWN, has_others=False), PLENTY, ONE_EACH),
    "a connection of its own failed behind others": (together(Cause.FOREIGN), PLENTY, ONE_EACH),
    "stood still behind others": (together(Cause.HUNG), PLENTY, GIVE_UP),
    # a transaction each
    "failed": (each(Cause.ERROR), PLENTY, GIVE_UP),
    "refused": (each(Cause.REFUSED), PLENTY, GIVE_UP),
    "stood still": (each(Cause.HUNG), PLENTY, GIVE_UP),
    "a connection of its own failed": (each(Cause.FOREIGN), PLENTY, GIVE_UP),
    "left half done by an earlier run": (each(Cause.HALF_DONE), PLENTY, MEND),
    "left half done, without a budget": (each(Cause.HALF_DONE), SPENT, MEND),
    "refused a look": (looking(Cause.ERROR), PLENTY, GIVE_UP),
}


@pytest.mark.parametrize("case", CASES)
def test_decision(case: str) -> None:
    """Only what was rolled back or does no harm twice is tried again, only for what passes, only within the budget."""
    failure, budget, decision = CASES[case]
    assert decide(failure, budget) == decision


def test_every_cause_is_decided_about() -> None:
    """No cause is missing from the table."""
    assert {failure.cause for failure, *_ in CASES.values()} == set(Cause)


def test_what_is_known_of_a_failure_never_changes() -> None:
    """Whoever tells of it, and whoever decides, sees the same."""
    with pytest.raises(FrozenInstanceError):
        each(Cause.ERROR).left = True  # type: ignore[misc]
