"""A PgBouncer of one's own, in transaction mode."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from contextlib import closing
from pathlib import Path

import pytest

from railhead.devserver import run_as
from railhead.dsn import Dsn
from tests.chaos.ports import free_ports
from tests.processes import eventually

_SETTINGS = """\
[databases]
* = {target}

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = {mode}
default_pool_size = {pool}
max_client_conn = 200
server_idle_timeout = 5
"""


class Pooler:
    """PgBouncer in front of a server, for every database on it."""

    PATH = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin"])

    def __init__(self, server: Dsn, place: Path, pool: int = 5, mode: str = "transaction") -> None:
        """Start it with at most `pool` connections to each database; its files go to `place`."""
        self.port = free_ports(1)[0]
        given = server.parameters()
        names = {"host": "host", "port": "port", "user": "user", "password": "password"}
        target = " ".join(f"{name}='{given[key]}'" for key, name in names.items() if given.get(key))
        settings = place / "pgbouncer.ini"
        settings.write_text(_SETTINGS.format(target=target, port=self.port, pool=pool, mode=mode))
        program = shutil.which("pgbouncer", path=self.PATH)
        assert program is not None
        with (place / "pgbouncer.log").open("wb") as output:
            self._process = subprocess.Popen(
                [program, str(settings)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                preexec_fn=run_as.choose(place).put_on,  # noqa: PLW1509  it refuses to be root, as PostgreSQL does
            )
        self._log = place / "pgbouncer.log"
        eventually(self._answers, within=10, what="PgBouncer listens")

    def dsn(self, database: Dsn) -> Dsn:
        """Return the way to `database` through this pooler."""
        given = database.parameters()
        return Dsn.of(host="127.0.0.1", port=str(self.port), user=given["user"], dbname=given["dbname"])

    def end(self) -> None:
        """End it, whoever is connected."""
        self._process.kill()
        self._process.wait()

    def _answers(self) -> bool:
        assert self._process.poll() is None, self._log.read_text()
        with closing(socket.socket()) as client:
            return client.connect_ex(("127.0.0.1", self.port)) == 0


NEEDED = pytest.mark.skipif(
    shutil.which("pgbouncer", path=Pooler.PATH) is None, reason="needs pgbouncer (apt-get install pgbouncer)"
)
"""Marks a test that cannot do without."""
