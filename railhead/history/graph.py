"""Which revisions are there, which builds on which, and what is wrong with that?

Knows nothing of Alembic, which reads the files, nor of a database.
"""

from __future__ import annotations

import importlib.util
import re
import traceback
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from railhead.errors import Forked, Stop
from railhead.history import manifest

LONGEST_ID = 32
"""The width of Alembic's `version_num` column: a longer id fails only when it is written."""


class Revision(NamedTuple):
    """A revision as its file says."""

    id: str
    parents: tuple[str, ...]
    file: str
    message: str
    breaking: bool | None
    """What its author says (`breaking = False`), None when he says nothing."""
    accepted_hazards: dict[str, str]

    def is_breaking(self, sealed: manifest.Entry | None) -> bool | None:
        """Tell whether the previous release stops working: as its author says, else as was `sealed`; None when nobody knows."""
        return self.breaking if self.breaking is not None else sealed.breaking if sealed else None


class History:
    """All revisions, parents first. Knows one path or a graph with branches and merges; never a fork of heads."""

    def __init__(self, revisions: Sequence[Revision], problem: Stop | None = None) -> None:
        """`problem` is what is wrong with the files, for whoever only wants to know."""
        self.by_id = {revision.id: revision for revision in revisions}
        self.problem = problem

    @property
    def heads(self) -> tuple[str, ...]:
        """Return the ids that are nobody's parent, sorted."""
        parents = {parent for revision in self.by_id.values() for parent in revision.parents}
        return tuple(sorted(set(self.by_id) - parents))

    def ancestors(self, ids: Iterable[str]) -> set[str]:
        """Return these revisions and everything that they build on; ids that we do not have are left out."""
        found: set[str] = set()
        todo = [one for one in ids if one in self.by_id]
        while todo:
            one = todo.pop()
            if one not in found:
                found.add(one)
                todo.extend(self.by_id[one].parents)
        return found

    def redundant(self, versions: Iterable[str]) -> tuple[str, ...]:
        """Return those of a database's versions that another of them builds on: whoever applied that should have replaced them."""
        held = set(versions)
        return tuple(sorted(one for one in held if one in self.ancestors(held - {one})))

    def pending(self, current: Iterable[str]) -> list[Revision]:
        """Return what a database at `current` still lacks, parents first."""
        applied = self.ancestors(current)
        return [revision for revision in self.by_id.values() if revision.id not in applied]


def find(history: History, name: str) -> str:
    """Return the id of the revision that `name` means: an id, the beginning of one, or `head`. Raises Stop."""
    if name == "head" and len(history.heads) == 1:
        return history.heads[0]
    found = [one for one in history.by_id if one == name] or [one for one in history.by_id if one.startswith(name)]
    if len(found) == 1:
        return found[0]
    raise Stop(
        "unknown-revision",
        f"{'several revisions start with' if found else 'there is no revision'} {name}",
        facts=[("newest", ", ".join(history.heads) or "none")],
        database="unchanged",
        next_step="alembic history",
        exit_code=2,
    )


def no_history(why: str) -> Stop:
    """Return what is said of files that Alembic can make no history of."""
    return Stop(
        "revision-file",
        "the revision files do not form a history",
        facts=[("Alembic", why)],
        database="not touched",
        next_step="correct `revision` and `down_revision` in migrations/versions/",
    )


def source_of(file: Path) -> str:
    """Return the text of a revision file as Python reads it, in whatever encoding it says that it has."""
    return importlib.util.decode_source(file.read_bytes())


OVERLAPPING = "alembic_version holds a revision together with one that it builds on"


def unknown_version(versions: Iterable[str], heads: Iterable[str] | None = None, redundant: Iterable[str] = ()) -> Stop:
    """Return the refusal of a database at versions that this code does not have, or of which some are `redundant`.

    `heads` are those of this code, where they are known.
    """
    place = ", ".join(versions)
    facts = [("found", place or "none")]
    if redundant:
        headline, step = OVERLAPPING, f"delete the older row, which should have been replaced:\n{deletion(redundant)}"
    else:
        headline = "the database is at a revision that this code does not have"
        facts += [("our head", ", ".join(heads) or "none")] if heads is not None else []
        step = "deploy the release that has this revision, or see whether this is the right database:\npython utils/migrate.py status"
    return Stop("unknown-version", headline, facts=facts, database=f"unchanged, at {place}", next_step=step)


def deletion(versions: Iterable[str]) -> str:
    """Return the statement that takes rows out of alembic_version."""
    rows = ", ".join(f"'{one}'" for one in versions)
    return f"DELETE FROM alembic_version WHERE version_num IN ({rows});"


def no_function(module: object, name: str) -> Stop:
    """Return what is said of a revision that lacks `upgrade()` or `downgrade()`."""
    return Stop(
        "revision-file",
        f"a revision has no {name}()",
        facts=[("file", f"migrations/versions/{Path(getattr(module, '__file__', None) or '?').name}")],
        database="unchanged",
        next_step=f"write it, if only to say that there is nothing to do:\ndef {name}() -> None: pass",
    )


def line_of(error: BaseException, folder: Path) -> str | None:
    """Return the innermost line in a file of `folder` that an error went through, None when there is none."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename).parent == folder]
    return f"{Path(frames[-1].filename).name}, line {frames[-1].lineno}" if frames else None


def bad_file(error: BaseException, folder: Path, file: str | None = None) -> Stop:
    """Return what is said of a file that cannot be loaded, with its line, or of `file`."""
    place = line_of(error, folder) or file or "(one of the files there)"
    if isinstance(error, SyntaxError) and error.filename:
        place = f"{Path(error.filename).name}, line {error.lineno}"
    return Stop(
        "revision-file",
        "a revision file cannot be loaded",
        facts=[("file", f"migrations/versions/{place}"), ("Python", f"{type(error).__name__}: {error}")],
        database="not touched",
        next_step="correct the file; see that it loads:  python utils/migrate.py status",
    )


def twice(revision: str) -> Stop:
    """Return what is said of two files with one id; the second would silently never be applied."""
    pattern = re.compile(rf"^revision\b[^=\n]*=\s*['\"]{re.escape(revision)}['\"]", re.MULTILINE)
    files = sorted(
        name
        for name in manifest.revision_files()
        if pattern.search((manifest.FOLDER / name).read_text(encoding="utf-8", errors="replace"))
    )
    return Forked(
        "forked",
        f"two files are the same revision, {revision}",
        facts=[("file", f"migrations/versions/{name}") for name in files],
        database="not touched",
        next_step=f"put the later one on top of the other:\npython utils/migrate.py rebase {files[-1] if files else revision}",
    )


def forked(found: History) -> Stop | None:
    """Return what is said of several heads, None when there is one."""
    if len(found.heads) < 2:
        return None
    heads = [found.by_id[head] for head in found.heads]
    return Forked(
        "forked",
        f"the history has {len(heads)} heads",
        facts=[("head", f"{one.id}, migrations/versions/{one.file}") for one in heads],
        database="not touched",
        next_step="put the one that no other database has yet on top of the other; what is deployed must keep its name:\n"
        + "\n".join(f"python utils/migrate.py rebase {one.id}" for one in heads),
    )


def too_long(found: History) -> Stop | None:
    """Return what is said of an id that alembic_version cannot hold, None when there is none."""
    long = next((one for one in found.by_id.values() if len(one.id) > LONGEST_ID), None)
    if long is None:
        return None
    return Stop(
        "long-id",
        f"a revision id is longer than the {LONGEST_ID} characters that alembic_version holds",
        facts=[("revision", f"{long.id} ({len(long.id)} characters)"), ("file", f"migrations/versions/{long.file}")],
        database="not touched",
        next_step=f"shorten `revision` in {long.file}, and the name of the file with it",
    )
