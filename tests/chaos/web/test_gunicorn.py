"""`gunicorn 'app:create_app()'`, as the Procfile starts it."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import time
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from railhead.dsn import Dsn
from tests.databases import rows_of
from tests.processes import Running, eventually
from tests.project_tree import GUNICORN, Tree

SERVE = (*GUNICORN, "app:create_app()")
WITHOUT_PRELOAD = "from pathlib import Path\nexec(Path('gunicorn.conf.py').read_text())\npreload_app = False\n"


@pytest.fixture
def port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def answer(port: int, path: str = "/") -> int:
    """Return the status with which a page is answered, 0 while nobody listens."""
    try:
        with urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as response:
            return int(response.status)
    except HTTPError as error:
        return error.code
    except OSError:
        return 0


def serving(running: Running, port: int) -> None:
    """Return when the board is answered; fail at once when the process ends instead."""

    def is_there() -> bool:
        assert running.process.poll() is None, running.stdout + running.stderr
        return answer(port) == 200

    eventually(is_there, within=60, what="the board is answered")


def configuration(tree: Tree, *, preload: bool) -> tuple[str, ...]:
    """Return the arguments that make gunicorn preload or not; its configuration file does by itself."""
    if preload:
        return ()
    (tree.root / "without_preload.py").write_text(WITHOUT_PRELOAD)
    return ("-c", "without_preload.py")


@pytest.mark.parametrize("preload", [True, False], ids=["preload", "without preload"])
def test_an_empty_database_is_migrated_and_served(project: Tree, database: Dsn, port: int, preload: bool) -> None:
    """From nothing to a board that answers, with everybody's logs; SIGTERM ends it with 0."""
    running = project.start(*SERVE, *configuration(project, preload=preload), PORT=str(port), WEB_CONCURRENCY="2")
    serving(running, port)
    assert [answer(port, path) for path in ("/healthz", "/readyz")] == [200, 200]
    assert rows_of(database, "SELECT count(*), count(DISTINCT run) FROM migration_ledger") == [(2, 1)]
    running.send(signal.SIGTERM)
    assert running.wait() == 0
    assert running.stdout.count("upgrade: 2 revisions, the database is at 0002_add_task_due_on") == 1
    assert f"Listening at: http://127.0.0.1:{port}" in running.stdout
    assert "GET / 200 " in running.stdout
    assert running.stderr == ""


@pytest.mark.parametrize("workers", [1, 4])
@pytest.mark.parametrize("preload", [True, False], ids=["preload", "without preload"])
def test_a_migration_that_fails_ends_the_process(project: Tree, port: int, preload: bool, workers: int) -> None:
    """Within seconds, with a code that platforms take for a failure, and with the message at the end of the log."""
    project.write("0003_broken", "op.execute('SELEC 1')", after="0002_add_task_due_on")
    began = time.monotonic()
    running = project.start(
        *SERVE, *configuration(project, preload=preload), PORT=str(port), WEB_CONCURRENCY=str(workers)
    )
    code = running.wait()
    took = time.monotonic() - began
    # gunicorn 27 ends with 1 and a traceback of its own when a second worker fails while it stops for the first
    stumbled = not preload and workers > 1 and "gunicorn.errors.HaltServer" in running.stderr
    assert code == (1 if stumbled else 3), running.stderr
    message, slug, after = running.stdout.rpartition("[migration-failed]")
    assert "error: start stopped: 0003_broken failed and was rolled back\n" in message
    assert slug
    if preload:
        assert after == "\n"
    elif workers == 1:  # several workers fail side by side, and the first to fail ends the others
        assert all(re.search("[Ww]orker|Shutting down", line) for line in after.split("\n") if line), after
    assert stumbled or running.stderr == ""
    assert answer(port) == 0
    assert took < 10 * _slowness()


def test_a_failure_in_production_is_one_json_object(project: Tree, port: int) -> None:
    """The whole message is in one record of level error, for a platform to show and to alert on."""
    project.write("0003_broken", "op.execute('SELEC 1')", after="0002_add_task_due_on")
    running = project.start(*SERVE, PORT=str(port), APP_ENV="production")
    assert running.wait() == 3
    last = json.loads(running.stdout.splitlines()[-1])
    assert (last["level"], last["message"].splitlines()[0]) == (
        "error",
        "start stopped: 0003_broken failed and was rolled back",
    )


@pytest.mark.parametrize(("name", "value"), [("MIGRATE_WAIT_LOCK", "soon"), ("MIGRATE_HAZARDS", "maybe")])
def test_a_wrong_setting_ends_the_process(project: Tree, name: str, value: str) -> None:
    """Its configuration file reads the settings first: what is wrong with them is told once and ends it."""
    running = project.start(*SERVE, **{name: value})
    assert running.wait() == 3
    said = running.stdout + running.stderr
    assert said.count(f"{name} is '{value}'") == 1
    assert "Traceback" not in said


def _slowness() -> float:
    """Return how much slower than on a quiet machine things may be just now."""
    return max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))
