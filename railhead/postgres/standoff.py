"""Who waits for a session that asks nothing, and is it this very process?

A revision that opens a connection of its own, or starts a program that does, and waits there for what its own transaction has locked
waits for ever: PostgreSQL sees one session that is idle and another that waits, and no deadlock. Ends nobody's session.
"""

from __future__ import annotations

import gc
import os
import sys
import traceback
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from psycopg2.extensions import connection as Connection

from railhead.postgres.connection import fetch_all

ENDED_AFTER = 3.0
"""Seconds after which a process that waits for itself is stopped: nothing else would end that, and traffic waits with it."""


class Waiter(NamedTuple):
    """A session that waits, directly or behind others, for one that asks nothing. `age` is in seconds."""

    pid: int
    application: str
    address: str | None
    port: int
    began: float
    """When the session began, in seconds since 1970."""
    age: float
    query: str

    def __str__(self) -> str:
        name = f", {self.application}" if self.application else ""
        return f"pid {self.pid}{name}, waiting for {self.age:.0f} s: {self.query}"


class Standoff(NamedTuple):
    """A process that waited for itself, and where its code stood."""

    waiters: tuple[Waiter, ...]
    stack: tuple[tuple[str, int], ...]
    """File and line of each frame of the thread that migrates, innermost last."""

    def line_in(self, file: Path | None) -> int | None:
        """Return the line of `file` where the code stood, None when it did not stand there."""
        return next((line for name, line in reversed(self.stack) if file and Path(name) == file), None)


def waiters_for(connection: Connection, pid: int) -> tuple[str | None, list[Waiter]]:
    """Return from which address session `pid` came, and who waits for it, also behind others who do. Read-only."""
    rows = fetch_all(connection, _WAITING, {"pid": pid})
    address = next((str(row[2]) for row in rows if row[0] == pid and row[2]), None)
    blocked = {int(str(row[0])): (row, set(_pids(row[7]))) for row in rows if row[0] != pid}
    behind = {pid}
    while more := {waiter for waiter, (_, ahead) in blocked.items() if ahead & behind} - behind:
        behind |= more
    return address, [Waiter(*blocked[waiter][0][:7]) for waiter in sorted(behind - {pid})]  # type: ignore[arg-type]  # its columns


def own(address: str | None, waiters: Iterable[Waiter]) -> list[Waiter]:
    """Return those of the waiters that are connections of this process, or of programs that it has started.

    `address` is where the server sees this process. Known are psycopg's connections, and on Linux whatever has a socket here;
    nobody can be told behind a pooler.
    """
    near = [waiter for waiter in waiters if waiter.address in {address, None}]  # of another role nothing is told
    if not near:
        return []
    pids, ports, children = set(_backends()), set(_ports()), list(_descendants())
    return [
        waiter
        for waiter in near
        if waiter.pid in pids or waiter.port in ports or (waiter.port < 0 and _is_childs(waiter, children))
    ]


def stack_of(thread: int) -> tuple[tuple[str, int], ...]:
    """Return file and line of each frame of a thread, innermost last."""
    frame = sys._current_frames().get(thread)  # noqa: SLF001  there is no other way to ask
    return tuple((frame.filename, frame.lineno or 0) for frame in traceback.extract_stack(frame)) if frame else ()


def _pids(value: object) -> list[int]:
    return [int(str(pid)) for pid in value] if isinstance(value, list) else []


def _backends() -> Iterator[int]:
    """Yield the server's process of each open connection of psycopg's in this process."""
    newer = getattr(sys.modules.get("psycopg"), "BaseConnection", None)
    kinds = (Connection, newer) if newer else (Connection,)
    for thing in gc.get_objects():
        if issubclass(type(thing), kinds):  # isinstance would ask proxies, which may do anything
            with suppress(Exception):  # it may be closed by now
                yield thing.info.backend_pid


def _ports() -> Iterator[int]:
    """Yield the local TCP ports of this process and of those that it has started. Linux only."""
    sockets = set[str]()
    for process in (os.getpid(), *(pid for pid, _ in _descendants())):
        with suppress(OSError):
            for place in Path(f"/proc/{process}/fd").iterdir():
                with suppress(OSError):
                    sockets.add(os.readlink(place).removeprefix("socket:[").removesuffix("]"))
    for table in ("tcp", "tcp6"):
        with suppress(OSError):
            for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
                fields = line.split()
                if fields[9] in sockets:
                    yield int(fields[1].rpartition(":")[2], 16)


def _descendants() -> Iterator[tuple[int, float]]:
    """Yield each process that this one has started, with when that was, in seconds since 1970. Linux only."""
    pids = {os.getpid()}
    with suppress(OSError, ValueError, IndexError, StopIteration):
        booted = next(
            float(line.split()[1]) for line in Path("/proc/stat").read_text().splitlines() if line.startswith("btime")
        )
        ticks = os.sysconf("SC_CLK_TCK")
        for process in sorted(int(name) for name in os.listdir("/proc") if name.isdecimal()):
            with suppress(OSError):
                fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
                if int(fields[1]) in pids and fields[0] != "Z":
                    pids.add(process)
                    yield process, booted + int(fields[19]) / ticks


def _is_childs(waiter: Waiter, children: list[tuple[int, float]]) -> bool:
    """Tell whether a session over a socket without a port began while a program that we have started was there."""
    return any(started - 1.0 <= waiter.began for _, started in children)  # the kernel counts from a whole second


_WAITING = """
SELECT a.pid, coalesce(a.application_name, ''), host(a.client_addr), coalesce(a.client_port, 0),
       coalesce(extract(epoch FROM a.backend_start), 0)::float8,
       coalesce(extract(epoch FROM clock_timestamp() - a.query_start), 0)::float8,
       left(regexp_replace(coalesce(a.query, ''), '\\s+', ' ', 'g'), 60), pg_blocking_pids(a.pid)
  FROM pg_stat_activity a
 WHERE a.pid = %(pid)s OR a.pid IN (SELECT pid FROM pg_locks WHERE NOT granted)
"""
