"""How much waiting is left, and how is it spent?"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

from railhead.postgres import interrupts


class RetryBudget:
    """How much waiting is left, and how to wait: one budget for the migration lock, table locks and lost connections.

    Only time that led to nothing is spent; work that was committed costs nothing.
    """

    FIRST_TIMEOUT = 0.1
    GENTLE_TIMEOUT = 0.2
    GENTLE_FOR = 30.0
    SHORTEST_PAUSE = 0.5
    LONGEST_PAUSE = 5.0
    RAREST_PAUSE = 60.0

    def __init__(self, budget: float, lock_timeout: float, *, sleep: Callable[[float], None] = time.sleep) -> None:
        """`budget` is MIGRATE_WAIT_LOCK and `lock_timeout` MIGRATE_LOCK_TIMEOUT, both in seconds."""
        self.budget = budget
        self.spent = 0.0
        self.misses = 0
        self._queued = 0.0
        self._rests = 0
        self._longest = lock_timeout
        self._sleep = sleep
        self._longest_pause = min(max(self.LONGEST_PAUSE, budget / 48), self.RAREST_PAUSE)

    @property
    def answer_timeout(self) -> float:
        """Return the seconds that one question may go unanswered, so that a dead network is noticed within the budget."""
        return min(interrupts.ANSWER_TIMEOUT, max(self.budget / 4, interrupts.SHORTEST_ANSWER_TIMEOUT))

    @property
    def left(self) -> float:
        """Return the seconds that may still be spent."""
        return max(0.0, self.budget - self.spent)

    @property
    def lock_timeout(self) -> float:
        """Return the seconds for which the next attempt may stand in the lock queue.

        Starts at 0.1 s, stays at most 0.2 s until half a minute went by in misses, then grows to the longest: who stands
        behind us in the queue is frozen for that long. Time spent on anything else raises nothing.
        """
        if self._queued < self.GENTLE_FOR:
            timeout = self.FIRST_TIMEOUT if not self.misses else self.GENTLE_TIMEOUT
        else:
            timeout = self.GENTLE_TIMEOUT * 2 ** (1 + (self._queued - self.GENTLE_FOR) / 30)
        return min(timeout, self._longest)

    def spend(self, seconds: float) -> None:
        """Count time that led to nothing."""
        self.spent += seconds

    def next_pause(self) -> float:
        """Return the seconds before the next attempt, with jitter: 0.5 s growing to 5 s, or, with hours to spend, to a minute."""
        import random  # 3 ms that only those pay who wait

        return min(self.SHORTEST_PAUSE * 1.3**self._rests, self._longest_pause) * random.uniform(0.8, 1.2)

    def rest(self, wasted: float = 0.0, pause: float | None = None) -> float:
        """Count one failed attempt that took `wasted` seconds, and sleep before the next, for no longer than what is left.

        Returns the seconds that both took.
        """
        pause = min(self.next_pause() if pause is None else pause, max(0.0, self.left - wasted))
        self._rests += 1
        self._sleep(pause)
        self.spent += wasted + pause
        return wasted + pause

    def miss(self, wasted: float = 0.0, pause: float | None = None) -> None:
        """Count one attempt that did not get its locks, and rest; the next may stand in the queue a little longer."""
        self._queued += self.rest(wasted, pause)
        self.misses += 1

    def succeed(self) -> None:
        """Something was committed: what comes next begins gently again, with the budget that is left."""
        self.misses = self._rests = 0
        self._queued = 0.0


class Allowance(NamedTuple):
    """How long something may take, in seconds, and which setting says so."""

    seconds: float
    setting: str

    def __str__(self) -> str:
        return f"{self.seconds:.0f} s ({self.setting})"
