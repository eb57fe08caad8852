"""Which tables do the revisions of a history make, by what stands in their files?

Syntax only: no revision is run, because running one may do more than to make tables. Where a name cannot be read, every text of the
file may be it: to take a stranger's table for ours is told and mended, to take ours for a stranger's is not.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator

from railhead.history.graph import History, source_of, syntax

_NAME_AT = {
    "create_table": (0, {"table_name", "name"}),
    "rename_table": (1, {"new_table_name"}),
    "Table": (0, {"name"}),
}
"""What makes a table, or gives one its name, with the place and the names of the argument that says which."""

_WORD = r'(?:"(?:[^"]|"")+"|\w+)'
_MAKES = re.compile(
    rf"\b(?:CREATE\s+(?:UNLOGGED\s+|FOREIGN\s+|OR\s+REPLACE\s+|MATERIALIZED\s+|RECURSIVE\s+)*(?:TABLE|VIEW)\s+(?:IF\s+NOT\s+EXISTS\s+)?"
    rf"|ALTER\s+TABLE\s+(?:IF\s+EXISTS\s+)?(?:ONLY\s+)?(?:{_WORD}\.)?{_WORD}\s+RENAME\s+TO\s+)(?:{_WORD}\s*\.\s*)?({_WORD})?",
    re.IGNORECASE,
)


def made(history: History, tables: Iterable[str]) -> set[str]:
    """Return those of `tables`, names without a schema, that a revision makes, or the baseline of the history.

    Reads files only, and closely those that name one.
    """
    wanted = {*tables}
    baseline = history.project.baseline
    found = wanted & {*made_by_sql(baseline.read_text(encoding="utf-8"))} if baseline.is_file() else set()
    for revision in history.by_id.values():
        source = source_of(revision.path)
        folded = source.casefold()
        if any(name.casefold() in folded for name in wanted - found):
            found |= wanted & {*names_in(source)}
    return found


def names_in(source: str) -> Iterator[str]:
    """Yield the names of the tables that a revision's source makes, and every text in it when one of them cannot be read."""
    tree = syntax(source)
    texts = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    given = [name for node in ast.walk(tree) if isinstance(node, ast.Call) for name in _given(node)]
    given += [name for text in texts for name in made_by_sql(text)]
    yield from (name for name in given if name)
    if None in given:
        yield from texts


def made_by_sql(text: str) -> Iterator[str | None]:
    """Yield the names of the tables and views that SQL makes, None for each that does not stand there."""
    for match in _MAKES.finditer(text):
        word = match[1]
        yield word and (word[1:-1].replace('""', '"') if word.startswith('"') else word.lower())


def _given(call: ast.Call) -> Iterator[str | None]:
    """Yield the name that a call gives to a table, None when it is not written out."""
    verb = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    if verb not in _NAME_AT:
        return
    place, names = _NAME_AT[verb]
    node = next((keyword.value for keyword in call.keywords if keyword.arg in names), None)
    if len(call.args) > place:
        node = call.args[place]
    if isinstance(node, ast.Call) and len(node.args) == 1:  # op.f("name"), quoted_name("name")
        node = node.args[0]
    yield str(node.value) if isinstance(node, ast.Constant) else None
