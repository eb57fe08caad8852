"""How does a forked history become one line again?

Puts one branch on top of the other: next numbers, new ids and file names, a new parent. Edits the lines that say so and
nothing else, and only for revisions that the database at hand does not have.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from railhead.commands import seal
from railhead.errors import Stop
from railhead.history import checksum, loader, naming, relabel
from railhead.history.checksum import parsed
from railhead.history.errors import no_history
from railhead.history.files import as_name, as_text, declared, parents_of, revision_files
from railhead.history.naming import LONGEST_ID
from railhead.postgres.connection import open_now
from railhead.settings import Settings
from railhead.state import inspection, ledger


class Moved(NamedTuple):
    """A revision that was put elsewhere."""

    revision: str
    file: str
    was: str
    was_file: str
    parent: str


class File(NamedTuple):
    """A revision file, read without running it: two files of one id could not be loaded."""

    name: str
    revision: str
    parents: tuple[str, ...]


def rebase(wanted: str, settings: Settings) -> list[Moved]:
    """Put the branch that ends in `wanted`, an id or a file, on top of the other head; return what was moved, oldest first.

    Changes revision files and the manifest; the database is only read. Raises Stop when there is one head only, when the
    history is broken otherwise, and when the database at hand has one of these revisions.
    """
    project = settings.project
    files = _read(project.versions)
    chosen = _chosen(wanted, files)
    branch = _branch(chosen, files)
    base = _other_head(chosen, branch, files)
    _assert_not_applied(branch, files, settings)
    moved = _move(project.versions, branch, base, files)
    if loader.history(project).problem is None:
        seal.write(settings, look=False)
    return moved


def _read(folder: Path) -> list[File]:
    return [_file(folder / name) for name in sorted(revision_files(folder))]


def _file(path: Path) -> File:
    """Return what a file says of itself. Raises Stop when it says nothing that can be read."""
    try:
        names = declared(parsed(path.read_bytes()))
        revision, parents = names["revision"].value, parents_of(names["down_revision"].value)
    except (SyntaxError, ValueError, KeyError, OSError) as error:
        raise _broken(f"{as_text(path.name)}: {type(error).__name__}: {error}") from error
    if not isinstance(revision, str) or parents is None:
        raise _broken(f"{as_text(path.name)}: `revision` and `down_revision` are not written out there")
    return File(as_text(path.name), revision, tuple(map(str, parents)))


def _chosen(wanted: str, files: Sequence[File]) -> File:
    name = Path(wanted).name
    exact = [one for one in files if name in {one.name, one.name.removesuffix(".py")}] if wanted.endswith(".py") else []
    found = exact or [one for one in files if one.revision == wanted]
    found = found or [one for one in files if one.revision.startswith(wanted)]
    if len(found) == 1:
        return found[0]
    twins = "\n".join(f"python utils/migrate.py rebase {one.name}" for one in found)
    raise Stop(
        "unknown-revision",
        f"{len(found)} files are {wanted}: say which of them" if found else f"there is no revision {wanted}",
        facts=[("file", f"migrations/versions/{one.name}") for one in found],
        database="not touched",
        next_step=twins or "alembic heads",
        exit_code=2,
    )


def _heads(files: Iterable[File]) -> list[File]:
    known = list(files)
    parents = {parent for one in known for parent in one.parents}
    return [one for one in known if one.revision not in parents]


def _ancestors(start: File, files: Sequence[File]) -> list[File]:
    """Return a revision and all that it builds on, itself first. Raises Stop when a parent does not exist."""
    by_id = {one.revision: one for one in files}
    found: dict[str, File] = {}
    todo = [start]
    while todo:
        one = todo.pop()
        if one.name in found:
            continue
        found[one.name] = one
        for parent in one.parents:
            if parent not in by_id:
                raise _broken(f"{one.name} builds on {parent}, which no file is")
            todo.append(by_id[parent])
    return list(found.values())


def _branch(chosen: File, files: Sequence[File]) -> list[File]:
    """Return what has to move, oldest first: the chosen file alone if it has a twin, else all that only its head builds on."""
    if any(one.revision == chosen.revision and one != chosen for one in files):
        return [chosen]
    heads = _heads(files)
    own = [head for head in heads if chosen in _ancestors(head, files)]
    others = [head for head in heads if head not in own]
    if not others and len(heads) > 1:
        raise _shared(chosen, heads)
    if not others:
        raise Stop(
            "nothing-to-rebase",
            "the history is one line: there is nothing to put on top of anything",
            facts=[("head", one.revision) for one in heads] or [("reads as", "a circle")],
            database="not touched",
            next_step="alembic history",
        )
    shared = {one.name for head in others for one in _ancestors(head, files)}
    exclusive = [one for one in _ancestors(own[0], files) if one.name not in shared]
    if chosen not in exclusive or len(own) > 1:
        raise _shared(chosen, heads)
    if any(len(one.parents) > 1 for one in exclusive):
        raise _broken(f"{own[0].revision} is a branch with merges in it; merge the heads instead: alembic merge heads")
    return exclusive[::-1]


def _other_head(chosen: File, branch: Sequence[File], files: Sequence[File]) -> File:
    """Return the head to build on: the only other one, else the newest of them."""
    rest = [one for one in files if one not in branch]
    others = _heads(rest)
    if not others:
        raise _broken(f"without {chosen.name} nothing is left to build on")
    return max(others, key=lambda one: (naming.number(one.revision) or 0, one.revision))


def _assert_not_applied(branch: Sequence[File], files: Sequence[File], settings: Settings) -> None:
    """Raise Stop when the database at hand has one of these revisions, or may have it. Read-only."""
    connection = open_now(settings.migrations, "rebase")
    try:
        versions = inspection.snapshot(connection, settings.project.version_table).versions
        booked = {one.revision: one for one in reversed(ledger.entries(connection)) if one.outcome == "applied"}
    finally:
        connection.close()
    current = [file for file in files if file.revision in versions]
    applied = {one.revision for file in current for one in _ancestors(file, files)}
    applied |= {name or "" for name, entry in booked.items() if entry.action != "downgrade"}
    for one in branch:
        twins = [other for other in files if other.revision == one.revision and other != one]
        entry = booked.get(one.revision)
        known = entry.checksum if entry else None
        is_other = (
            bool(twins)
            and known is not None
            and known != checksum.checksum_of(settings.project.versions / as_name(one.name))
        )
        if one.revision in applied and not is_other:
            raise _applied(one, twins, ", ".join(versions) or "nothing")


def _move(folder: Path, branch: Sequence[File], base: File, files: Sequence[File]) -> list[Moved]:
    """Give each file of the branch its new number, id, name and parent. Changes files."""
    rest = [one for one in files if one not in branch]
    moved = _moves(branch, base, rest)
    alone = any(one.revision == branch[0].revision for one in rest)
    names: dict[str, str] = {}
    sources: dict[str, str] = {}
    for one in moved:  # all are read before one is written: the new name of one may be the old name of the next
        names[one.was] = one.revision
        sources[one.file] = _edited(folder / as_name(one.was_file), one, {} if alone else names)
    for name, source in sources.items():
        (folder / as_name(name)).write_bytes(source.encode("utf-8"))
    for old in branch:
        if old.name not in sources:
            (folder / as_name(old.name)).unlink()
    return moved


def _moves(branch: Sequence[File], base: File, rest: Sequence[File]) -> list[Moved]:
    """Return what each file of the branch becomes. Raises Stop when an id or a name is taken."""
    number = max((naming.number(one.revision) or naming.number(one.name) or 0 for one in rest), default=0)
    taken = {name for one in rest for name in (one.revision, one.name)}
    moved: list[Moved] = []
    parent = base.revision
    for index, one in enumerate(branch, start=1):
        revision = _renumbered(one.revision, number + index)
        if revision == one.revision and revision in taken:
            raise _broken(f"{one.revision} has no number that could become another; give {one.name} another id by hand")
        name = _new_name(one, revision, number + index)
        if name in taken:
            raise _broken(
                f"{one.name} would become {name}, which is there already; give that file another name by hand"
            )
        moved.append(Moved(revision, name, one.revision, one.name, parent))
        parent = revision
    return moved


def _renumbered(revision: str, number: int) -> str:
    """Return an id with another number; one that has none keeps its name."""
    match = re.fullmatch(r"(\d+)(_.*)", revision)
    return f"{number:0{max(4, len(match[1]))}d}{match[2]}"[:LONGEST_ID] if match else revision


def _new_name(one: File, revision: str, number: int) -> str:
    if one.name == f"{one.revision}.py":
        return f"{revision}.py"
    return f"{_renumbered(one.name.removesuffix('.py'), number)}.py" if revision != one.revision else one.name


def _edited(file: Path, one: Moved, names: dict[str, str]) -> str:
    """Return the source of a file that is moved, with the lines changed that say what it is."""
    source = file.read_bytes().decode("utf-8")
    depends = declared(parsed(source)).get("depends_on")
    if depends is not None and isinstance(depends.node, ast.expr):
        text = ast.get_source_segment(source, depends.node) or ""
        for was, now in names.items():
            text = re.sub(rf"(?<=['\"]){re.escape(was)}(?=['\"])", now, text)
        source = relabel.replaced(source, depends.node, text)
    try:
        source = relabel.relabelled(source, {"revision": one.revision, "down_revision": one.parent})
    except ValueError as error:
        raise _broken(f"{one.was_file}: {error}") from error
    source = re.sub(r"^(Revision ID: ).*?(\r?)$", rf"\g<1>{one.revision}\2", source, count=1, flags=re.MULTILINE)
    return re.sub(r"^(Revises: ).*?(\r?)$", rf"\g<1>{one.parent}\2", source, count=1, flags=re.MULTILINE)


def _broken(why: str) -> Stop:
    return no_history(why, "because", " that could be put in line")


def _shared(chosen: File, heads: Sequence[File]) -> Stop:
    return Stop(
        "nothing-to-rebase",
        f"more than one head builds on {chosen.revision}: it belongs to all of them",
        facts=[("head", one.revision) for one in heads],
        database="not touched",
        next_step=f"name the branch to move by its head:\npython utils/migrate.py rebase {heads[-1].revision}",
    )


def _applied(one: File, twins: Sequence[File], place: str) -> Stop:
    other = twins[0].name if twins else None
    return Stop(
        "already-applied",
        f"the database at hand has {one.revision} already, so it must keep its name and its place",
        facts=[("file", f"migrations/versions/{one.name}")],
        database=f"unchanged, at {place}",
        next_step=f"move the other one:\npython utils/migrate.py rebase {other}"
        if other
        else "take it back, and then move it:\n"
        f"python utils/migrate.py downgrade {one.parents[0] if one.parents else 'base'}\n"
        f"python utils/migrate.py rebase {one.revision}\n"
        "or move the other branch, if no other database has that",
    )
