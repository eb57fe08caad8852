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


def rebase(typed: str, settings: Settings) -> list[Moved]:
    """Put the branch that ends in `wanted`, an id or a file, on top of the other head; return what was moved, oldest first.

    Changes revision files and the manifest; the database is only read. Raises Stop when there is one head only, when the
    history is broken otherwise, and when the database at hand has one of these revisions.
    """
    project = settings.project
    files = _read(project.versions)
    chosen = _chosen(typed, files)
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


def _chosen(typed: str, files: Sequence[File]) -> File:
    name = Path(typed).name
    exact = (
        [file for file in files if name in {file.name, file.name.removesuffix(".py")}] if typed.endswith(".py") else []
    )
    matching = exact or [file for file in files if file.revision == typed]
    matching = matching or [file for file in files if file.revision.startswith(typed)]
    if len(matching) == 1:
        return matching[0]
    twins = "\n".join(f"python utils/migrate.py rebase {file.name}" for file in matching)
    raise Stop(
        "unknown-revision",
        f"{len(matching)} files are {typed}: say which of them" if matching else f"there is no revision {typed}",
        facts=[("file", f"migrations/versions/{file.name}") for file in matching],
        database="not touched",
        next_step=twins or "alembic heads",
        exit_code=2,
    )


def _heads(files: Iterable[File]) -> list[File]:
    revisions = list(files)
    parents = {parent for file in revisions for parent in file.parents}
    return [file for file in revisions if file.revision not in parents]


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
    if any(file.revision == chosen.revision and file != chosen for file in files):
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
            facts=[("head", file.revision) for file in heads] or [("reads as", "a circle")],
            database="not touched",
            next_step="alembic history",
        )
    shared = {file.name for head in others for file in _ancestors(head, files)}
    exclusive = [file for file in _ancestors(own[0], files) if file.name not in shared]
    if chosen not in exclusive or len(own) > 1:
        raise _shared(chosen, heads)
    if any(len(file.parents) > 1 for file in exclusive):
        raise _broken(f"{own[0].revision} is a branch with merges in it; merge the heads instead: alembic merge heads")
    return exclusive[::-1]


def _other_head(chosen: File, branch: Sequence[File], files: Sequence[File]) -> File:
    """Return the head to build on: the only other one, else the newest of them."""
    rest = [file for file in files if file not in branch]
    others = _heads(rest)
    if not others:
        raise _broken(f"without {chosen.name} nothing is left to build on")
    return max(others, key=lambda file: (naming.number(file.revision) or 0, file.revision))


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
    number = max((naming.number(file.revision) or naming.number(file.name) or 0 for file in rest), default=0)
    used = {name for file in rest for name in (file.revision, file.name)}
    moved: list[Moved] = []
    parent = base.revision
    for index, file in enumerate(branch, start=1):
        revision = _renumbered(file.revision, number + index)
        if revision == file.revision and revision in used:
            raise _broken(
                f"{file.revision} has no number that could become another; give {file.name} another id by hand"
            )
        name = _new_name(file, revision, number + index)
        if name in used:
            raise _broken(
                f"{file.name} would become {name}, which is there already; give that file another name by hand"
            )
        moved.append(Moved(revision, name, file.revision, file.name, parent))
        parent = revision
    return moved


def _renumbered(revision: str, number: int) -> str:
    """Return an id with another number; one that has none keeps its name."""
    match = re.fullmatch(r"(\d+)(_.*)", revision)
    return f"{number:0{max(4, len(match[1]))}d}{match[2]}"[:LONGEST_ID] if match else revision


def _new_name(file: File, revision: str, number: int) -> str:
    if file.name == f"{file.revision}.py":
        return f"{revision}.py"
    return f"{_renumbered(file.name.removesuffix('.py'), number)}.py" if revision != file.revision else file.name


def _edited(file: Path, moved: Moved, names: dict[str, str]) -> str:
    """Return the source of a file that is moved, with the lines changed that say what it is."""
    source = file.read_bytes().decode("utf-8")
    depends = declared(parsed(source)).get("depends_on")
    if depends is not None and isinstance(depends.node, ast.expr):
        text = ast.get_source_segment(source, depends.node) or ""
        for was, now in names.items():
            text = re.sub(rf"(?<=['\"]){re.escape(was)}(?=['\"])", now, text)
        source = relabel.replaced(source, depends.node, text)
    try:
        source = relabel.relabelled(source, {"revision": moved.revision, "down_revision": moved.parent})
    except ValueError as error:
        raise _broken(f"{moved.was_file}: {error}") from error
    source = re.sub(r"^(Revision ID: ).*?(\r?)$", rf"\g<1>{moved.revision}\2", source, count=1, flags=re.MULTILINE)
    return re.sub(r"^(Revises: ).*?(\r?)$", rf"\g<1>{moved.parent}\2", source, count=1, flags=re.MULTILINE)


def _broken(why: str) -> Stop:
    return no_history(why, "because", " that could be put in line")


def _shared(chosen: File, heads: Sequence[File]) -> Stop:
    return Stop(
        "nothing-to-rebase",
        f"more than one head builds on {chosen.revision}: it belongs to all of them",
        facts=[("head", head.revision) for head in heads],
        database="not touched",
        next_step=f"name the branch to move by its head:\npython utils/migrate.py rebase {heads[-1].revision}",
    )


def _applied(file: File, twins: Sequence[File], place: str) -> Stop:
    twin = twins[0].name if twins else None
    return Stop(
        "already-applied",
        f"the database at hand has {file.revision} already, so it must keep its name and its place",
        facts=[("file", f"migrations/versions/{file.name}")],
        database=f"unchanged, at {place}",
        next_step=f"move the other one:\npython utils/migrate.py rebase {twin}"
        if twin
        else "take it back, and then move it:\n"
        f"python utils/migrate.py downgrade {file.parents[0] if file.parents else 'base'}\n"
        f"python utils/migrate.py rebase {file.revision}\n"
        "or move the other branch, if no other database has that",
    )
