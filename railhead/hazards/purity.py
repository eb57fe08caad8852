"""Could a revision reach anything but the database that it is given?

Read from its file, for where running it on a scratch database must have no other effect. What is not plainly harmless is not.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from railhead.history.graph import source_of, syntax

_HARMLESS = frozenset(
    [
        "__future__",
        "alembic",
        "base64",
        "binascii",
        "calendar",
        "collections",
        "contextlib",
        "copy",
        "dataclasses",
        "datetime",
        "decimal",
        "enum",
        "fractions",
        "functools",
        "hashlib",
        "itertools",
        "json",
        "logging",
        "math",
        "numbers",
        "operator",
        "random",
        "re",
        "secrets",
        "sqlalchemy",
        "string",
        "textwrap",
        "time",
        "typing",
        "typing_extensions",
        "unicodedata",
        "uuid",
        "warnings",
        "zoneinfo",
    ]
)
"""Modules by which nothing else is reached: Alembic's, SQLAlchemy's, and what only computes."""

_REACHES = frozenset(
    {"__import__", "breakpoint", "create_engine", "create_mock_engine", "eval", "exec", "input", "open"}
)
"""Names by which something else is reached all the same."""

_ELSEWHERE = re.compile(r"dblink|\bCOPY\b[^;]*\bPROGRAM\b|\bCREATE\s+SUBSCRIPTION\b|postgres_fdw", re.IGNORECASE)
"""Found in SQL by which a server speaks to others."""


def keeps_to_its_database(file: Path) -> bool:
    """Tell whether a revision plainly does nothing but ask and change the database that it is given."""
    try:
        source = source_of(file)
        tree = syntax(source)
    except (OSError, SyntaxError, ValueError):
        return False
    return not _ELSEWHERE.search(source) and not set(_names(tree)) & _REACHES and set(_modules(tree)) <= _HARMLESS


def _names(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            yield node.id
        elif isinstance(node, ast.Attribute):
            yield node.attr
        elif isinstance(node, ast.alias):
            yield node.name.rpartition(".")[2]


def _modules(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield (node.module or "").partition(".")[0] if not node.level else ""
