"""The ladder: who in `utils/` may import whom."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from functools import cache

import grimp
import pytest

import utils
from utils.settings import ROOT

LADDER, _, BELOW = (utils.__doc__ or "").partition("Beside the ladder stand")
BESIDE = {name for name in re.findall(r"`(\w+)`", BELOW) if name != "database"}
"""Stand beside the ladder, no higher than `database`."""

DRIVE_ALEMBIC = {"revisions", "replay", "drift", *BESIDE}


def rungs() -> list[str]:
    """Return the modules that the docstring of `utils` lists, lowest first."""
    return re.findall(r"^    (\w+)  +\S.*$", LADDER, re.MULTILINE)


@cache
def graph() -> grimp.ImportGraph:
    """Return who imports whom, imports inside functions included."""
    return grimp.build_graph("utils", "app", include_external_packages=True, cache_dir=None)


def imports(module: str, *, run: bool = True) -> set[str]:
    """Return what a module imports; those for types only are left out when it is about what happens at run time."""
    found = graph().find_modules_directly_imported_by(module)
    return found - _for_types_only(module) if run else found


def modules(package: str = "utils") -> list[str]:
    """Return the modules of a package without its name."""
    return sorted(name.removeprefix(f"{package}.") for name in graph().modules if name.startswith(f"{package}."))


def sources(*places: str) -> Iterator[tuple[str, ast.Module]]:
    """Return the project's own files below these places, parsed."""
    for place in places:
        path = ROOT / place
        for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            yield str(file.relative_to(ROOT)), ast.parse(file.read_text())


def test_every_module_has_its_rung() -> None:
    """No module of `utils` is missing on the ladder."""
    assert rungs()[0] == "errors"
    assert set(modules()) <= {*rungs(), *BESIDE}


@pytest.mark.parametrize("module", [name for name in modules() if name not in BESIDE])
def test_module_imports_only_what_stands_above_it_in_the_list(module: str) -> None:
    """A rung rests on lower rungs only, whether it imports at its top or inside a function."""
    lower = rungs()[: rungs().index(module)]
    used = {name.removeprefix("utils.") for name in imports(f"utils.{module}", run=False) if name.startswith("utils.")}
    assert used <= {*lower, *BESIDE}


@pytest.mark.parametrize("module", sorted(BESIDE & set(modules())))
def test_what_stands_beside_reaches_no_higher_than_database(module: str) -> None:
    """`operations` and `autogenerate` import nothing of ours above `database`."""
    ladder = rungs()
    low = ladder[: ladder.index("database") + 1]
    used = {name.removeprefix("utils.") for name in imports(f"utils.{module}", run=False) if name.startswith("utils.")}
    assert used <= {*low, *BESIDE}


def test_engine_needs_no_web_application() -> None:
    """A broken web application does not stop `python utils/migrate.py`: `utils` imports neither `app` nor Flask."""
    for module in modules():
        packages = {name.split(".")[0] for name in imports(f"utils.{module}", run=False)}
        assert not packages & {"app", "flask", "flask_wtf", "werkzeug"}, module


def test_models_are_handed_over() -> None:
    """In the engine only `migrate` imports `models`; everybody else is given the metadata."""
    assert {module for module in modules() if "models" in imports(f"utils.{module}", run=False)} <= {"migrate"}


def test_few_drive_alembic() -> None:
    """Alembic is imported where it is driven, and nowhere else in the engine or the application."""
    everybody = [f"utils.{module}" for module in modules()] + [f"app.{module}" for module in modules("app")] + ["app"]
    drivers = {module for module in everybody if "alembic" in imports(module)}
    assert drivers <= {f"utils.{module}" for module in DRIVE_ALEMBIC}


def test_front_door_opens_to_the_application_only() -> None:
    """Nobody but `app/__init__.py` imports `utils.migrate`."""
    assert graph().find_modules_that_directly_import("utils.migrate") <= {"app"}
    for file, tree in sources("migrations", "models.py", "gunicorn.conf.py"):
        assert "utils.migrate" not in _imported(tree), file


def test_front_door_defines_no_classes() -> None:
    """`migrate.py` is run as `__main__` and imported: a class in it would exist twice."""
    ((_, tree),) = sources("utils/migrate.py")
    assert not [node.name for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]


def test_settings_alone_read_the_environment() -> None:
    """`os.environ` and `os.getenv` stand in `utils/settings.py` and nowhere else."""
    readers = {
        file
        for file, tree in sources("utils", "app", "migrations", "models.py", "gunicorn.conf.py")
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute | ast.alias)
        and (node.attr if isinstance(node, ast.Attribute) else node.name)
        in {"environ", "environb", "getenv", "getenvb"}
        and not _is_wsgi(node)
    }
    assert readers == {"utils/settings.py"}


def test_no_module_hides_one_of_the_standard_library() -> None:
    """Started by path, a script finds its neighbours first: none may be called like a module of Python's."""
    assert not {name.split(".")[0] for name in modules()} & sys.stdlib_module_names


def _imported(tree: ast.AST) -> set[str]:
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names} | {str(node.module)}
    return names


def _for_types_only(module: str) -> set[str]:
    """Return the packages that a module imports below `if TYPE_CHECKING` and not elsewhere."""
    path = ROOT.joinpath(*module.split("."))
    tree = ast.parse((path / "__init__.py" if path.is_dir() else path.with_suffix(".py")).read_text())
    guarded = [
        node for node in ast.walk(tree) if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")
    ]
    for_types = {name.split(".")[0] for node in guarded for name in _imported(node)}
    inside = {id(node) for guard in guarded for node in ast.walk(guard)}
    others = [
        node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom) and id(node) not in inside
    ]
    return for_types - {name.split(".")[0] for node in others for name in _imported(node)}


def _is_wsgi(node: ast.Attribute | ast.alias) -> bool:
    """Tell whether this is a request's `environ`, which has the name in common with the process's."""
    return isinstance(node, ast.Attribute) and ast.unparse(node.value) != "os"
