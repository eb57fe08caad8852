"""Which statements of a rewritten revision may share one, and in which order?

What stays in its transaction and what has to leave it must not. What only prepares goes wherever what it prepares is.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Collection, Iterable, Sequence
from itertools import groupby
from typing import NamedTuple

from railhead.hazards.transaction_bound import Scope
from railhead.history.files import bound
from railhead.history.graph import syntax

Key = tuple[str, ...]
"""What a step is about: ("name", "ix_task_title"), ("column", "task", "due_on"), ("null", "task", "title")."""

IN_TEXT = "\0"
"""Stands before a line that begins inside a text of several lines: it is not to be indented."""


class RewriteStep(NamedTuple):
    """One statement of a function as it will be."""

    code: str
    outside: bool | None
    """Whether it leaves the transaction; None when it does nothing to the database."""
    key: Key = ()
    back: str = ""
    """The way back that is certain from the step itself."""
    scope: Scope = ""
    """Where it works only for the transaction or the session that it stands in."""

    @property
    def works(self) -> bool:
        """Tell whether it does something for good, so that it decides what it may share a revision with."""
        return self.outside is not None and not self.scope

    @property
    def names(self) -> set[str]:
        """Return the names that it binds."""
        return set(bound(syntax(self.code.replace(IN_TEXT, ""))))

    def mentions(self, names: Collection[str]) -> bool:
        """Tell whether it uses one of these names."""
        tree = syntax(self.code.replace(IN_TEXT, ""))
        return any(isinstance(node, ast.Name) and node.id in names for node in ast.walk(tree))


Numbered = tuple[int, RewriteStep]
"""A step with its place in the function."""

Groups = list[list[RewriteStep]]


def groups_of(steps: Sequence[RewriteStep]) -> tuple[Groups, list[RewriteStep]]:
    """Return the steps in runs that may share a revision, and those that would do nothing in any of them."""
    numbered = [*enumerate(steps)]
    working = [one for one in numbered if one[1].works]
    runs = _fewer([list(run) for _, run in groupby(working, key=lambda one: bool(one[1].outside))])
    if not runs:
        return [list(steps)], []
    return placed(runs, [one for one in numbered if not one[1].works])


def placed(runs: list[list[Numbered]], loose: Iterable[Numbered]) -> tuple[Groups, list[RewriteStep]]:
    """Return the runs with what only prepares put before what it prepares, and what prepares nothing any more."""
    idle: list[RewriteStep] = []
    for number, step in sorted(loose, key=lambda one: -one[0]):
        homes = _homes(runs, number, step)
        for run in homes:
            run.insert(next((place for place, one in enumerate(run) if one[0] > number), len(run)), (number, step))
        if not homes:
            idle.insert(0, step)
    return [[step for _, step in run] for run in runs], idle


def _homes(runs: list[list[Numbered]], number: int, step: RewriteStep) -> list[list[Numbered]]:
    later = [run for run in runs if any(other > number and (one.works or not step.scope) for other, one in run)]
    if step.scope == "transaction":
        return [run for run in later if not is_outside(one for other, one in run if other > number)]
    if step.scope == "session":
        return later
    names = step.names
    users = [run for run in later if any(one.mentions(names) for other, one in run if other > number)]
    return users or later[:1] or runs[-1:]


def _fewer(runs: list[list[Numbered]]) -> list[list[Numbered]]:
    """Return the runs with what is only built first put behind the plain steps that nothing is taken away by."""
    if len(runs) < 3 or not is_outside(step for _, step in runs[0]):
        return runs
    first, plain, later, *rest = runs
    builds = all("op.create_" in step.code for _, step in first)
    if builds and not any("drop" in step.code.lower() for _, step in plain):
        return [plain, [*first, *later], *rest]
    return runs


def is_outside(steps: Iterable[RewriteStep]) -> bool:
    """Tell whether one of these leaves the transaction."""
    return any(step.outside for step in steps)


def dedented(lines: Sequence[str], inside: Collection[int], first: int) -> str:
    """Return lines of a file (from line `first` on) without their indentation, but for those that begin `inside` a text."""
    margin = min((len(line) - len(line.lstrip()) for line in _outer(lines, inside, first) if line.strip()), default=0)
    return "\n".join(
        f"{IN_TEXT}{line}" if number in inside else line[margin:] for number, line in enumerate(lines, first)
    ).strip("\n")


def indented(code: str) -> str:
    """Return code that stands in a function."""
    lines = code.splitlines()
    return "\n".join(line[1:] if line.startswith(IN_TEXT) else f"    {line}" if line.strip() else "" for line in lines)


def inside_texts(tree: ast.AST) -> set[int]:
    """Return the numbers of the lines of a file that begin inside a text."""
    found = set[int]()
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str | bytes)):
            found.update(range(node.lineno + 1, (node.end_lineno or node.lineno) + 1))
    return found


def _outer(lines: Sequence[str], inside: Collection[int], first: int) -> list[str]:
    return [line for number, line in enumerate(lines, first) if number not in inside]


def remarks(code: str) -> str:
    """Return the lines of code that are remarks."""
    return "".join(f"{line}\n" for line in code.splitlines() if re.match(r"\s*#", line))
