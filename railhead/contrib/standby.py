"""Who answers on an application's port while its start works? Platforms end what does not listen, and route to nothing that is not ready.

Only answers: never looks at the database, and says nothing of it but for how long the start has worked.
"""

from __future__ import annotations

import json
import mmap
import socket
import threading
import time
from collections.abc import Callable, Sequence
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self

from railhead.logs import log

AFTER = 3.0
"""Seconds that a start may take before somebody answers for it."""

_RETRY_AFTER = 5
_POLL = 0.05


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
        try:
            sockets = self._sockets()
        except OSError as error:
            log.warning("start: nobody answers on the port meanwhile: %s", error)
            return
        for listening in sockets:
            server = _Server(listening, self._began)
            thread = threading.Thread(
                target=server.serve_until, args=(self._is_over,), name="railhead-standby", daemon=True
            )
            self._threads.append(thread)
            thread.start()
        log.info("start: not done after %.0f s; until then /healthz answers 200, everything else 503", AFTER)


class _Handler(BaseHTTPRequestHandler):
    """Answers one request, whatever it is."""

    timeout = 5
    server_version = "railhead"
    sys_version = ""
    server: _Server

    def handle_one_request(self) -> None:
        """Read a request and answer it."""
        self.close_connection = True
        self.raw_requestline = self.rfile.readline(65537)
        if not self.raw_requestline or not self.parse_request():
            return
        is_health = self.path.partition("?")[0] == "/healthz"
        seconds = round(time.monotonic() - self.server.began)
        told = {"status": "ok"} if is_health else {"state": "starting", "seconds": seconds}
        body = json.dumps(told).encode() + b"\n"
        self.send_response(HTTPStatus.OK if is_health else HTTPStatus.SERVICE_UNAVAILABLE)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        if not is_health:
            self.send_header("Retry-After", str(_RETRY_AFTER))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the base class's name
        """Say nothing: a probe every second is no news."""


class _Server(ThreadingHTTPServer):
    """Serves on a socket that is somebody else's; who was let in is answered even after the end."""

    block_on_close = False

    def __init__(self, listening: socket.socket, began: float) -> None:
        super().__init__(("", 0), _Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listening
        self.began = began
        self.timeout = _POLL

    def serve_until(self, is_over: Callable[[], bool]) -> None:
        """Answer whoever comes, until that is over."""
        while not is_over():
            self.handle_request()
