"""Which files are revisions, and what does one say of itself, without running it?

Cheap enough for a start with nothing to do. What does not plainly stand there is not guessed.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple


def revision_files(folder: Path) -> list[str]:
    """Return the names of the revision files in `folder`, unsorted, as the system gives them.

    Not what Alembic leaves out (folders, `__init__.py`), nor hidden files: macOS leaves `._0003_x.py` behind, Emacs `.#0003_x.py`.
    """
    try:
        with os.scandir(folder) as entries:
            return [entry.name for entry in entries if is_revision(entry.name) and not entry.is_dir()]
    except OSError:
        return []


def is_revision(name: str) -> bool:
    """Tell whether a file of this name is a revision."""
    return name.endswith(".py") and not name.startswith((".", "__init__"))


def as_text(name: str) -> str:
    """Return the name of a file as it is written: the same in every locale, whatever bytes it is made of."""
    return os.fsencode(name).decode("utf-8", "surrogateescape")


def as_name(text: str) -> str:
    """Return the name by which the system knows the file that is written so."""
    return os.fsdecode(text.encode("utf-8", "surrogateescape"))


def escape(text: str, more: str = "") -> str:
    """Return text without blanks, line ends, percent signs and bytes that are no text, which are written as in URLs."""
    return re.sub(
        rf"[\s%\ud800-\udfff{more}]",
        lambda match: "".join(f"%{byte:02X}" for byte in match[0].encode("utf-8", "surrogateescape")),
        text,
    )


def unescape(text: str) -> str:
    """Return the text that `escape` was given."""
    if "%" not in text:
        return text
    bytes_of = re.compile(r"(?:%[0-9A-F]{2})+")
    return bytes_of.sub(lambda match: bytes.fromhex(match[0].replace("%", "")).decode("utf-8", "surrogateescape"), text)


class Declared(NamedTuple):
    """What a module gives to a name at its top."""

    value: object
    """A text, None, or a tuple of those; UNKNOWN where it does not plainly stand there."""
    node: object = None
    """The expression that gives it, of the syntax tree; None where there is none for this name alone."""
    end: int = 0
    """The last line of the statement."""


UNKNOWN = object()
"""A value that only running the file would tell."""


def declared(tree: object) -> dict[str, Declared]:
    """Return what a parsed module gives to names at its top: `revision = "a"`, `revision: str = "a"`, `revision, down_revision = "a", None`.

    Names that were given a plain value before may stand for it. Needs no `ast`, whose import a start would feel.
    """
    values: dict[str, Declared] = {}
    for node in getattr(tree, "body", ()):
        value = getattr(node, "value", None)
        if type(node).__name__ in {"Assign", "AnnAssign"}:
            targets = getattr(node, "targets", None) or [node.target]
            before = dict(values)
            for target in targets if value is not None else ():
                values.update(_given(target, value, before))
        else:
            names = [*bound(node)]
            values.update(
                (name, Declared(UNKNOWN, None, node.end_lineno)) for name in (values if "*" in names else names)
            )
    return values


def parents_of(value: object) -> tuple[object, ...] | None:
    """Return the parents that a `down_revision` names; None when it cannot be told."""
    if value is UNKNOWN:
        return None
    return () if value is None else value if isinstance(value, tuple) else (value,)


def bound(node: object) -> Iterator[str]:
    """Yield the names that a statement binds around it, however deep; what a function or a class binds inside is its own affair."""
    kind = type(node).__name__
    if kind in {"FunctionDef", "AsyncFunctionDef", "ClassDef"}:
        yield getattr(node, "name", "")
    elif kind == "alias":
        yield getattr(node, "asname", None) or getattr(node, "name", "").partition(".")[0]
    elif kind == "Name":
        if type(getattr(node, "ctx", None)).__name__ != "Load":
            yield getattr(node, "id", "")
    else:
        for child in _children(node):
            yield from bound(child)


def _given(target: object, value: object, names: Mapping[str, Declared]) -> Iterable[tuple[str, Declared]]:
    """Return what an assignment gives to each name of its target."""
    name = getattr(target, "id", None)
    end = getattr(value, "end_lineno", 0)
    if name is not None:
        return [(name, Declared(_value(value, names), value, end))]
    targets, values = getattr(target, "elts", ()), getattr(value, "elts", None)
    if (
        values is not None
        and len(values) == len(targets)
        and not any(_is(item, "Starred") for item in [*targets, *values])
    ):
        return [pair for item, each in zip(targets, values, strict=True) for pair in _given(item, each, names)]
    whole = _value(value, names)
    if isinstance(whole, tuple) and len(whole) == len(targets) and all(_is(item, "Name") for item in targets):
        return [(item.id, Declared(each, None, end)) for item, each in zip(targets, whole, strict=True)]
    return [(item, Declared(UNKNOWN, None, end)) for item in bound(target)]


def _value(node: object, names: Mapping[str, Declared]) -> object:
    kind = type(node).__name__
    if kind == "Constant":
        return getattr(node, "value", None)
    if kind == "Name":
        return names.get(getattr(node, "id", ""), Declared(UNKNOWN)).value
    if kind in {"Tuple", "List"}:
        values = tuple(_value(element, names) for element in getattr(node, "elts", ()))
        return UNKNOWN if UNKNOWN in values else values
    return UNKNOWN


def _is(node: object, kind: str) -> bool:
    return type(node).__name__ == kind


def _children(node: object) -> Iterator[object]:
    for field in getattr(node, "_fields", ()):
        child = getattr(node, field, None)
        yield from child if isinstance(child, list) else [child]
