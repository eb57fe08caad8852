"""A network that can be cut: from then on no packet passes, and nobody is told, until it is mended."""

from __future__ import annotations

import selectors
import socket
import threading
from collections import Counter
from contextlib import suppress

from railhead.dsn import Dsn


class Proxy:
    """Forwards what comes to a port of this machine to a server, until it is cut. Runs in a thread of its own."""

    def __init__(self, server: Dsn, port: int = 0) -> None:
        """Listen on `port`, or on a free one, and forward."""
        given = server.parameters()
        self._target = (given["host"], int(given.get("port") or 5432))
        self._listener = socket.create_server(("127.0.0.1", port))
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._sockets: list[socket.socket] = []
        self._clients: set[socket.socket] = set()
        self._trips: Counter[socket.socket] = Counter()
        self._asking: set[socket.socket] = set()
        self._cut = threading.Event()
        self.mend()

    def dsn(self, database: Dsn) -> Dsn:
        """Return the way to `database` through this network."""
        given = {**database.parameters(), "host": "127.0.0.1", "port": str(self._listener.getsockname()[1])}
        return Dsn.of(**given, sslmode="disable")

    def cut(self) -> None:
        """Let no packet pass any more; connections stay open, new ones are accepted and never answered."""
        self._cut.set()
        self._thread.join()

    def mend(self) -> None:
        """Let packets pass again, those too that were sent meanwhile."""
        self._cut.clear()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Close everything."""
        self.cut()
        for one in (self._listener, *self._sockets):
            one.close()
        self._selector.close()

    def trips(self) -> list[int]:
        """Return how often each client asked since this was last called, most first.

        A client asks once until it is answered, however many packets its question takes; leaving is no question.
        """
        trips, self._trips = self._trips, Counter()
        return sorted(trips.values(), reverse=True)

    def _count(self, source: socket.socket, target: socket.socket, *, leaves: bool) -> None:
        if source not in self._clients:
            self._asking.discard(target)
        elif source not in self._asking and not leaves:
            self._trips[source] += 1
            self._asking.add(source)

    def _run(self) -> None:
        while not self._cut.is_set():
            for key, _ in self._selector.select(0.05):
                if self._cut.is_set():
                    return
                if key.fileobj is self._listener:
                    self._join(self._listener.accept()[0])
                else:
                    self._forward(key.fileobj, key.data)  # type: ignore[arg-type]  # a socket is what was registered

    def _join(self, client: socket.socket) -> None:
        host, port = self._target
        local = host.startswith("/")
        server = socket.socket(socket.AF_UNIX if local else socket.AF_INET)
        server.connect(f"{host}/.s.PGSQL.{port}" if local else (host, port))
        self._sockets += [client, server]
        self._clients.add(client)
        self._selector.register(client, selectors.EVENT_READ, server)
        self._selector.register(server, selectors.EVENT_READ, client)

    def _forward(self, source: socket.socket, target: socket.socket) -> None:
        data = b""
        with suppress(OSError):
            data = source.recv(65536)
            self._count(source, target, leaves=data[:1] in {b"", b"X"})
            target.sendall(data)
        if not data:
            self._selector.unregister(source)
            with suppress(OSError):
                target.shutdown(socket.SHUT_WR)
