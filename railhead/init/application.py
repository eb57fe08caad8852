"""What application stands in a folder? Reads its source and runs none of it."""

from __future__ import annotations

import ast
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

_LEFT_OUT = {
    "venv",
    "env",
    "node_modules",
    "tests",
    "test",
    "site-packages",
    "build",
    "dist",
    "migrations",
    "alembic",
    "railhead",
}
_MOST_FILES = 5000
_FACTORIES = ("create_app", "make_app", "build_app", "app_factory", "get_app")


class Application(NamedTuple):
    """What was found; None or empty where it was not."""

    framework: str | None = None
    """`flask` or `fastapi`."""
    factory: str | None = None
    """`shop:create_app` or `shop:app`."""
    file: str | None = None
    """Where that stands, from the root."""
    db: str | None = None
    """`shop:db`, Flask-SQLAlchemy's extension."""
    metadata: str | None = None
    """`shop.models:Base.metadata`."""
    table_modules: tuple[str, ...] = ()
    """Modules that define SQLModel's tables."""
    migrate: dict[str, str] = {}
    """The keywords of `Migrate(...)`, each with its source."""

    @property
    def is_factory(self) -> bool:
        """Tell whether the application is made by a function."""
        return bool(self.factory) and str(self.factory).rpartition(":")[2].split(".")[-1] not in {"app", "application"}


def look(root: Path) -> Application:
    """Return what the Python files below `root` say. Read-only."""
    seen: dict[str, object] = {}
    tables: list[str] = []
    for path in _files(root):
        try:
            tree = ast.parse(path.read_text(encoding="utf-8"))
        except (OSError, SyntaxError, ValueError):
            continue
        module = _module(path, root)
        if _looks_at(tree, module, path.relative_to(root).as_posix(), seen):
            tables.append(module)
    return Application(**seen, table_modules=tuple(tables))  # type: ignore[arg-type]  # filled by name below


def _files(root: Path) -> Iterator[Path]:
    count = 0
    for folder, below, names in os.walk(root):
        below[:] = sorted(
            name
            for name in below
            if not name.startswith(".")
            and name not in _LEFT_OUT
            and not os.path.exists(os.path.join(folder, name, "pyvenv.cfg"))
        )
        for name in sorted(names):
            if name.endswith(".py") and not name.startswith(("test_", "conftest")):
                count += 1
                if count > _MOST_FILES:
                    return
                yield Path(folder, name)


def _module(path: Path, root: Path) -> str:
    parts = list(path.relative_to(root).with_suffix("").parts)
    if parts[0] == "src" and len(parts) > 1:
        del parts[0]
    if parts[-1] == "__init__" and len(parts) > 1:
        del parts[-1]
    return ".".join(parts)


def _looks_at(tree: ast.Module, module: str, file: str, seen: dict[str, object]) -> bool:
    """Put what this module says into `seen`, the first to say something first, and tell whether it defines tables of SQLModel."""
    has_tables = False
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            bases = {ast.unparse(base).rpartition(".")[2] for base in node.bases}
            if "DeclarativeBase" in bases:
                seen.setdefault("metadata", f"{module}:{node.name}.metadata")
            has_tables |= any(keyword.arg == "table" for keyword in node.keywords)
        elif isinstance(node, ast.Call) and _name(node) in {"Migrate", "init_app"}:
            receiver = ast.unparse(node.func).rpartition(".")[0]
            if _name(node) == "Migrate" or "migrate" in receiver.lower():
                keywords = {word.arg: ast.unparse(word.value) for word in node.keywords if word.arg}
                seen["migrate"] = {**seen.get("migrate", {}), **keywords}  # type: ignore[dict-item]
    for statement in tree.body:
        _of_statement(statement, module, file, seen)
    return has_tables


def _of_statement(statement: ast.stmt, module: str, file: str, seen: dict[str, object]) -> None:
    if isinstance(statement, ast.FunctionDef) and (framework := _makes(statement)):
        is_known = statement.name in _FACTORIES
        if is_known or "factory" not in seen:
            seen |= {"framework": framework, "factory": f"{module}:{statement.name}", "file": file}
    value = getattr(statement, "value", None)
    if not isinstance(statement, ast.Assign | ast.AnnAssign) or not isinstance(value, ast.Call):
        return
    target = statement.targets[0] if isinstance(statement, ast.Assign) else statement.target
    named = f"{module}:{ast.unparse(target)}"
    kind = _name(value)
    if kind in {"Flask", "FastAPI"} and "factory" not in seen:
        seen |= {"framework": kind.lower(), "factory": named, "file": file}
    elif kind == "SQLAlchemy":
        seen.setdefault("db", named)
    elif kind == "declarative_base":
        seen.setdefault("metadata", f"{named}.metadata")


def _makes(function: ast.FunctionDef) -> str | None:
    """Return the framework of which a function at the top of a module makes an application."""
    for node in ast.walk(function):
        if isinstance(node, ast.Assign | ast.AnnAssign | ast.Return) and isinstance(node.value, ast.Call):
            kind = _name(node.value)
            if kind in {"Flask", "FastAPI"}:
                return kind.lower()
    return None


def _name(call: ast.Call) -> str:
    return ast.unparse(call.func).rpartition(".")[2]
