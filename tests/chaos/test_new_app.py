"""`make new-app`: a project of one's own in the place of the sample, in which everything is green."""

from __future__ import annotations

import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest

from railhead.devserver import shared
from railhead.dsn import Dsn
from tests.chaos.ports import free_ports
from tests.databases import url_of
from tests.processes import Running, environment, eventually
from tests.project_tree import ROOT

MADE = shutil.ignore_patterns(".git", ".venv", ".data", ".env", "__pycache__", ".*_cache", ".hypothesis")


@pytest.fixture
def clone(tmp_path: Path) -> Iterator[Path]:
    """The repository as somebody has just cloned it, with what is installed."""
    root = tmp_path / "a clone"
    shutil.copytree(ROOT, root, ignore=MADE)
    venv = root / ".venv"
    venv.mkdir()
    for name in ("bin", "lib", "pyvenv.cfg"):
        (venv / name).symlink_to(Path(sys.prefix) / name)
    git(root, "init", "--quiet")
    git(root, "add", "--all")
    git(root, "-c", "user.name=x", "-c", "user.email=x@example.org", "commit", "--quiet", "--message", "clone")
    (venv / "installed").write_text(f"{root}\n")
    yield root
    if (root / ".data").exists():
        eventually(partial(shared.gone, root / ".data"), within=60, what="the server of development ends")


def git(root: Path, *arguments: str) -> str:
    """Run git and return what it says."""
    return subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=True).stdout


def make(root: Path, *arguments: str, text: str = "") -> subprocess.CompletedProcess[str]:
    """Run make as somebody types it."""
    return subprocess.run(
        ["make", *arguments], cwd=root, env=environment(), input=text, capture_output=True, text=True, timeout=600
    )


def names(folder: Path) -> list[str]:
    """Return what the modules in a folder are called."""
    return sorted(path.name for path in folder.glob("**/*.py"))


def page(port: int, path: str) -> str:
    """Return what the application answers; nothing while it does not."""
    try:
        with closing(urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10)) as answer:
            return str(answer.read().decode())
    except urllib.error.URLError:
        return ""


def test_nothing_goes_that_git_does_not_have(clone: Path) -> None:
    """With something uncommitted, without a name, or without a yes, nothing is touched."""
    with (clone / "models.py").open("a") as file:
        file.write("# mine\n")
    refused = make(clone, "new-app", "NAME=shop", "YES=1")
    assert refused.returncode == 2
    assert "commit or stash first" in refused.stderr
    assert git(clone, "status", "--porcelain") == " M models.py\n"
    git(clone, "checkout", "--quiet", "models.py")
    assert "is no name" in make(clone, "new-app").stderr
    asked = make(clone, "new-app", "NAME=shop", text="n\n")
    assert "app/board.py" in asked.stdout
    assert asked.stdout.endswith("nothing is changed\n")
    assert git(clone, "status", "--porcelain") == ""


def test_new_app_is_green(clone: Path, database: Dsn) -> None:
    """Afterwards `make test`, `make check` and `make run` are green, and no name but the new one is shown."""
    replaced = make(clone, "new-app", "NAME=shop", "YES=1")
    assert replaced.returncode == 0, replaced.stderr
    assert names(clone / "models") == ["__init__.py", "base.py", "note.py", "sign_in.py"]
    assert names(clone / "tests") == ["conftest.py", "test_history.py", "test_home.py"]
    for target in ("check", "test"):
        ended = make(clone, target)
        assert ended.returncode == 0, ended.stdout + ended.stderr
    [port] = free_ports(1)
    variables = environment(PORT=str(port), DATABASE_URL=url_of(database))
    running = Running(["make", "run"], clone, variables, clone.parent / "run")
    try:
        eventually(lambda: '"current"' in page(port, "/readyz"), within=60, what=f"it serves\n{running.stdout}")
        shown = page(port, "/")
        assert "Notes · Shop</title>" in shown
        assert "Railhead" not in shown
    finally:
        running.end()
    commit = (clone, "-c", "user.name=x", "-c", "user.email=x@example.org", "commit", "--quiet", "--message", "shop")
    git(clone, "add", "--all")
    git(*commit)
