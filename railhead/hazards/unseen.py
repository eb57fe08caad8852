"""What of a revision does a replay not see? What is done with the answer, where it asks tables that are empty there: work for each row."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from railhead.hazards.footprint import Footprint
from railhead.history.graph import source_of, syntax

_READS = frozenset(
    {"execute", "exec_driver_sql", "fetchall", "fetchmany", "all", "scalars", "mappings", "query", "stream"}
)
_WRITES = frozenset(
    {
        "execute",
        "exec_driver_sql",
        "executemany",
        "bulk_insert",
        "bulk_update_mappings",
        "add",
        "add_all",
        "delete",
        "merge",
    }
)


def loops_over_rows(file: Path) -> list[int]:
    """Return the lines of `upgrade` at which the revision goes through rows that it has read, and writes for each."""
    try:
        tree = syntax(source_of(file))
    except (OSError, SyntaxError, ValueError):
        return []
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name != "downgrade"]
    return sorted({line for function in functions for line in _loops(function)})


def _loops(function: ast.FunctionDef) -> Iterator[int]:
    rows = {
        target.id
        for node in ast.walk(function)
        if isinstance(node, ast.Assign) and _calls(node.value, _READS)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    for node in ast.walk(function):
        if isinstance(node, ast.For | ast.While):
            source = node.iter if isinstance(node, ast.For) else node.test
            names = {name.id for name in ast.walk(source) if isinstance(name, ast.Name)}
            if (_calls(source, _READS) or names & rows) and any(_calls(statement, _WRITES) for statement in node.body):
                yield node.lineno


def _calls(node: ast.AST, names: frozenset[str]) -> bool:
    """Tell whether a method of one of these names is called somewhere below."""
    return any(
        isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr in names
        for call in ast.walk(node)
    )


def words(file: Path, footprint: Footprint | None) -> str | None:
    """Return for people what was not seen of a revision, None when all was.

    A replay tells which tables it asks for rows that are not there; where nobody has tried it, only the words of its file tell of loops.
    """
    lines = loops_over_rows(file)
    tables = (
        dict.fromkeys(table for statement in footprint.statements for table in statement.asked) if footprint else {}
    )
    if footprint and not tables:
        return None
    at = f"line{'' if len(lines) == 1 else 's'} {', '.join(map(str, lines))}: " if lines else ""
    rows = (
        f"the rows of {' and '.join(tables)}, which has"
        if len(tables) == 1
        else f"the rows of {' and '.join(tables)}, which have"
    )
    question = (
        f"what is done with {rows} none in a replay"
        if tables
        else "what is done for each row, since a replay has no rows"
    )
    return f"{at}{question}; it may write many" if at or tables else None
