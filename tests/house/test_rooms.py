"""The rooms of the engine: who may import whom."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache

import grimp

from tests.project_tree import ROOT


@cache
def graph() -> grimp.ImportGraph:
    """Return who imports whom, imports inside functions included."""
    return grimp.build_graph("railhead", "utils", "app", include_external_packages=True, cache_dir=None)


def modules() -> list[str]:
    """Return the modules of the engine."""
    return sorted(name for name in graph().modules if name.split(".")[0] == "railhead")


def sources(*places: str) -> Iterator[tuple[str, ast.Module]]:
    """Return the project's own files below these places, parsed."""
    for place in places:
        path = ROOT / place
        for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            yield str(file.relative_to(ROOT)), ast.parse(file.read_text())


def test_contracts_are_kept() -> None:
    """Imports go down the layers of `pyproject.toml` only, and what must start fast imports neither SQLAlchemy nor Alembic."""
    lint = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(cache_dir=None))"
    ended = subprocess.run([sys.executable, "-c", lint], cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_no_modules_import_each_other_in_a_circle() -> None:
    """Every file of the engine can be read after those that it imports."""
    imports = {name: graph().find_modules_directly_imported_by(name) & {*modules()} for name in modules()}
    while leaves := [name for name, used in imports.items() if not used & {*imports}]:
        for leaf in leaves:
            del imports[leaf]
    assert imports == {}


def test_front_door_opens_to_the_application_only() -> None:
    """Nobody but `app/__init__.py` imports `utils.migrate`."""
    assert graph().find_modules_that_directly_import("utils.migrate") <= {"app"}
    for file, tree in sources("migrations", "models.py", "gunicorn.conf.py"):
        assert "utils.migrate" not in _imported(tree), file


def test_settings_alone_read_the_environment() -> None:
    """`os.environ` and `os.getenv` stand in `railhead/settings.py`, and for a mark that is no setting in `railhead/nesting.py`."""
    readers = {
        file
        for file, tree in sources("railhead", "utils", "app", "migrations", "models.py", "gunicorn.conf.py")
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute | ast.alias)
        and (node.attr if isinstance(node, ast.Attribute) else node.name)
        in {"environ", "environb", "getenv", "getenvb"}
        and not _is_wsgi(node)
    }
    assert readers == {"railhead/nesting.py", "railhead/settings.py"}


def _imported(tree: ast.AST) -> set[str]:
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names} | {str(node.module)}
    return names


def _is_wsgi(node: ast.Attribute | ast.alias) -> bool:
    """Tell whether this is a request's `environ`, which has the name in common with the process's."""
    return isinstance(node, ast.Attribute) and ast.unparse(node.value) != "os"
