"""Who answers on an application's port while its start works? Platforms end what does not listen, and route to nothing that is not ready.

Only answers: never looks at the database, and says nothing of it but for how long the start has worked.
"""

from __future__ import annotations

import mmap
import socket
import threading
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

from railhead.logs import log

_POLL = 0.05
"""Seconds after which those who answer see that it is over."""

AFTER = 3.0
"""Seconds that a start may take before somebody answers for it."""


class Flag:
    """A mark that processes share which are forked after it was made."""

    def __init__(self) -> None:
        self._byte = mmap.mmap(-1, 1)

    def set(self) -> None:
        """Leave the mark."""
        self._byte[0] = 1

    def is_set(self) -> bool:
        """Tell whether somebody has left it."""
        return bool(self._byte[0])


class Standby:
    """Inside, after a while, `/healthz` is answered with 200 and everything else with 503 on these sockets; afterwards they are left open."""

    def __init__(
        self, sockets: Callable[[], Sequence[socket.socket]], shared: Flag | None = None, after: float = AFTER
    ) -> None:
        """`sockets` gives sockets that listen; asked only once `after` seconds are over. It may raise OSError.

        Of processes that share a port the first one that is done says so in the flag that they share, and nobody answers for a
        start any more: whoever was told once that the application serves is not told otherwise.
        """
        self._sockets = sockets
        self._shared = shared
        self._over = threading.Event()
        self._timer = threading.Timer(after, self._answer)
        self._timer.daemon = True
        self._threads: list[threading.Thread] = []
        self._began = time.monotonic()

    def __enter__(self) -> Self:
        self._timer.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timer.cancel()
        self._timer.join()
        self._over.set()
        for thread in self._threads:
            thread.join()
        if self._shared and self._threads and error is None:
            self._shared.set()
            time.sleep(2 * _POLL)  # by then the others have seen it

    def _is_over(self) -> bool:
        return self._over.is_set() or (self._shared is not None and self._shared.is_set())

    def _answer(self) -> None:
        from railhead.contrib.standby_server import Server  # costs what only a start that takes long pays

        try:
            sockets = self._sockets()
        except OSError as error:
            log.warning("start: nobody answers on the port meanwhile: %s", error)
            return
        for listening in sockets:
            server = Server(listening, self._began, _POLL)
            thread = threading.Thread(
                target=server.serve_until, args=(self._is_over,), name="railhead-standby", daemon=True
            )
            self._threads.append(thread)
            thread.start()
        log.info("start: not done after %.0f s; until then /healthz answers 200, everything else 503", AFTER)
