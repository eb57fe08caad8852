"""How does the same revision read without what blocks? Rewrites the reader's own file, in the reader's own names.

What stays in its transaction and what has to leave it must not share a revision, so one file may become two or three. Knows
no database; what it cannot rewrite it leaves to words.
"""

from __future__ import annotations

import ast
import re
import textwrap
from collections.abc import Collection, Sequence
from typing import NamedTuple

from railhead.hazards import hand_ends
from railhead.hazards.rewriting import RewriteStep, Rewriting, groups_of, is_mixed
from railhead.hazards.rules import Finding
from railhead.history.graph import syntax
from railhead.history.naming import LONGEST_ID


class RewrittenRevision(NamedTuple):
    """One file as it should be."""

    file: str
    is_new: bool
    source: str
    functions: str
    """`upgrade` and `downgrade` of it."""


class Remedy(NamedTuple):
    """What a revision becomes."""

    parts: tuple[RewrittenRevision, ...]
    words: tuple[str, ...]
    """What is to be done by hand, and how."""
    successor: tuple[str, str] | None
    """The file that builds on this revision, and its new parent, when parts were added."""
    left: tuple[Finding, ...] = ()
    """What was found and is not mended by all that."""

    @property
    def text(self) -> str:
        """Return it as the answer to `what now?`, ready to paste."""
        told = list(self.words)
        for part in self.parts:
            place = f"migrations/versions/{part.file}"
            told.append(f"new, {place}:\n{part.source}" if part.is_new else f"in {place}:\n{part.functions}")
        if self.successor:
            told.append(f'in migrations/versions/{self.successor[0]}:\ndown_revision = "{self.successor[1]}"')
        told += dict.fromkeys(f"and by hand, for {one}:\n{one.instead}" for one in self.left)
        return "\n\n".join(one.rstrip() for one in told)


def remedy(
    source: str, file: str, found: Collection[Finding], number: int, successor: str | None = None
) -> Remedy | None:
    """Return what a revision file becomes, None when there is nothing to rewrite and nothing to say.

    `number` is the first that no revision has, `successor` the file that builds on this revision.
    """
    plain = hand_ends.without_ends(source, "upgrade")
    if plain is None:
        return None
    source = plain
    tree = syntax(source)
    rewriting = Rewriting(source, found)
    upgrade, downgrade = (_function(tree, name) for name in ("upgrade", "downgrade"))
    if upgrade is None:
        return None
    steps = rewriting.upgrade(upgrade)
    if not rewriting.changed and not is_mixed(steps):
        return Remedy((), tuple(rewriting.words), None, rewriting.left) if rewriting.words else None
    groups = groups_of(steps)
    backwards = rewriting.downgrade(downgrade, groups) if downgrade else [[] for _ in groups]
    names = _names(source, file, number, len(groups))
    parts = []
    for index, (group, back) in enumerate(zip(groups, backwards, strict=True)):
        functions = f"{_defined('upgrade', group)}\n\n\n{_defined('downgrade', back)}\n"
        whole = _replaced(source, upgrade, downgrade, functions)
        parts.append(RewrittenRevision(names[index] + ".py" if index else file, bool(index), whole, functions))
    parents = [names[index] for index in range(len(groups) - 1)]
    parts[1:] = [
        part._replace(source=_as_new(part.source, name, parent))
        for part, name, parent in zip(parts[1:], names[1:], parents, strict=True)
    ]
    follows = (successor, names[-1]) if successor and len(parts) > 1 else None
    return Remedy(tuple(parts), tuple(rewriting.words), follows, rewriting.left)


def _names(source: str, file: str, number: int, count: int) -> list[str]:
    """Return the ids of the parts: the first keeps its own."""
    given = re.search(r"^revision\b[^=\n]*=\s*['\"]([^'\"]+)['\"]", source, re.MULTILINE)
    first = given[1] if given else file.removesuffix(".py")
    words = re.sub(r"^\d+_", "", first)
    endings = ["_finish"] if count == 2 else [f"_{index}" for index in range(2, count + 1)]
    prefixes = [f"{number + index:04d}_" for index in range(count - 1)]
    return [
        first,
        *(
            prefix + words[: LONGEST_ID - len(prefix) - len(ending)].rstrip("_") + ending
            for prefix, ending in zip(prefixes, endings, strict=False)
        ),
    ]


def _defined(name: str, steps: Sequence[RewriteStep]) -> str:
    body = "\n".join(step.code for step in steps) or "pass"
    return f"def {name}() -> None:\n{textwrap.indent(body, '    ')}"


def _replaced(source: str, upgrade: ast.FunctionDef, downgrade: ast.FunctionDef | None, functions: str) -> str:
    """Return the whole file with other functions, which come where `upgrade` was."""
    lines = source.splitlines()
    spans = [(node.lineno - 1, node.end_lineno or node.lineno) for node in (upgrade, downgrade) if node]
    kept = [line for index, line in enumerate(lines) if not any(start <= index < end for start, end in spans)]
    before = sum(1 for index in range(spans[0][0]) if not any(start <= index < end for start, end in spans))
    head, tail = "\n".join(kept[:before]).rstrip(), "\n".join(kept[before:]).strip()
    return f"{head}\n\n\n{functions}" + (f"\n\n{tail}\n" if tail else "")


def _as_new(source: str, revision: str, parent: str) -> str:
    """Return a copy of a file as a revision of its own; what it says about itself has to be said anew."""
    doc = ast.get_docstring(syntax(source))
    title = (doc or revision).splitlines()[0].rstrip(".")
    source = re.sub(r'\A\s*(?:""".*?"""|\'\'\'.*?\'\'\')', "", source, count=1, flags=re.DOTALL).lstrip()
    source = re.sub(r"^(revision\b[^=\n]*=\s*).*$", rf'\g<1>"{revision}"', source, count=1, flags=re.MULTILINE)
    source = re.sub(r"^(down_revision\b[^=\n]*=\s*).*$", rf'\g<1>"{parent}"', source, count=1, flags=re.MULTILINE)
    if not re.search(r"\bsa\.", re.sub(r"^import .*$", "", source, flags=re.MULTILINE)):
        source = re.sub(r"^import sqlalchemy as sa\n", "", source, flags=re.MULTILINE)
    return f'"""{title} (goes on)."""\n\n{source}'


def _function(tree: ast.Module, name: str) -> ast.FunctionDef | None:
    return next((node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == name), None)
