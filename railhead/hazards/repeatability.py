"""Could a revision that was killed half way be run again from the top?"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from railhead.hazards import manual_commits
from railhead.history.graph import source_of, syntax
from railhead.operations.names import REPEATABLE

_HARMLESS = frozenset({"get_context", "get_bind", "f", "inline_literal"})
"""What `op` gives and nothing is done by."""

_CHANGES_NOTHING = re.compile(r"\s*(?:SET|RESET|SHOW|BEGIN|START\s+TRANSACTION|COMMIT|END|DISCARD)\b", re.IGNORECASE)
"""Statements that prepare for work outside the transaction and leave nothing behind themselves."""


def leaves_half(file: Path, function: str) -> bool:
    """Tell whether a crash in `upgrade` or `downgrade` of a revision file leaves half of it behind: it mixes, or commits by hand."""
    return mixes(file, function) or manual_commits.ends_by_hand(source_of(file), function)


def mixes(file: Path, function: str) -> bool:
    """Tell whether `upgrade` or `downgrade` of a revision file works both inside its transaction and outside of it.

    Such a revision cannot be mended after a crash half way: run again, it fails on what it has already done. Read from the
    file, with the functions of it that are called; the runner asks PostgreSQL about what others do, at the moment when the
    transaction is left.
    """
    source = source_of(file)
    if "autocommit_block" not in source and not any(verb in source for verb in REPEATABLE):
        return False
    bodies = manual_commits.reached(syntax(source), function)
    names = manual_commits.Names(bodies)
    sides = {is_outside for body in bodies for is_outside in _sides(body, names)}
    return len(sides) == 2


def _sides(node: ast.AST, names: manual_commits.Names) -> Iterator[bool]:
    """Yield of each piece of work whether it leaves the transaction; a block that does counts, whatever is in it."""
    if isinstance(node, ast.With):
        blocks = [item for item in node.items if "autocommit_block" in ast.dump(item.context_expr)]
        if blocks:
            yield True
            return
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and _is_work(node, node.func):
        yield node.func.attr in REPEATABLE
    elif isinstance(node, ast.Expr) and _writes(node.value, names):
        yield False
    for child in ast.iter_child_nodes(node):
        yield from _sides(child, names)


def _is_work(call: ast.Call, function: ast.Attribute) -> bool:
    """Tell whether it is an operation that leaves something behind."""
    receiver = function.value
    is_operation = isinstance(receiver, ast.Name) and receiver.id in {"op", "batch_op"}
    return is_operation and function.attr not in _HARMLESS and not _only_prepares(call)


def _writes(node: ast.expr, names: manual_commits.Names) -> bool:
    """Tell whether it gives a statement to the connection that migrates, and looks at no answer: who only reads needs the answer."""
    if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in _RUNS):
        return False
    return names.is_ours(node.func.value) and not _only_prepares(node)


def _only_prepares(call: ast.Call) -> bool:
    """Tell whether it runs `"SET ..."` and the like, with the text as it stands or in `sa.text()`."""
    if not isinstance(call.func, ast.Attribute) or call.func.attr not in _RUNS or not call.args:
        return False
    text = call.args[0]
    if isinstance(text, ast.Call) and text.args:
        text = text.args[0]
    plain = isinstance(text, ast.Constant) and isinstance(text.value, str)
    return plain and _is_one_harmless(str(ast.literal_eval(text)))


_RUNS = frozenset({"execute", "exec_driver_sql", "scalar"})


def _is_one_harmless(sql: str) -> bool:
    statements = [statement for statement in sql.split(";") if statement.strip()]
    return all(_CHANGES_NOTHING.match(statement) for statement in statements)
