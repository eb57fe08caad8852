"""Did this process run all the time, or was it stopped, or its machine?

A thread counts, and does nothing else: what waits for an answer cannot tell a slow server from time that there was not.
"""

from __future__ import annotations

import threading
import time

_EVERY = 0.2
_AWAKE = 1.0
"""Seconds between two beats; what is more was no time for this process."""

LAPSE = 3.0
"""Seconds from which a pause was no busy machine's."""


class Pulse:
    """Counts from `start` to `stop`."""

    def __init__(self) -> None:
        self._counted = self._lapse = 0.0
        self._last = time.monotonic()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="railhead-pulse", daemon=True)

    def start(self) -> None:
        """Begin to count."""
        self._last = time.monotonic()
        self._thread.start()

    def stop(self) -> None:
        """Return when nobody counts any more."""
        self._ended.set()
        self._thread.join(timeout=1)

    @property
    def awake(self) -> float:
        """Return for how many seconds this process has run."""
        return self._counted + min(time.monotonic() - self._last, _AWAKE)

    @property
    def lapse(self) -> float:
        """Return the seconds of the longest pause in which nothing ran here, 0 when there was none since it was forgotten."""
        pause = time.monotonic() - self._last
        return max(self._lapse, pause if pause > LAPSE else 0.0)

    def forget(self) -> None:
        """Take no note of pauses that were before now."""
        self._lapse, self._last = 0.0, time.monotonic()

    def _run(self) -> None:
        while not self._ended.wait(_EVERY):
            self._counted, self._lapse, self._last = self.awake, self.lapse, time.monotonic()
