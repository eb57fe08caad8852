"""What readers may rely on, wherever they open the code."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests import long
from tests.project_tree import ROOT

MODULES = sorted(path for place in ("railhead", "utils", "app", "benchmarks") for path in (ROOT / place).rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("test_*.py"))


def name_of(path: Path) -> str:
    """Return how a test is called that is about this file."""
    return str(path.relative_to(ROOT))


def test_no_module_is_a_drawer() -> None:
    """A module has a question to answer; `helpers` and `common` have none."""
    assert not {path.stem for path in MODULES} & {"base", "common", "core", "helper", "helpers", "misc", "util"}


@pytest.mark.parametrize("path", TESTS, ids=name_of)
def test_tests_promise_and_do_not_guess(path: Path) -> None:
    """Every test says in one sentence what it promises; none replaces the database, or waits for guessed seconds."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            assert (ast.get_docstring(node) or "").endswith("."), f"{node.name} has no sentence"
    imported = {
        alias.name.split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names
    }
    imported |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert not imported & {"mock", "unittest.mock", "pytest_mock"}
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and ast.unparse(node.func) == "time.sleep"]
    waits = [ast.unparse(call) for call in calls if isinstance(call.args[0], ast.Constant)]
    assert not waits, "`eventually` in tests/processes.py waits for what is meant"


@pytest.mark.parametrize("test", long.EVERY)
def test_what_is_left_to_the_long_run_is_there(test: str) -> None:
    """A test that is renamed takes its line in tests/long.py with it."""
    file, _, name = test.partition("::")
    tree = ast.parse((ROOT / "tests" / file).read_text())
    assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
