"""How does generated code look? As `ruff format` would leave it, so that a new revision needs no other tool.

Knows nothing of databases or Alembic. Leaves comments and everything but plain calls and values as they were.
"""

from __future__ import annotations

import ast
import json
import re

WIDTH = 120

_Node = ast.expr | ast.keyword
_STEP = "    "


def tidy(code: str, indent: str = _STEP) -> str:
    """Return the same statements with double quotes, and with calls broken where a line would be too long.

    `code` is what a template puts behind `indent`: the first line without it. Comment lines stay where they are.
    """
    if not code:
        return ""
    plain = re.sub(rf"^{indent}", "", code, flags=re.MULTILINE)
    lines = plain.splitlines()
    tidied: list[str] = []
    done = 0
    for node in ast.parse(plain).body:
        tidied += lines[done : node.lineno - 1]
        tidied += _statement(node, lines, len(indent))
        done = node.end_lineno or node.lineno
    tidied += lines[done:]
    return "\n".join(indent + line if line.strip() else "" for line in tidied).strip()


def _statement(node: ast.stmt, lines: list[str], indent: int) -> list[str]:
    if isinstance(node, ast.Expr):
        remark = lines[(node.end_lineno or node.lineno) - 1][node.end_col_offset or 0 :]
        *rest, last = _expression(node.value, indent, 0).splitlines()
        return [*rest, last + remark]
    return lines[node.lineno - 1 : node.end_lineno]


def _expression(node: _Node, indent: int, after: int) -> str:
    """Return the expression on one line if it fits between `indent` and the width, less `after` characters."""
    flat = _flat(node)
    if indent + len(flat) + after <= WIDTH:
        return flat
    opening, parts, closing = _broken(node)
    if not parts:
        return flat
    inner = indent + len(_STEP)
    together = ", ".join(_flat(part) for part in parts)
    if isinstance(node, ast.Call) and inner + len(together) <= WIDTH:
        return f"{opening}\n{_STEP}{together}\n{closing}"
    comma = "," if len(parts) > 1 else ""
    body = [_shifted(_expression(part, inner, len(comma))) + comma for part in parts]
    return "\n".join([opening, *body, closing])


def _shifted(text: str) -> str:
    return "\n".join(_STEP + line for line in text.splitlines())


def _broken(node: _Node) -> tuple[str, list[_Node], str]:
    """Return what opens the expression, its parts, and what closes it; no parts when it cannot be broken."""
    match node:
        case ast.Call():
            return f"{_flat(node.func)}(", [*node.args, *node.keywords], ")"
        case ast.List():
            return "[", [*node.elts], "]"
        case ast.Tuple():
            return "(", [*node.elts], ")"
        case ast.keyword(arg=name, value=value):
            opening, parts, closing = _broken(value)
            return f"{name}={opening}" if name else f"**{opening}", parts, closing
    return "", [], ""


def _flat(node: _Node) -> str:
    match node:
        case ast.Constant(value=str() as text):
            return _quoted(text)
        case ast.keyword(arg=name, value=value):
            return f"{name}={_flat(value)}" if name else f"**{_flat(value)}"
        case ast.Attribute(value=value, attr=attribute):
            return f"{_flat(value)}.{attribute}"
        case ast.Call():
            parts: list[_Node] = [*node.args, *node.keywords]
            return f"{_flat(node.func)}({', '.join(_flat(part) for part in parts)})"
        case ast.List():
            return f"[{', '.join(_flat(part) for part in node.elts)}]"
        case ast.Tuple():
            return f"({', '.join(_flat(part) for part in node.elts)}{',' if len(node.elts) == 1 else ''})"
        case ast.Dict() if None not in node.keys:
            pairs = zip(node.keys, node.values, strict=True)
            return "{" + ", ".join(f"{_flat(key)}: {_flat(value)}" for key, value in pairs if key is not None) + "}"
        case ast.Starred(value=value):
            return f"*{_flat(value)}"
    return ast.unparse(node)


def _quoted(text: str) -> str:
    """Return the literal as the formatter has it: double quotes, unless single ones save escapes."""
    if '"' in text and "'" not in text:
        return repr(text)
    return json.dumps(text, ensure_ascii=False) if text.isprintable() else repr(text)
