"""How far is it? One line that changes on a terminal, else a line of the log every few seconds."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Self

from railhead.logs import log

_TELL_EVERY = 2.0


class Progress:
    """Says how far something is that takes its revisions one by one."""

    def __init__(self, doing: str, count: int) -> None:
        """`doing` is what is done with each of `count` revisions: `replaying`."""
        self._doing = doing
        self._count = count
        self._number = 0
        self._told = time.monotonic()
        self._terminal = sys.stderr.isatty()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._terminal:
            print("\r\033[K", end="", file=sys.stderr, flush=True)

    def tell(self, revision: str) -> None:
        """The next revision begins."""
        self._number += 1
        line = f"{self._doing} {self._number} of {self._count}, {revision}"
        if self._terminal:
            print(f"\r\033[K{line[:78]}", end="", file=sys.stderr, flush=True)
        elif time.monotonic() - self._told >= _TELL_EVERY:
            self._told = time.monotonic()
            log.info("%s", line)
