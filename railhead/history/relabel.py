"""How is a revision file told another name, or another parent?

Changes the expressions that say so and no other character. Knows no database, and writes no file.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping

from railhead.history.checksum import parsed
from railhead.history.files import Declared, declared
from railhead.history.graph import syntax


class NotRelabelled(ValueError):
    """Why a file cannot be told another name, in words."""


Name = str | tuple[str, ...] | None


def relabelled(source: str, names: Mapping[str, Name]) -> str:
    """Return the source of a file that gives other values to these names. Raises NotRelabelled where that fails."""
    places = declared(parsed(source))
    changed, added = source, list[tuple[int, str]]()
    spans = [(places.get(name, Declared(None)), name, value) for name, value in names.items()]
    for place, name, value in sorted(spans, key=lambda span: _start(span[0].node), reverse=True):
        if isinstance(place.node, ast.expr):
            changed = replaced(changed, place.node, literal(source, place.node, value))
        else:
            added.append((place.end, f"{name} = {written(value)}\n"))
    lines = changed.splitlines(keepends=True)
    for end, line in sorted(added, key=lambda addition: -addition[0]):
        lines.insert(end or len(lines), line)
    changed = "".join(lines)
    now = declared(parsed(changed))
    if any(name not in now or now[name].value != value for name, value in names.items()):
        raise NotRelabelled("it cannot be read what the file says of itself")
    return changed


def statement(source: str, name: str) -> str:
    """Return the lines by which a file says what `name` is."""
    place = declared(parsed(source))[name]
    for node in syntax(source).body:
        if node.lineno <= place.end <= (node.end_lineno or 0):
            return ast.get_source_segment(source, node) or ""
    raise NotRelabelled(f"{name} is said nowhere")


def literal(source: str, node: ast.expr, value: Name) -> str:
    """Return a value as code, with the quotes that its predecessor had."""
    quote = (ast.get_source_segment(source, node) or '"')[:1]
    text = written(value)
    return text.replace('"', "'") if quote == "'" and "'" not in text else text


def written(value: Name) -> str:
    """Return a value as code."""
    if isinstance(value, tuple):
        return f"({', '.join(map(written, value))}{',' if len(value) == 1 else ''})"
    text = repr(value)
    return f'"{text[1:-1]}"' if text.startswith("'") and '"' not in text else text


def replaced(source: str, node: ast.expr, text: str) -> str:
    """Return the source with another text in the place of one expression; columns count bytes."""
    lines = source.encode("utf-8").splitlines(keepends=True)
    start = sum(map(len, lines[: node.lineno - 1])) + node.col_offset
    end = sum(map(len, lines[: (node.end_lineno or node.lineno) - 1])) + (node.end_col_offset or 0)
    whole = b"".join(lines)
    return (whole[:start] + text.encode("utf-8") + whole[end:]).decode("utf-8")


def _start(node: object) -> tuple[int, int]:
    return (node.lineno, node.col_offset) if isinstance(node, ast.expr) else (0, 0)
