"""Could a revision that was killed half way be run again from the top?"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from railhead.hazards import hand_ends
from railhead.history.graph import source_of, syntax
from railhead.operations.verbs import REPEATABLE

_HARMLESS = frozenset({"get_context", "get_bind", "f", "inline_literal"})

_CHANGES_NOTHING = re.compile(r"\s*(?:SET|RESET|SHOW|BEGIN|START\s+TRANSACTION|COMMIT|END|DISCARD)\b", re.IGNORECASE)
"""Statements that prepare for work outside the transaction and leave nothing behind themselves."""


def leaves_half(file: Path, function: str) -> bool:
    """Tell whether a crash in `upgrade` or `downgrade` of a revision file leaves half of it behind: it mixes, or commits by hand."""
    return mixes(file, function) or hand_ends.ends_by_hand(source_of(file), function)


def mixes(file: Path, function: str) -> bool:
    """Tell whether `upgrade` or `downgrade` of a revision file works both inside its transaction and outside of it.

    Such a revision cannot be mended after a crash half way: run again, it fails on what it has already done. Read from the
    module's structure, so it knows what is written in the function itself and not what other functions do for it; the
    runner asks PostgreSQL about those, at the moment when the transaction is left.
    """
    source = source_of(file)
    if "autocommit_block" not in source and not any(verb in source for verb in REPEATABLE):
        return False
    bodies = [node for node in syntax(source).body if isinstance(node, ast.FunctionDef) and node.name == function]
    calls = [call for body in bodies for call in _operations(body)]
    leaves = any(verb in REPEATABLE or verb == "autocommit_block" for verb, _ in calls)
    stays = any(
        not outside and verb not in REPEATABLE and verb not in _HARMLESS and verb != "autocommit_block"
        for verb, outside in calls
    )
    return leaves and stays


def _operations(node: ast.AST, *, outside: bool = False) -> Iterator[tuple[str, bool]]:
    """Yield the name of each `op.name(...)` and of each `autocommit_block`, and whether it stands inside such a block."""
    if isinstance(node, ast.With):
        blocks = [item for item in node.items if "autocommit_block" in ast.dump(item.context_expr)]
        if blocks:
            yield "autocommit_block", outside
            for statement in node.body:
                yield from _operations(statement, outside=True)
            return
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        receiver = node.func.value
        if isinstance(receiver, ast.Name) and receiver.id in {"op", "batch_op"} and not _only_prepares(node):
            yield node.func.attr, outside
    for child in ast.iter_child_nodes(node):
        yield from _operations(child, outside=outside)


def _only_prepares(call: ast.Call) -> bool:
    """Tell whether it is `op.execute("SET ...")` and the like, with the text as it stands or in `sa.text()`."""
    if not isinstance(call.func, ast.Attribute) or call.func.attr != "execute" or not call.args:
        return False
    text = call.args[0]
    if isinstance(text, ast.Call) and text.args:
        text = text.args[0]
    plain = isinstance(text, ast.Constant) and isinstance(text.value, str)
    return plain and _is_one_harmless(str(ast.literal_eval(text)))


def _is_one_harmless(sql: str) -> bool:
    statements = [one for one in sql.split(";") if one.strip()]
    return all(_CHANGES_NOTHING.match(one) for one in statements)
