"""A server that answers everybody with the same refusal, as PostgreSQL, poolers and managed servers do."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager

SSL_REQUEST, GSS_REQUEST = 80877103, 80877104


def error_response(words: str, *, severity: str = "FATAL", code: str = "XX000", detail: str = "") -> bytes:
    """Return the message that PostgreSQL's protocol has for an error: fields, each with its letter."""
    fields = {"S": severity, "V": severity, "C": code, "M": words, "D": detail}
    body = b"".join(letter.encode() + text.encode() + b"\0" for letter, text in fields.items() if text) + b"\0"
    return b"E" + struct.pack("!I", len(body) + 4) + body


@contextmanager
def refusing(answer: bytes) -> Iterator[int]:
    """Give the port of a server that reads a start-up message and sends `answer` for it; encryption it has none."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=_serve, args=(server, answer), daemon=True).start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)


def _serve(server: socket.socket, answer: bytes) -> None:
    while True:
        try:
            client, _ = server.accept()
        except OSError:
            return
        with client:
            try:
                while _starts(client) in {SSL_REQUEST, GSS_REQUEST}:
                    client.sendall(b"N")
                client.sendall(answer)
            except OSError:
                pass  # who is no longer there needs no answer


def _starts(client: socket.socket) -> int:
    head = _read(client, 8)
    length, request = struct.unpack("!II", head)
    _read(client, length - 8)
    return int(request)


def _read(client: socket.socket, size: int) -> bytes:
    text = b""
    while len(text) < size:
        piece = client.recv(size - len(text))
        if not piece:
            raise ConnectionResetError
        text += piece
    return text
