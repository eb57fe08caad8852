"""How does the same revision read without what blocks? Rewrites the reader's own file, in the reader's own names.

What stays in its transaction and what has to leave it must not share a revision, so one file may become two or three. Knows
no database; what it cannot rewrite it leaves to words.
"""

from __future__ import annotations

import ast
import builtins
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import NamedTuple

from railhead.hazards import manual_commits
from railhead.hazards.remedy import statements
from railhead.hazards.remedy.recording import NotRewritten
from railhead.hazards.remedy.rewriting import Rewriting
from railhead.hazards.remedy.statements import Step
from railhead.hazards.rules import Finding
from railhead.history.files import UNKNOWN, Declared, bound, declared, parents_of
from railhead.history.graph import syntax
from railhead.history.loader import without_warnings
from railhead.history.naming import LONGEST_ID
from railhead.history.relabel import Name, NotRelabelled, relabelled, statement


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
    successors: tuple[tuple[str, str], ...] = ()
    """The files that build on this revision, each with the line that says so from now on, when parts were added."""
    left: tuple[Finding, ...] = ()
    """What was found and is not mended by all that."""

    @property
    def text(self) -> str:
        """Return it as the answer to `what now?`, ready to paste."""
        paragraphs = list(self.words)
        for part in self.parts:
            place = f"migrations/versions/{part.file}"
            paragraphs.append(f"new, {place}:\n{part.source}" if part.is_new else f"in {place}:\n{part.functions}")
        paragraphs += (f"in migrations/versions/{file}:\n{line}" for file, line in self.successors)
        paragraphs += dict.fromkeys(f"and by hand, for {finding}:\n{finding.instead}" for finding in self.left)
        return "\n\n".join(paragraph.rstrip() for paragraph in paragraphs)


def remedy(
    source: str,
    file: str,
    findings: Collection[Finding],
    number: int,
    successors: Mapping[str, str] | None = None,
    taken: Collection[str] = (),
) -> Remedy | None:
    """Return what a revision file becomes, None when there is nothing to rewrite and nothing to say.

    `number` is the first that no revision has, `successors` are the files that build on this revision, with their sources, `taken` the
    ids of all. What it returns loads, and has the names that it uses. Raises NotRewritten, which says why, where that cannot be had.
    """
    try:
        return _remedy(source, file, findings, number, successors or {}, taken)
    except NotRelabelled as error:
        raise NotRewritten(str(error)) from error


def _remedy(
    source: str,
    file: str,
    findings: Collection[Finding],
    number: int,
    successors: Mapping[str, str],
    taken: Collection[str],
) -> Remedy | None:
    plain = manual_commits.without_ends(source, "upgrade")
    if plain is None:
        return None
    rewriting = Rewriting(plain, file, findings)
    upgrade, downgrade = (statements.function_of(plain, name) for name in ("upgrade", "downgrade"))
    if upgrade is None:
        return None
    groups, idle = statements.groups_of(rewriting.upgrade(upgrade))
    rewriting.leave_out(idle)
    words = [*rewriting.forms.words, *rewriting.words]
    if not rewriting.changed and len(groups) < 2 and not idle:
        return Remedy((), tuple(words), left=rewriting.forms.left) if words else None
    _assert_at_home(groups)
    backwards = rewriting.downgrade(downgrade, groups) if downgrade else [[] for _ in groups]
    names = [*_names(source, file, number, len(groups), successors, taken)]
    parts = []
    for index, (group, back) in enumerate(zip(groups, backwards, strict=True)):
        functions = f"{_defined('upgrade', group)}\n\n\n{_defined('downgrade', back)}\n"
        missing = _unknown(_replaced(plain, upgrade, downgrade, functions)) - _unknown(plain)
        functions = "\n".join([*rewriting.forms.imports(missing, functions), functions])
        whole = _replaced(plain, upgrade, downgrade, functions)
        if index:
            whole = _as_new(whole, names[index][0], names[index - 1][0])
        _assert_whole(whole, names[index][0], plain)
        parts.append(RewrittenRevision(names[index][1], bool(index), whole, functions))
    follow = _following(successors, names[0][0], names[-1][0]) if len(parts) > 1 else ()
    words = [*rewriting.forms.words, *rewriting.words]
    return Remedy(tuple(parts), tuple(words), tuple(follow), rewriting.forms.left)


def _names(
    source: str, file: str, number: int, count: int, successors: Mapping[str, str], taken: Collection[str]
) -> Iterator[tuple[str, str]]:
    """Yield the id and the file of each part: the first keeps its own.

    What goes to the end of the history gets the next number; what goes between two revisions, or has none, is called after the first.
    """
    stem = file.removesuffix(".py")
    first = _declared(source, "revision") or stem
    yield str(first), file
    numbered = re.fullmatch(r"\d+_(.+)", str(first))
    for index in range(1, count):
        ending = "_finish" if count == 2 else f"_{index + 1}"
        prefix, words = ("", str(first))
        if numbered and not successors:
            prefix, words = f"{number + index - 1:04d}_", numbered[1]
        name = _free(prefix, words, ending, taken)
        yield name, f"{name}.py" if first == stem else f"{stem}{ending}.py"


def _free(prefix: str, words: str, ending: str, taken: Collection[str]) -> str:
    """Return a name that nobody has, as long as an id may be."""
    endings = [ending, *(f"{ending}{number}" for number in range(2, 100))]
    names = (f"{prefix}{words[: LONGEST_ID - len(prefix) - len(suffix)].rstrip('_')}{suffix}" for suffix in endings)
    return next(name for name in names if name not in taken)


def _declared(source: str, name: str) -> str | None:
    declaration = declared(syntax(source)).get(name)
    return declaration.value if declaration and isinstance(declaration.value, str) else None


def _following(successors: Mapping[str, str], was: str, now: str) -> Iterator[tuple[str, str]]:
    """Yield each file that builds on a revision, with the statement that says on what from now on."""
    for file, source in successors.items():
        parents = parents_of(declared(syntax(source)).get("down_revision", Declared(UNKNOWN)).value)
        if parents is None:
            raise NotRewritten(f"it cannot be read what {file} builds on")
        new = tuple(now if parent == was else str(parent) for parent in parents)
        changed = relabelled(source, {"down_revision": new[0] if len(new) == 1 else new})
        yield file, statement(changed, "down_revision")


def _defined(name: str, group: Sequence[Step]) -> str:
    body = "\n".join(step.code for step in group) or "    pass"
    return f"def {name}() -> None:\n{body}"


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
    declarations = declared(syntax(source))
    names: dict[str, Name] = dict.fromkeys(name for name in ("branch_labels", "depends_on") if name in declarations)
    source = relabelled(source, {"revision": revision, "down_revision": parent, **names})
    tree = syntax(source)
    title = (ast.get_docstring(tree) or revision).splitlines()[0].rstrip(".")
    lines = source.splitlines()
    if ast.get_docstring(tree) is not None:
        lines[tree.body[0].lineno - 1 : tree.body[0].end_lineno] = []
    source = "\n".join(lines).lstrip() + "\n"
    if not re.search(r"\bsa\.", re.sub(r"^import .*$", "", source, flags=re.MULTILINE)):
        source = re.sub(r"^import sqlalchemy as sa\n", "", source, flags=re.MULTILINE)
    return f'"""{title} (goes on)."""\n\n{source}'


def _assert_at_home(groups: Sequence[Sequence[Step]]) -> None:
    """Raise ValueError where names would be looked up elsewhere than the file says."""
    leaves = any(statements.is_outside(member for member in group if member.works) for group in groups)
    if leaves and any(_ELSEWHERE.search(step.code) for group in groups for step in group):
        raise NotRewritten("it sets the search_path, or the role, for its transaction only")


_ELSEWHERE = re.compile(r"\bSET\s+LOCAL\s+(?:search_path|role)\b|\bset_config\(.*search_path.*true", re.IGNORECASE)


def _assert_whole(source: str, revision: str, origin: str) -> None:
    """Raise ValueError unless a rewritten file loads as this revision and knows every name that the original knew."""
    with without_warnings():
        compile(source, revision, "exec", dont_inherit=True)
    if _declared(source, "revision") not in {revision, None} or not _unknown(source) <= _unknown(origin):
        raise NotRewritten("what is rewritten would not run")


def _unknown(source: str) -> set[str]:
    """Return the names that `upgrade` or `downgrade` use and nothing in the file gives."""
    tree = syntax(source)
    given = {name for node in tree.body for name in bound(node)} | {*dir(builtins), "__file__", "__name__", "__doc__"}
    functions = [
        node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name in {"upgrade", "downgrade"}
    ]
    return {name for function in functions for name in _used(function) - _bound_in(function) - given}


def _used(function: ast.FunctionDef) -> set[str]:
    names = (node for node in ast.walk(function) if isinstance(node, ast.Name))
    return {node.id for node in names if isinstance(node.ctx, ast.Load)}


def _bound_in(function: ast.FunctionDef) -> set[str]:
    own = {name for node in function.body for inner in ast.walk(node) for name in bound(inner)}
    return own | {node.arg for node in ast.walk(function) if isinstance(node, ast.arg)}
