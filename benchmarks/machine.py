"""On what was it measured?

Facts that a reader needs to compare the numbers with others. Never the name of the machine, a path or a user.
"""

from __future__ import annotations

import os
import platform
from pathlib import Path

from benchmarks import places, processes
from benchmarks.databases import Server

PACKAGES = ("alembic", "django", "flask", "flask-migrate", "flask-sqlalchemy", "psycopg2-binary", "sqlalchemy")
SETTINGS = ("fsync", "synchronous_commit", "shared_buffers", "max_connections")


def facts(server: Server) -> dict[str, str]:
    """Return what the machine, the server and the tools are, by name. Read-only."""
    names = "', '".join(SETTINGS)
    rows = server.rows("template1", f"SELECT name, current_setting(name) FROM pg_settings WHERE name IN ('{names}')")
    settings = {str(name): str(value) for name, value in rows}
    ((version,),) = server.rows("template1", "SELECT current_setting('server_version')")
    host = server.dsn.parameters().get("host", "")
    way = (
        "a socket"
        if host.startswith("/") or not host
        else "TCP on this machine"
        if server.dsn.is_local()
        else "the network"
    )
    return {
        "Processor": f"{_processor()}, {os.cpu_count()} cores",
        "Memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB",
        "System": f"{platform.system()} {platform.release().partition('-')[0]}",
        "Python": f"{platform.python_implementation()} {platform.python_version()}",
        "PostgreSQL": f"{version} over {way}; " + ", ".join(f"{name} = {settings[name]}" for name in SETTINGS),
        "Tools": ", ".join([*_packages(), _dbmate(), _psql()]),
    }


def _processor() -> str:
    """Return the processor's name, as Linux tells it; elsewhere its kind."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except FileNotFoundError:
        return platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def _packages() -> list[str]:
    code = (
        f"import importlib.metadata as m; print('\\n'.join(f'{{name}} {{m.version(name)}}' for name in {PACKAGES!r}))"
    )
    return _say(str(places.PYTHON), "-c", code).splitlines()


def _dbmate() -> str:
    return _say(str(places.PROGRAMS / "dbmate"), "--version").replace("version ", "")


def _psql() -> str:
    program, _, version = _say(places.psql(), "--version").split()[:3]
    return f"{program} {version}"


def _say(*command: str) -> str:
    return processes.printed(command, places.DATA, places.clean_environment()).strip()
