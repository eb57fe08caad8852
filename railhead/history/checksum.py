"""What does a revision file mean? One digest on every Python, whatever its formatting and comments."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path


def checksum_of(file: Path) -> str | None:
    """Return the checksum of a file's meaning; None when it cannot be read or parsed."""
    try:
        return checksum_of_source(file.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return None


def checksum_of_source(source: bytes | str) -> str:
    """Return a digest of what a module means: equal after reformatting, and on every Python from 3.11.

    Comments, layout and docstrings do not count. `ast.dump` would not do: it differs between Python versions.
    Raises SyntaxError or ValueError for what is no Python.
    """
    return checksum_of_tree(parsed(source))


def parsed(source: bytes | str) -> object:
    """Return a module's syntax tree. Raises SyntaxError or ValueError.

    Python does not say here what it thinks of the code, nor make an error of that (`python -W error`).
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return compile(source, "<revision>", "exec", _ONLY_AST, dont_inherit=True)
        except (RecursionError, MemoryError) as error:
            raise SyntaxError(str(error) or "too deep") from error


def checksum_of_tree(tree: object) -> str:
    """Return the digest of a parsed module's meaning."""
    return digest("\n".join(_walk(tree)).encode("utf-8", "surrogatepass"))


_ONLY_AST = 0x400  # ast.PyCF_ONLY_AST, without importing ast
_VARYING = frozenset({"type_params", "type_comment", "type_ignores", "kind", "ctx", "default_value"})
"""Fields that some Python versions have and others have not, or that mean nothing."""
_HAVE_DOCSTRING = frozenset({"Module", "FunctionDef", "AsyncFunctionDef", "ClassDef"})


def _walk(node: object) -> Iterator[str]:
    """Yield the tree in order: the type of each node, the names of its fields that hold something, each constant."""
    fields = getattr(node, "_fields", None)
    if fields is None:
        yield f"{type(node).__name__} {node!r}"
        return
    kind = type(node).__name__
    yield f"({kind}"
    for field in fields:
        if field in _VARYING:
            continue
        value = getattr(node, field, None)
        if (value is None and kind != "Constant") or value == []:
            continue
        yield field
        if isinstance(value, list):
            for item in _meant(kind, field, value):
                yield from _walk(item)
        else:
            yield from _walk(value)
    yield ")"


def _meant(kind: str, field: str, items: list[object]) -> list[object]:
    """Return what counts of a list: no docstring, and no empty piece of an f-string, which Python 3.12 has now and then."""
    if field == "body" and kind in _HAVE_DOCSTRING:
        return _without_docstring(items)
    if kind == "JoinedStr":
        return [item for item in items if getattr(item, "value", None) != ""]
    return items


def _without_docstring(body: list[object]) -> list[object]:
    first = getattr(body[0], "value", None) if type(body[0]).__name__ == "Expr" else None
    return body[1:] if isinstance(getattr(first, "value", None), str) else body


def digest(content: bytes) -> str:
    """Return the digest of bytes, in the form of the manifest."""
    return sha256(content).hexdigest()[:16]
