"""Does a revision end its own transaction, as far as its file says?

Syntax only: `op.get_bind().commit()`, `op.execute("COMMIT")`, the driver's own methods, here or in a function of the file that is called.
What other files do for it a replay sees, and the run.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from railhead.history.graph import syntax
from railhead.postgres import sql_text

_SUSPICIOUS = re.compile(
    r"""\b(?:commit|rollback|abort|autocommit|isolation_level|set_isolation_level|prepare\s+transaction)\b|\bend\b[\w\s]*[;"']""",
    re.IGNORECASE,
)
"""Found in the source of all that could; the comments of Alembic's own template have no such word."""

_EXECUTES = {"execute", "exec_driver_sql", "scalar", "scalars", "text"}
_GIVES_OURS = {"get_bind", "get_context"}
_GIVES_OTHERS = {"engine", "begin_nested"}


def ends_by_hand(source: str, function: str) -> bool:
    """Tell whether `upgrade` or `downgrade` of a revision's source commits, or lets each statement commit itself."""
    if not _SUSPICIOUS.search(source):
        return False
    bodies = reached(syntax(source), function)
    names = Names(bodies)
    return any(is_end(node, names) for node in _nodes(bodies))


def without_ends(source: str, function: str) -> str | None:
    """Return the source without the statements of a function that end its transaction; None when some are part of others."""
    if not _SUSPICIOUS.search(source):
        return source
    bodies = reached(syntax(source), function)
    names = Names(bodies)
    lines = source.splitlines()
    ends = [(node, body) for body in bodies for node in body.body if _only_ends(node, names)]
    for node, body in sorted(ends, key=lambda pair: -pair[0].lineno):
        lines[node.lineno - 1 : node.end_lineno] = [" " * node.col_offset + "pass"] * (len(body.body) == 1)
    text = "\n".join(lines) + "\n"
    return None if ends_by_hand(text, function) else text


def _only_ends(node: ast.stmt, names: Names) -> bool:
    value = node.value if isinstance(node, ast.Expr) else node
    texts = list(_texts(value.args[0], names)) if isinstance(value, ast.Call) and value.args else []
    return is_end(value, names) and all(piece.end for text in texts for piece in sql_text.pieces(text))


class Names:
    """What the names in some functions stand for."""

    def __init__(self, bodies: list[ast.FunctionDef | ast.Module]) -> None:
        self.texts: dict[str, str] = {}
        self.ours: set[str] = set()
        """The connection that migrates, and what was asked of it."""
        functions = {body.name: body for body in bodies if isinstance(body, ast.FunctionDef)}
        size = -1
        while size != len(self.ours):
            size = len(self.ours)
            for node in _nodes(bodies):
                self._learn(node, functions)

    def _learn(self, node: ast.AST, functions: dict[str, ast.FunctionDef]) -> None:
        for name, value in _bound(node, functions):
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                self.texts[name] = value.value
            elif self.is_ours(value):
                self.ours.add(name)

    def is_ours(self, node: ast.expr) -> bool:
        """Tell whether an expression gives the connection that migrates, the driver's below it, or a cursor of these."""
        if isinstance(node, ast.Name):
            return node.id in self.ours
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in _GIVES_OURS:
            return True
        if isinstance(node, ast.Call):
            return self.is_ours(node.func)
        return isinstance(node, ast.Attribute) and node.attr not in _GIVES_OTHERS and self.is_ours(node.value)


def is_end(node: ast.AST, names: Names) -> bool:
    """Tell whether a piece of code ends the transaction of the migration."""
    if isinstance(node, ast.Assign):
        switched = any(isinstance(target, ast.Attribute) and target.attr == "autocommit" for target in node.targets)
        return switched and any(
            isinstance(target, ast.Attribute) and names.is_ours(target.value) for target in node.targets
        )
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
        return False
    verb, receiver = node.func.attr, node.func.value
    if verb in {"commit", "set_isolation_level"}:
        return names.is_ours(receiver)
    if verb == "execution_options":
        return names.is_ours(receiver) and any(keyword.arg == "isolation_level" for keyword in node.keywords)
    return verb in _EXECUTES and any(_ends(text) for argument in node.args for text in _texts(argument, names))


def _ends(sql: str) -> bool:
    return any(piece.end for piece in sql_text.pieces(sql))


def _texts(node: ast.expr, names: Names) -> Iterator[str]:
    for part in ast.walk(node):
        if isinstance(part, ast.Constant) and isinstance(part.value, str):
            yield part.value
        elif isinstance(part, ast.Name) and part.id in names.texts:
            yield names.texts[part.id]


def reached(module: ast.Module, function: str) -> list[ast.FunctionDef | ast.Module]:
    """Return a function, those of the file that it calls, and the module's own assignments."""
    functions = {node.name: node for node in module.body if isinstance(node, ast.FunctionDef)}
    reached: dict[str, ast.FunctionDef] = {}
    todo = [function]
    while todo:
        name = todo.pop()
        if name in functions and name not in reached:
            reached[name] = functions[name]
            todo += [node.id for node in ast.walk(functions[name]) if isinstance(node, ast.Name)]
    assignments = ast.Module([node for node in module.body if isinstance(node, ast.Assign | ast.AnnAssign)], [])
    return [assignments, *reached.values()]


def _nodes(bodies: list[ast.FunctionDef | ast.Module]) -> Iterator[ast.AST]:
    for body in bodies:
        yield from ast.walk(body)


def _bound(node: ast.AST, functions: dict[str, ast.FunctionDef]) -> Iterator[tuple[str, ast.expr]]:
    """Yield the names that a piece of code gives, each with what it stands for then."""
    if isinstance(node, ast.Assign):
        yield from ((part.id, node.value) for part in node.targets if isinstance(part, ast.Name))
    elif isinstance(node, ast.AnnAssign | ast.NamedExpr) and isinstance(node.target, ast.Name) and node.value:
        yield node.target.id, node.value
    elif isinstance(node, ast.withitem) and isinstance(node.optional_vars, ast.Name):
        yield node.optional_vars.id, node.context_expr
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in functions:
        yield from zip((part.arg for part in functions[node.func.id].args.args), node.args, strict=False)
        yield from ((part.arg, part.value) for part in node.keywords if part.arg)
