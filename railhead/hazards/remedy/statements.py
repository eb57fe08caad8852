"""Which statements does a function of a revision file consist of, and which of them may share a revision?

What stays in its transaction and what has to leave it must not. What only prepares goes wherever what it prepares is.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Literal, NamedTuple

from alembic.operations import MigrateOperation

from railhead.hazards.remedy.recording import Place
from railhead.history.files import bound
from railhead.history.graph import syntax

Key = tuple[str, ...]

Scope = Literal["", "transaction", "session"]


class Statement(NamedTuple):
    """One statement as it stands in a file."""

    node: ast.stmt
    text: str
    """All its lines, with the comments above it."""

    @property
    def place(self) -> Place:
        """Return where it begins."""
        return self.node.lineno, self.node.col_offset

    @property
    def comments(self) -> str:
        """Return the comments above it."""
        lines = self.text.splitlines()
        count = next(index for index, line in enumerate(lines) if not re.match(r"\s*(#|$)", line))
        return "".join(f"{line}\n" for line in lines[:count] if line.strip())

    @property
    def used(self) -> frozenset[str]:
        """Return the names that it uses."""
        names = (node for node in ast.walk(self.node) if isinstance(node, ast.Name))
        return frozenset(node.id for node in names if isinstance(node.ctx, ast.Load))


class Step(NamedTuple):
    """What stands in a function of a rewritten revision: a statement, or operations in its place."""

    code: str
    """In lines with their indentation."""
    outside: bool | None
    """Whether it leaves the transaction; None when it does nothing to the database."""
    keys: frozenset[Key] = frozenset()
    """What it is about."""
    back: Sequence[MigrateOperation] = ()
    """The way back that is certain from the step itself, where it leaves the transaction."""
    scope: Scope = ""
    """Where it works only for the transaction or the session that it stands in."""
    binds: frozenset[str] = frozenset()
    uses: frozenset[str] = frozenset()
    """The names that it gives, and those that it needs."""

    @property
    def works(self) -> bool:
        """Tell whether it does something for good, so that it decides what it may share a revision with."""
        return self.outside is not None and not self.scope


def kept(statement: Statement, *, outside: bool | None) -> Step:
    """Return a statement as it stands."""
    return Step(statement.text, outside, binds=frozenset(bound(statement.node)), uses=statement.used)


Numbered = tuple[int, Step]
"""A step with its place in the function."""

Groups = list[list[Step]]


def margin(source: str, function: ast.FunctionDef) -> str:
    """Return what stands before each statement of a function; what is usual, where it stands behind a colon."""
    first = function.body[0]
    before = source.splitlines()[first.lineno - 1].encode()[: first.col_offset].decode()
    return "    " if before.strip() else before


def statements(source: str, function: ast.FunctionDef) -> Iterator[Statement]:
    """Yield each statement of a function that does something, with the comments above it."""
    lines = source.splitlines()
    above = function.body[0].lineno - 1
    while above > function.lineno and lines[above - 1].lstrip().startswith("#"):
        above -= 1
    for node in function.body:
        end, last = node.end_lineno or node.lineno, node.end_col_offset or 0
        before, behind = lines[node.lineno - 1].encode()[: node.col_offset], lines[end - 1].encode()[last:].lstrip()
        if before.strip() or behind.startswith(b";"):
            text = margin(source, function) + (ast.get_source_segment(source, node) or "")
        else:
            text = "\n".join(lines[above:end]).strip("\n")
        above = end
        is_docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        if not is_docstring and not isinstance(node, ast.Pass):
            yield Statement(node, text)


def function_of(source: str, name: str) -> ast.FunctionDef | None:
    """Return a function of a file."""
    functions = [node for node in syntax(source).body if isinstance(node, ast.FunctionDef)]
    return next((node for node in functions if node.name == name), None)


def scope_of(sql: str | None) -> Scope:
    """Tell for what SQL works: for its transaction or its session only, or (empty) for good.

    A lock that is taken for what comes next protects nothing in another revision; a search_path is needed in each.
    """
    parts = [part for part in (sql or "").split(";") if part.strip()]
    if not parts or not all(_TRANSACTION.match(part) or _SESSION.match(part) for part in parts):
        return ""
    return "transaction" if all(_TRANSACTION.match(part) for part in parts) else "session"


_TRANSACTION = re.compile(
    r"\s*(?:LOCK|SAVEPOINT|RELEASE|SET\s+(?:LOCAL|CONSTRAINTS)|(?:SET|RESET)\s+(?:SESSION\s+)?(?:lock_timeout|statement_timeout))\b"
    r"|\s*SELECT\s+(?:pg_catalog\.)?(?:pg_(?:try_)?advisory_xact_lock\w*|set_config)\s*\((?:(?!,\s*false).)*\)\s*$"
    r"|\s*SELECT\b.*\bFOR\s+(?:NO\s+KEY\s+UPDATE|KEY\s+SHARE|UPDATE|SHARE)(?:\s+(?:OF\s.+|NOWAIT))?\s*$",
    re.IGNORECASE | re.DOTALL,
)
_SESSION = re.compile(r"\s*(?:SET|RESET)\b|\s*SELECT\s+(?:pg_catalog\.)?set_config\s*\(", re.IGNORECASE)


def groups_of(steps: Sequence[Step]) -> tuple[Groups, list[Step]]:
    """Return the steps in runs that may share a revision, and those that would do nothing in any of them."""
    numbered = [*enumerate(steps)]
    working = [(number, step) for number, step in numbered if step.works]
    runs = _fewer([list(run) for _, run in groupby(working, key=lambda pair: bool(pair[1].outside))])
    if not runs:
        return [list(steps)], []
    return placed(runs, [(number, step) for number, step in numbered if not step.works])


def placed(runs: list[list[Numbered]], loose: Iterable[Numbered]) -> tuple[Groups, list[Step]]:
    """Return the runs with what only prepares put before what it prepares, and what prepares nothing any more."""
    idle: list[Step] = []
    for number, step in sorted(loose, key=lambda pair: -pair[0]):
        homes = _homes(runs, number, step)
        for run in homes:
            place = next((place for place, (later, _) in enumerate(run) if later > number), len(run))
            run.insert(place, (number, step))
        if not homes:
            idle.insert(0, step)
    return [[step for _, step in run] for run in runs], idle


def _homes(runs: list[list[Numbered]], number: int, step: Step) -> list[list[Numbered]]:
    later = [
        run for run in runs if any(place > number and (following.works or not step.scope) for place, following in run)
    ]
    if step.scope == "transaction":
        return [run for run in later if not is_outside(following for place, following in run if place > number)]
    if step.scope == "session":
        return later
    users = [run for run in later if any(following.uses & step.binds for place, following in run if place > number)]
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


def is_outside(steps: Iterable[Step]) -> bool:
    """Tell whether one of these leaves the transaction."""
    return any(step.outside for step in steps)


def preparing(steps: Sequence[Step], prepared: Sequence[Step]) -> list[Step]:
    """Return those of the prepared steps that give the names which the wanted ones need."""
    users = list(steps)
    for step in reversed(prepared):
        if any(user.uses & step.binds for user in users):
            users.insert(0, step)
    return users[: len(users) - len(steps)]
