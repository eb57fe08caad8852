"""A clone of the template that deletes `railhead/` and names the package in requirements.txt works the same."""

from __future__ import annotations

import shutil
import subprocess
import time
import urllib.error
import urllib.request
from contextlib import closing
from pathlib import Path

import pytest

from railhead.dsn import Dsn
from railhead.project import Project
from railhead.testing import databases
from railhead.testing.databases import DatabaseUrl
from tests.chaos.ports import free_ports
from tests.databases import rows_of
from tests.processes import environment, eventually
from tests.project_tree import ROOT
from tests.wheel import build, install

_PARTS = ("app", "migrations", "utils", "alembic.ini", "models.py", "gunicorn.conf.py", "Procfile")


def _answers(url: str) -> bool:
    try:
        with closing(urllib.request.urlopen(url, timeout=10)) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, ConnectionError):
        return False


def test_gunicorn_serves_the_template_with_the_package(database: Dsn, tmp_path: Path) -> None:
    """Gunicorn finds its configuration, migrates in the master and serves board, console and readiness."""
    python = install(tmp_path / "environment", f"{build(tmp_path)}[flask]", "-r", str(ROOT / "requirements.txt"))
    project = tmp_path / "project"
    project.mkdir()
    for name in _PARTS:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, project / name)
    [port] = free_ports(1)
    variables = environment(database, PORT=str(port), WEB_CONCURRENCY="1", PYTHONDONTWRITEBYTECODE="1")
    with subprocess.Popen(
        [python, "-m", "gunicorn", "app:create_app()"],
        cwd=project,
        env=variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as server:
        try:
            for path in ("/readyz", "/", "/schema", "/schema/static/console.css"):
                eventually(lambda path=path: _answers(f"http://127.0.0.1:{port}{path}"), within=60, what=path)  # type: ignore[misc]
        finally:
            server.terminate()
            said = server.communicate(timeout=60)[0]
    assert "railhead" not in {entry.name for entry in project.iterdir()}, said
    assert rows_of(database, "SELECT version_num FROM alembic_version")


@pytest.mark.alone
def test_second_database_of_a_test_run_costs_little(server: Dsn) -> None:
    """Once the template is there, a database at head is a copy of a few files: under 50 ms."""
    url, project = DatabaseUrl.of(server), Project(ROOT)
    template = databases.template(url, project)
    spent = []
    for _ in range(9):
        began = time.monotonic()
        with databases.copied(url, template):
            spent.append(time.monotonic() - began)
    rows_of(server, f'DROP DATABASE "{template}"')
    databases.leave()
    print(f"\na database at head costs {sorted(spent)[2] * 1000:.0f} ms")
    assert sorted(spent)[2] < 0.05
