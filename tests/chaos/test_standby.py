"""The port answers while a start works, and is handed over without a refused connection."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import closing
from http.client import HTTPConnection, HTTPException

import psycopg2
import pytest
from psycopg2.extensions import connection as Connection

from railhead.dsn import Dsn
from tests.chaos.test_post_deploy import HEAD, ports
from tests.chaos.web.test_gunicorn import SERVE, answer, configuration
from tests.databases import rows_of
from tests.processes import Running, eventually
from tests.project_tree import Tree

PRODUCTION = {"APP_ENV": "production", "WEB_CONCURRENCY": "2"}
GATE = 4711
"""An advisory lock: the revision is done once it has it."""


@pytest.fixture
def gate(database: Dsn) -> Iterator[Connection]:
    """A session that keeps the start at work until it is closed."""
    with closing(psycopg2.connect(database)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_lock(%s)", (GATE,))
        yield connection


@pytest.fixture
def slow(project: Tree) -> Tree:
    """A project with pre-deploy work that lasts until the gate opens."""
    assert project.migrate().returncode == 0
    project.write("0003_slow", f"op.execute('SELECT pg_advisory_xact_lock({GATE})')", after=HEAD)
    assert project.migrate("seal", "--no-replay").returncode == 0
    return project


class Probe:
    """Asks without a pause, and keeps every answer: a status, or 0 for a connection that was refused or broken."""

    def __init__(self, port: int) -> None:
        """Begin."""
        self.answers: list[tuple[str, int]] = []
        self._port = port
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._ask)
        self._thread.start()

    def end(self) -> None:
        """Stop asking."""
        self._over.set()
        self._thread.join()

    def _ask(self) -> None:
        while not self._over.wait(0.02):
            for path in ("/healthz", "/readyz"):
                connection = HTTPConnection("127.0.0.1", self._port, timeout=20)
                try:
                    connection.request("GET", path)
                    self.answers.append((path, connection.getresponse().status))
                except (OSError, HTTPException):
                    self.answers.append((path, 0))
                finally:
                    connection.close()


def answering(running: Running, port: int) -> bool:
    """Tell whether somebody answers for the start; fails when it has ended."""
    assert running.process.poll() is None, running.stdout + running.stderr
    return answer(port, "/healthz") == 200


@pytest.mark.parametrize("preload", [True, False], ids=["preload", "without preload"])
def test_nobody_is_refused_while_a_start_works_nor_when_it_is_done(slow: Tree, gate: Connection, preload: bool) -> None:
    """`/healthz` is 200 throughout, `/readyz` 503 and then 200, and no connection is refused or broken in between."""
    (port,) = ports(1)
    running = slow.start(*SERVE, *configuration(slow, preload=preload), PORT=str(port), **PRODUCTION)
    eventually(lambda: answering(running, port), within=60, what="somebody answers while the start works")
    connection = HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request("POST", "/projects")
    response = connection.getresponse()
    assert (response.status, response.headers["Retry-After"]) == (503, "5")
    assert b'"state": "starting"' in response.read()
    probe = Probe(port)
    try:
        eventually(lambda: len(probe.answers) > 20, within=60, what="the probe has asked")
        gate.close()
        eventually(lambda: answer(port, "/readyz") == 200, within=60, what="the application serves")
        asked = len(probe.answers)
        eventually(lambda: len(probe.answers) > asked + 20, within=60, what="the probe has asked again")
    finally:
        probe.end()
    assert {status for path, status in probe.answers if path == "/healthz"} == {200}
    statuses = [status for path, status in probe.answers if path == "/readyz"]
    assert set(statuses) == {503, 200}
    assert statuses == sorted(statuses, reverse=True)


def test_a_port_that_stays_closed_when_that_is_asked_for(slow: Tree, database: Dsn, gate: Connection) -> None:
    """With MIGRATE_LISTEN=off nobody answers before the application does."""
    (port,) = ports(1)
    running = slow.start(*SERVE, PORT=str(port), MIGRATE_LISTEN="off", **PRODUCTION)
    waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = %s AND NOT granted"
    eventually(lambda: rows_of(database, waiting, (GATE,)) == [(1,)], within=60, what="the start is at work")
    assert answer(port, "/healthz") == 0
    gate.close()
    eventually(lambda: answering(running, port), within=60, what="the application serves")


def test_a_port_that_somebody_has_is_told_and_the_start_goes_on(slow: Tree, gate: Connection) -> None:
    """The migration is done; gunicorn itself says what is wrong with the port."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        running = slow.start(*SERVE, PORT=str(taken.getsockname()[1]), **PRODUCTION)
        eventually(lambda: "nobody answers on the port meanwhile" in running.stdout, within=60)
        gate.close()
        eventually(lambda: "the database is at 0003_slow" in running.stdout, within=60)
