"""What is answered for a start that takes long: `/healthz` with 200, everything else with 503 and for how long the start has worked."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

_RETRY_AFTER = 5
"""Seconds after which a client is asked to come back."""


class Handler(BaseHTTPRequestHandler):
    """Answers one request, whatever it is."""

    timeout = 5
    server_version = "railhead"
    sys_version = ""
    server: Server

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


class Server(ThreadingHTTPServer):
    """Serves on a socket that is somebody else's; who was let in is answered even after the end."""

    block_on_close = False

    def __init__(self, listening: socket.socket, began: float, poll: float) -> None:
        super().__init__(("", 0), Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listening
        self.began = began
        self.timeout = poll

    def serve_until(self, is_over: Callable[[], bool]) -> None:
        """Answer whoever comes, until that is over."""
        while not is_over():
            self.handle_request()
