"""What may the front door import? As little as possible: a start with nothing to do is paid by every process of every deploy."""

from __future__ import annotations

import ast
import json
import sys
from pathlib import Path

import pytest

from tests.project_tree import ROOT, Tree

HEAVY = {
    "sqlalchemy",
    "alembic",
    "mako",
    "flask",
    "click",
    "dotenv",
    "dataclasses",
    "inspect",
    "logging.config",
    "models",
}
"""Modules that cost more than the glance at the database that they would delay."""

SOURCE = ROOT / "utils" / "migrate.py"

COMMAND = """
import json, runpy, sys
sys.argv = ["utils/migrate.py", *sys.argv[1:]]
try:
    runpy.run_path("utils/migrate.py", run_name="__main__")
except SystemExit as end:
    assert not end.code, end.code
print(json.dumps(sorted(sys.modules)))
"""

HOOK = """
import json, sys
sys.path.insert(0, "")
from utils.migrate import migrate_on_startup
from railhead.settings import load
migrate_on_startup(load())
print(json.dumps(sorted(sys.modules)))
"""


@pytest.fixture
def at_head(project: Tree) -> Tree:
    """The project, with its database at head."""
    assert project.migrate().returncode == 0
    return project


def imported(tree: Tree, code: str, *arguments: str, **variables: str) -> set[str]:
    """Return which modules a bare Python has loaded after `code`."""
    ended = tree.run(sys.executable, "-I", "-c", code, *arguments, **variables)
    assert ended.returncode == 0, ended.stderr
    return set(json.loads(ended.stdout.splitlines()[-1]))


def test_at_head_nothing_heavy_is_imported(at_head: Tree) -> None:
    """With the database at head neither a command nor the hook needs a library beside psycopg2."""
    for arguments in ((), ("upgrade",), ("status", "--exit-code"), ("wait",)):
        assert imported(at_head, COMMAND, *arguments) & HEAVY == set(), arguments
    for word in ("upgrade", "check"):
        assert imported(at_head, HOOK, MIGRATE_ON_START=word) & HEAVY == set(), word


def test_it_defines_no_classes() -> None:
    """The front door only leads in: what has a state lives on a rung below."""
    tree = ast.parse(SOURCE.read_text())
    assert [node.name for node in ast.walk(tree) if isinstance(node, ast.ClassDef)] == []


def test_only_the_application_imports_it() -> None:
    """Nobody but app/__init__.py enters through the front door."""
    importers = {
        str(file.relative_to(ROOT))
        for folder in ("app", "railhead", "utils", "migrations")
        for file in (ROOT / folder).rglob("*.py")
        if _imports_migrate(file)
    }
    assert importers == {"app/__init__.py"}


def test_no_module_is_named_as_one_of_pythons() -> None:
    """Started by path, the folder of the script is on the path for a moment: nothing there may shadow the library."""
    assert {file.stem for file in SOURCE.parent.glob("*.py")} & sys.stdlib_module_names == set()


def _imports_migrate(file: Path) -> bool:
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom):
            names = {f"{node.module}.{alias.name}" for alias in node.names} | {str(node.module)}
        elif isinstance(node, ast.Import):
            names = {alias.name for alias in node.names}
        else:
            continue
        if "utils.migrate" in names:
            return True
    return False
