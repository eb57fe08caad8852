"""What readers may rely on, wherever they open the code."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import utils
from utils.settings import ROOT

LADDER: dict[str, str] = dict(re.findall(r"^    (\w+)  +(\S.*)$", utils.__doc__ or "", re.MULTILINE))
MODULES = sorted(path for place in ("utils", "app", "benchmarks") for path in (ROOT / place).rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("test_*.py"))


def name_of(path: Path) -> str:
    """Return how a test is called that is about this file."""
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("module", [path.stem for path in (ROOT / "utils").glob("*.py") if path.stem in LADDER])
def test_module_opens_with_its_question(module: str) -> None:
    """The docstring of a module begins with what the ladder says that it answers."""
    docstring = ast.get_docstring(ast.parse((ROOT / "utils" / f"{module}.py").read_text())) or ""
    assert docstring.startswith(LADDER[module].partition(" (")[0].partition("?")[0])


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
    assert not waits, "`eventually` in tests/ground.py waits for what is meant"
