"""Waiting with measure: gently at first, never longer than allowed."""

from __future__ import annotations

from itertools import pairwise

import pytest

from railhead.postgres.retry_budget import RetryBudget


def climb(patience: RetryBudget, wasted: float = 0.0) -> list[float]:
    """Miss until patience is over; return the lock timeout of each attempt."""
    timeouts = []
    while patience.left > 0:
        timeouts.append(patience.lock_timeout)
        patience.miss(wasted or patience.lock_timeout)
    return timeouts


def test_ladder_is_gentle_for_half_a_minute_and_then_grows() -> None:
    """100 ms at first, at most 200 ms for 30 s, then growing to MIGRATE_LOCK_TIMEOUT and never beyond."""
    slept: list[float] = []
    patience = RetryBudget(240.0, 0.9, sleep=slept.append)
    gentle = []
    while patience.spent < RetryBudget.GENTLE_FOR:
        gentle.append(patience.lock_timeout)
        patience.miss(patience.lock_timeout)
    assert gentle[0] == 0.1
    assert max(gentle) == 0.2
    rest = climb(patience)
    assert all(earlier <= later for earlier, later in pairwise(rest))
    assert rest[-1] == 0.9
    assert max(rest) <= 0.9
    assert 0.4 <= slept[0] <= 0.6
    assert max(slept) <= 6


def test_only_misses_open_the_ladder_and_only_for_one_revision() -> None:
    """Two minutes behind another migrator, or without a server, freeze nobody's traffic; nor do the misses of the revision before."""
    patience = RetryBudget(1000.0, 0.9, sleep=lambda _: None)
    patience.spend(120)
    patience.rest(120)
    assert patience.lock_timeout == 0.1
    patience.miss(120)
    assert patience.lock_timeout == 0.9
    patience.succeed()
    assert patience.lock_timeout == 0.1
    assert patience.spent > 360


def test_budget_is_never_overslept() -> None:
    """The last pause is as long as what is left, and what an attempt wasted counts."""
    slept: list[float] = []
    patience = RetryBudget(10.0, 0.9, sleep=slept.append)
    climb(patience, wasted=1.0)
    assert patience.spent <= 11.0
    assert sum(slept) + patience.misses * 1.0 == pytest.approx(patience.spent)


def test_short_lock_timeout_is_respected_from_the_start() -> None:
    """Whoever allows 50 ms only gets no attempt of 100."""
    assert set(climb(RetryBudget(5.0, 0.05, sleep=lambda _: None))) == {0.05}


@pytest.mark.parametrize(("budget", "timeout"), [(240.0, 15.0), (40.0, 10.0), (8.0, 3.0), (0.0, 3.0)])
def test_one_answer_may_take_a_quarter_of_the_budget(budget: float, timeout: float) -> None:
    """So a network that vanished is noticed while there is time left; never less than 3 s, never more than 15."""
    assert RetryBudget(budget, 0.9).answer_timeout == timeout
