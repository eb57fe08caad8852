"""The package: what a wheel holds, and the engine at work where its folder is not."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from railhead.dsn import Dsn
from tests.processes import environment
from tests.project_tree import ROOT
from tests.wheel import build


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of a copy of what the package is made of."""
    return build(tmp_path_factory.mktemp("package"))


@pytest.fixture
def elsewhere(wheel: Path, tmp_path: Path) -> Iterator[Path]:
    """A copy of the template from which `railhead/` was deleted, beside the unpacked wheel."""
    for name in ("app", "migrations", "utils"):
        shutil.copytree(ROOT / name, tmp_path / "project" / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("alembic.ini", "models.py", "gunicorn.conf.py"):
        shutil.copy(ROOT / name, tmp_path / "project")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    return tmp_path


def run(place: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run Python in the copy, with the unpacked wheel on its path."""
    variables = environment(PYTHONPATH=str(place / "site"), PYTHONDONTWRITEBYTECODE="1", **variables)
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=place / "project", env=variables, capture_output=True, text=True)


def test_wheel_holds_the_engine_alone(wheel: Path) -> None:
    """Every module and the catalog's statement are in it; the sample, the tests and the template are not."""
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
        metadata = archive.read(next(name for name in archive.namelist() if name.endswith("METADATA"))).decode()
    files = {str(path.relative_to(ROOT)) for path in (ROOT / "railhead").rglob("*") if path.is_file()}
    assert held == {name for name in files if "__pycache__" not in name}
    assert "flask" not in {line.partition(">")[0] for line in metadata.splitlines() if "extra ==" not in line}


def test_command_works_on_a_project_without_the_folder(elsewhere: Path, database: Dsn) -> None:
    """`railhead` migrates and tells where a database is, and its messages say `railhead`, also from a folder below."""
    url = database.redacted()
    ended = run(elsewhere, "-m", "railhead", "status", DATABASE_URL=url)
    assert ended.returncode == 0, ended.stderr
    assert "behind" in ended.stdout
    assert "railhead upgrade" in ended.stdout
    assert "utils/migrate.py" not in ended.stdout
    below = run(
        elsewhere, "-c", "import os; os.chdir('app'); from railhead.__main__ import main; main()", DATABASE_URL=url
    )
    assert "at 0002" in below.stdout, below.stderr
    assert "railhead" in run(elsewhere, "-m", "railhead", "--help").stdout


def test_front_door_works_with_the_package(elsewhere: Path, database: Dsn) -> None:
    """`python utils/migrate.py` and the application's factory find the engine in the package as in the folder."""
    url = database.redacted()
    assert run(elsewhere, "utils/migrate.py", DATABASE_URL=url).returncode == 0
    started = run(elsewhere, "-c", "from app import create_app; create_app()", DATABASE_URL=url)
    assert "the database is at head" in started.stdout + started.stderr
