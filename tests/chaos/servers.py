"""Servers that a test may stop, and copies that follow them."""

from __future__ import annotations

from pathlib import Path

from railhead.devserver.server import Server

QUICK = {"fsync": "off", "shared_buffers": "16MB", "max_wal_senders": "4", "wal_level": "replica"}
"""Fast, lost with the machine, and fit to be followed."""


def standby_of(primary: Server, data: Path) -> Server:
    """Return a running copy of `primary` that follows it."""
    source = primary.dsn.with_(dbname="replication")
    primary.run("pg_basebackup", "-d", str(source), "-D", str(data), "-R", "-c", "fast", "--no-sync", "-X", "stream")
    standby = Server(data, QUICK)
    standby.start()
    return standby
