"""How is somebody's code run so that it reaches nothing?

No connection, no other process, no file that is written: whoever tries is stopped. Only in one thread; the others go on as ever.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import psycopg2

_REACHES = {
    "ftplib.connect": "the network",
    "http.client.connect": "the network",
    "smtplib.connect": "the network",
    "socket.bind": "the network",
    "socket.connect": "the network",
    "socket.sendto": "the network",
    "urllib.Request": "the network",
    "os.exec": "other programs",
    "os.fork": "other programs",
    "os.kill": "other programs",
    "os.posix_spawn": "other programs",
    "os.spawn": "other programs",
    "os.system": "other programs",
    "subprocess.Popen": "other programs",
    "os.chmod": "files",
    "os.chown": "files",
    "os.link": "files",
    "os.mkdir": "files",
    "os.remove": "files",
    "os.rename": "files",
    "os.rmdir": "files",
    "os.symlink": "files",
    "os.truncate": "files",
    "shutil.rmtree": "files",
}
"""Events of Python's audit (https://docs.python.org/3/library/audit_events.html), and what is reached there."""

_stoppers: dict[int, Callable[[str], object]] = {}
"""What is called with the reason, by the thread that is isolated."""

_lock = threading.Lock()


@contextlib.contextmanager
def isolated(stop: Callable[[str], object]) -> Iterator[None]:
    """Let this thread reach nothing outside of its process, nor print; `stop`, which raises, is called with what it tried."""
    thread = threading.get_ident()
    _install()
    _stoppers[thread] = stop
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        del _stoppers[thread]


def _install() -> None:
    """Look from now on at what this process does: nobody can take that back, and it does nothing while no thread is isolated."""
    with _lock:
        if getattr(psycopg2.connect, "looks", None) is not _audit:
            sys.addaudithook(_audit)
            psycopg2.connect = _connecting(psycopg2.connect)


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    if not _stoppers:
        return
    stop = _stoppers.get(threading.get_ident())
    if stop is None:
        return
    if event in _REACHES:
        stop(f"it reaches {_REACHES[event]}")
    elif event == "open" and _is_writing(*arguments):
        stop("it writes files")


def _is_writing(path: object, mode: str | None, flags: int) -> bool:
    is_cache = "__pycache__" in str(path)  # of a module that is imported
    return not is_cache and bool(set(mode or "") & set("wax+") or flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))


def _connecting(connect: Callable[..., Any]) -> Callable[..., Any]:
    """Return psycopg2's function with the same look: what its library in C does, Python's audit does not see."""

    def connected(*arguments: Any, **named: Any) -> Any:
        stop = _stoppers.get(threading.get_ident())
        if stop is not None:
            stop("it opens a connection of its own")
        return connect(*arguments, **named)

    connected.looks = _audit  # type: ignore[attr-defined]
    return connected
