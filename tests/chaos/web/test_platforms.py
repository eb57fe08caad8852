"""Each platform's own variable, with a database at 127.0.0.1 as a proxy or pooler beside the application gives it: production."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator

import pytest

from railhead.dsn import Dsn
from railhead.platforms import PLATFORMS, TELLING_VALUES, TEST_RUNNERS
from tests.chaos.ports import free_ports
from tests.databases import named, rows_of
from tests.forked_tree import Workshop
from tests.processes import Running, eventually
from tests.project_tree import GUNICORN, Tree

VALUES = {
    "KUBERNETES_PORT": "tcp://10.0.0.1:443",
    "KUBERNETES_SERVICE_HOST": "10.0.0.1",
    "DYNO": "web.1",
    "RENDER": "true",
}

TELLING = {
    "AWS_EXECUTION_ENV": "AWS_ECS_FARGATE",
    "VERCEL_ENV": "preview",
    "WEBSITE_HOSTNAME": "app.azurewebsites.net",
    "CONTAINER": "web-1",
    "APP_ID": "app_3f1c2a90-7d57-4c1c-9a55-0a7b8f4e2d10",
    "INSTANCE_TYPE": "production",
}
"""Values that tell, for each variable that others set, too."""

SERVE = (
    sys.executable,
    "-c",
    """
import runpy
from app import create_app
from app.sign_in import access

with create_app().test_request_context():
    board = access().value
print("bind", runpy.run_path("gunicorn.conf.py")["bind"])
print("board", board)
""",
)


def variables() -> Iterator[tuple[str, str, str]]:
    """Yield each variable that a platform sets, a value for it, and the platform."""
    yield "RAILWAY_ENVIRONMENT_NAME", "production", "Railway"
    yield from ((name, value, TELLING_VALUES[name][1]) for name, value in TELLING.items())
    for platform, names in PLATFORMS.items():
        yield from ((name, VALUES.get(name, "x"), platform) for name in names)


@pytest.fixture
def broken(at_head: Workshop) -> Workshop:
    """A tree with a revision that fails, so that DEV_CREATE_TABLES would be heeded."""
    at_head.write("0003_broken", "raise RuntimeError('broken')", after="0002_add_task_due_on")
    return at_head


def test_each_variable_that_others_set_too_has_a_value_here() -> None:
    """So that none is forgotten."""
    assert TELLING.keys() == TELLING_VALUES.keys()


def test_every_platforms_variable_is_production_for_real_processes(at_head: Workshop, database: Dsn) -> None:
    """The start says why, gunicorn listens to the network, the board is read-only, and reset is refused, by its name too."""
    began = time.monotonic()
    for name, value, platform in variables():
        since = time.monotonic()
        started = at_head.run(*SERVE, **{name: value}, LOG_FORMAT="text")
        reset = at_head.migrate("reset", named(database), **{name: value})
        assert f"start: production, because {name} is set ({platform})" in started.stdout, (
            started.stdout + started.stderr
        )
        assert started.stdout.endswith("bind 0.0.0.0:8000\nboard read-only\n"), started.stdout
        assert (reset.returncode, "[not-in-production]" in reset.stderr) == (3, True), reset.stderr
        print(f"{name} ({platform}): {time.monotonic() - since:.2f} s")
    print(f"all: {time.monotonic() - began:.1f} s")
    assert rows_of(database, "SELECT count(*) FROM project") == [(0,)]


@pytest.mark.parametrize("name", ["DYNO", "KUBERNETES_SERVICE_HOST", "K_SERVICE", "ECS_CONTAINER_METADATA_URI_V4"])
def test_tables_are_never_made_without_migrations_there(broken: Workshop, name: str) -> None:
    """DEV_CREATE_TABLES is ignored with a warning that says why, and the start fails as without it."""
    ended = broken.run(*SERVE, DEV_CREATE_TABLES="true", LOG_FORMAT="text", **{name: "x"})
    assert ended.returncode == 3
    assert f"DEV_CREATE_TABLES is ignored: this is production, because {name} is set" in ended.stdout


@pytest.mark.parametrize("name", [*TEST_RUNNERS, "CI"])
def test_where_tests_run_nothing_is_production(at_head: Workshop, name: str) -> None:
    """There the board is open, and gunicorn listens to this machine only."""
    ended = at_head.run(*SERVE, **{name: "true"})
    assert "start: development, because the database is on this machine (DATABASE_URL)" in ended.stdout
    assert ended.stdout.endswith("bind 127.0.0.1:8000\nboard open\n"), ended.stdout


def test_gunicorn_listens_to_the_network_on_every_kind_of_platform(project: Tree, database: Dsn) -> None:
    """As the Procfile starts it, side by side: the health check comes from another machine."""
    platforms = ["DYNO", "KUBERNETES_SERVICE_HOST", "K_SERVICE", "FLY_APP_NAME", "CONTAINER_APP_NAME"]
    began = time.monotonic()
    ports = free_ports(len(platforms))
    running = [
        project.start(*GUNICORN, "app:create_app()", PORT=str(port), WEB_CONCURRENCY="1", **{name: "x"})
        for name, port in zip(platforms, ports, strict=True)
    ]
    for name, port, process in zip(platforms, ports, running, strict=True):
        eventually(lambda process=process: _listens(process), within=60, what=f"gunicorn with {name}")  # type: ignore[misc]
        assert f"Listening at: http://0.0.0.0:{port}" in process.stdout
        print(f"{name}: listens after {time.monotonic() - began:.1f} s")
    assert rows_of(database, "SELECT count(DISTINCT run) FROM migration_ledger") == [(1,)]


def _listens(process: Running) -> bool:
    assert process.process.poll() is None, process.stdout + process.stderr
    return "Listening at" in process.stdout
