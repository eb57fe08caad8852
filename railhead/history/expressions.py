"""Which texts may an expression in a revision's file be, as far as its syntax tells?

Knows constants, the names they are given, loops over them, and the ways to put texts together. Runs nothing.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence
from itertools import islice, product

UNKNOWN = "\0"
"""Stands in a text for a piece that nobody can read."""

_MOST = 500
"""How many texts one expression may be; the others are not looked at."""

_WRAPPERS = frozenset({"dedent", "f", "quoted_name", "str", "text"})
"""Functions that give back the text that they are given, or something that means it."""

_METHODS = frozenset({"lower", "strip", "lstrip", "rstrip"})

_SEQUENCES = frozenset({"list", "reversed", "set", "sorted", "tuple", "frozenset"})
"""Functions that give back the elements that they are given, in some order."""

_SLOT = re.compile(r"%(?:\((\w+)\))?[sd]|\{(\w*)[^{}]*\}")
"""A place in a text that is to be filled: `%s`, `%(name)s`, `{}`, `{name}`."""


class Expressions:
    """The expressions of one file; a name may be everything that it is given anywhere."""

    def __init__(self) -> None:
        self.given: dict[str, list[ast.expr]] = {}
        self._asked: set[str] = set()

    def give(self, target: ast.expr, value: ast.expr) -> None:
        """Take note that a name is given a value, or several names the elements of one."""
        if isinstance(target, ast.Name):
            self.given.setdefault(target.id, []).append(value)
        elif isinstance(target, ast.Tuple | ast.List):
            for name, element in zip(target.elts, self.elements(value), strict=False):
                self.give(name, element)

    def texts(self, node: ast.AST | None) -> list[str]:
        """Return the texts that an expression may be, with UNKNOWN in the place of what cannot be read; none when it is no text."""
        return list(dict.fromkeys(islice(self._texts(node), _MOST)))

    def elements(self, node: ast.AST) -> list[ast.expr]:
        """Return what a loop over this expression meets."""
        match node:
            case ast.List(elts=elts) | ast.Tuple(elts=elts) | ast.Set(elts=elts):
                return list(elts)
            case ast.Dict(keys=keys):
                return [key for key in keys if key]
            case ast.Name(id=name):
                return [element for value in self._of_name(name) for element in self.elements(value)]
            case ast.Call(func=ast.Name(id="range"), args=args):
                return _numbers(args)
            case ast.Call(func=ast.Name(id="enumerate"), args=[inner, *_]):
                return [ast.Tuple([ast.Constant(at), each]) for at, each in enumerate(self.elements(inner))]
            case ast.Call(func=ast.Name(id=function), args=[inner, *_]) if function in _SEQUENCES:
                return self.elements(inner)
            case ast.Call(func=ast.Attribute(value=inner, attr=("items" | "values" | "keys") as method)):
                return [_view(*pair, method) for pair in self._pairs(inner)]
        return []

    def _pairs(self, node: ast.AST) -> list[tuple[ast.expr, ast.expr]]:
        match node:
            case ast.Dict(keys=keys, values=values):
                return [(key, value) for key, value in zip(keys, values, strict=True) if key]
            case ast.Name(id=name):
                return [pair for value in self._of_name(name) for pair in self._pairs(value)]
        return []

    def _texts(self, node: ast.AST | None) -> Iterator[str]:
        match node:
            case ast.Constant(value=str() | int() as value):
                yield str(value)
            case ast.JoinedStr(values=pieces):
                yield from self._joined(pieces)
            case ast.FormattedValue(value=inner):
                yield from self._pieces(inner)
            case ast.BinOp(left=left, op=ast.Add(), right=right):
                yield from self._joined([left, right])
            case ast.BinOp(left=left, op=ast.Mod(), right=right):
                yield from self._filled(left, right.elts if isinstance(right, ast.Tuple) else [right])
            case ast.IfExp(body=body, orelse=orelse):
                yield from (*self._texts(body), *self._texts(orelse))
            case ast.Name(id=name):
                yield from (text for value in self._of_name(name) for text in self._texts(value))
            case ast.Call():
                yield from self._returned(node)

    def _returned(self, call: ast.Call) -> Iterator[str]:
        match call.func:
            case ast.Attribute(value=template, attr="format"):
                named = {keyword.arg: keyword.value for keyword in call.keywords if keyword.arg}
                yield from self._filled(template, call.args, named)
            case ast.Attribute(value=inner, attr=attr) if attr in _METHODS:
                yield from self._texts(inner)
            case ast.Attribute(attr=name) | ast.Name(id=name) if name in _WRAPPERS and call.args:
                yield from self._texts(call.args[0])

    def _joined(self, pieces: Sequence[ast.expr]) -> Iterator[str]:
        choices = [self._pieces(piece) for piece in pieces]
        if any(choice != [UNKNOWN] for choice in choices):
            yield from ("".join(chosen) for chosen in islice(product(*choices), _MOST))

    def _pieces(self, node: ast.expr) -> list[str]:
        return self.texts(node) or [UNKNOWN]

    def _filled(
        self, template: ast.expr, values: Sequence[ast.expr], named: dict[str, ast.expr] | None = None
    ) -> Iterator[str]:
        """Yield the texts of a template with each of the values that its places may have."""
        names = named or {
            key: value for value in values for node, value in self._pairs(value) for key in self._texts(node)
        }
        for text in self._texts(template):
            slots = [match[1] or match[2] or "" for match in _SLOT.finditer(text)]
            positions = iter(values)
            fills = [
                self._pieces(node)
                if (node := names.get(slot) if slot in names else next(positions, None))
                else [UNKNOWN]
                for slot in slots
            ]
            for chosen in islice(product(*fills), _MOST):
                yield _put_in(text, chosen)

    def _of_name(self, name: str) -> Iterator[ast.expr]:
        """Yield what a name is given; nothing while that is being asked: it may be given itself."""
        if name in self._asked:
            return
        self._asked.add(name)
        try:
            yield from self.given.get(name, ())
        finally:
            self._asked.discard(name)


def _put_in(template: str, values: Sequence[str]) -> str:
    each = iter(values)
    return _SLOT.sub(lambda _: next(each), template)


def _view(key: ast.expr, value: ast.expr, method: str) -> ast.expr:
    return ast.Tuple([key, value]) if method == "items" else value if method == "values" else key


def _numbers(args: Sequence[ast.expr]) -> list[ast.expr]:
    limits = [arg.value for arg in args if isinstance(arg, ast.Constant) and isinstance(arg.value, int)]
    if len(limits) != len(args) or not limits:
        return []
    return [ast.Constant(number) for number in islice(range(*limits), _MOST)]
