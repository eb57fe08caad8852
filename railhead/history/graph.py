"""Which revisions are there, which builds on which, and what is wrong with that?

Knows nothing of Alembic, which reads the files, nor of a database.
"""

from __future__ import annotations

import importlib.util
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, cast

from railhead.errors import Stop
from railhead.history import manifest
from railhead.history.checksum import checksum_of, parsed
from railhead.history.files import as_text
from railhead.history.origin import Origin
from railhead.project import Project

if TYPE_CHECKING:
    import ast


PRE_DEPLOY, POST_DEPLOY = "pre-deploy", "post-deploy"
"""When a revision runs: before the application serves, or behind the open port."""


class Revision(NamedTuple):
    """A revision as its file says."""

    id: str
    parents: tuple[str, ...]
    path: Path
    message: str
    breaking: bool | None
    """What its author says (`breaking = False`), None when he says nothing."""
    accepted_hazards: dict[str, str]
    phase: str = PRE_DEPLOY
    """PRE_DEPLOY, or POST_DEPLOY for what no release waits for: see docs/deploying.md."""
    adopted: bool = False
    """Whether it is older than the first seal, so that it is not judged: other databases have had it for long."""

    @property
    def file(self) -> str:
        """The name of its file, as it is written."""
        return as_text(self.path.name)

    def is_breaking(self, sealed: manifest.SealedRevision | None) -> bool | None:
        """Tell whether the previous release stops working: as its author says, else as was `sealed`; None when nobody knows."""
        return self.breaking if self.breaking is not None else sealed.breaking if sealed else None


class History:
    """All revisions, parents first. Knows one path or a graph with branches and merges; never a fork of heads."""

    def __init__(self, project: Project, revisions: Sequence[Revision], problem: Stop | None = None) -> None:
        """`problem` is what is wrong with the files, for whoever only wants to know."""
        self.project = project
        self.by_id = {revision.id: revision for revision in revisions}
        self.problem = problem
        self.origin = Origin()

    def begun(self, origin: Origin) -> History:
        """Return the same history with this origin: the revisions that are older than the first seal are marked."""
        older = self.ancestors(revision for revision in (origin.adopted, origin.baseline) if revision)
        begun = History(
            self.project,
            [revision._replace(adopted=revision.id in older) for revision in self.by_id.values()],
            self.problem,
        )
        begun.origin = origin
        return begun

    @property
    def in_baseline(self) -> set[str]:
        """Return the ids of the revisions whose work the baseline does; none where there is no baseline."""
        return self.ancestors([self.origin.baseline]) if self.origin.baseline else set()

    @property
    def behind_baseline(self) -> list[Revision]:
        """Return what is left to do once the baseline is made, parents first; all where there is none."""
        done = self.in_baseline
        return [revision for revision in self.by_id.values() if revision.id not in done]

    @property
    def heads(self) -> tuple[str, ...]:
        """Return the ids that are nobody's parent, sorted."""
        parents = {parent for revision in self.by_id.values() for parent in revision.parents}
        return tuple(sorted(set(self.by_id) - parents))

    def ancestors(self, ids: Iterable[str]) -> set[str]:
        """Return these revisions and everything that they build on; ids that we do not have are left out."""
        reached: set[str] = set()
        todo = [revision for revision in ids if revision in self.by_id]
        while todo:
            revision = todo.pop()
            if revision not in reached:
                reached.add(revision)
                todo.extend(self.by_id[revision].parents)
        return reached

    def redundant(self, versions: Iterable[str]) -> tuple[str, ...]:
        """Return those of a database's versions that another of them builds on: whoever applied that should have replaced them."""
        held = set(versions)
        return tuple(sorted(version for version in held if version in self.ancestors(held - {version})))

    @property
    def settling(self) -> tuple[str, ...]:
        """Return the versions from which only post-deploy work leads to the head, newest first; none where there are branches on the way."""
        children = Counter(parent for revision in self.by_id.values() for parent in revision.parents)
        revision = self.by_id[self.heads[0]] if len(self.heads) == 1 else None
        places: list[str] = []
        while revision and revision.phase == POST_DEPLOY and len(revision.parents) == 1:
            (parent,) = revision.parents
            if children[parent] > 1:
                break
            places.append(parent)
            revision = self.by_id[parent]
        return tuple(places)

    def before_serving(self, ids: Sequence[str]) -> int:
        """Return how many of these revisions, parents first, run before the application serves: all up to the last pre-deploy one."""
        phases = [self.by_id[revision].phase if revision in self.by_id else PRE_DEPLOY for revision in ids]
        return max((place for place, phase in enumerate(phases, 1) if phase == PRE_DEPLOY), default=0)

    def out_of_order(self, ids: Iterable[str]) -> tuple[tuple[str, str], ...]:
        """Return each pre-deploy revision of these with the post-deploy one that it builds on and that a start has to do first because of that."""
        wanted = {revision: self.by_id[revision] for revision in ids if revision in self.by_id}
        late = {revision for revision, one in wanted.items() if one.phase == POST_DEPLOY}
        pairs = []
        for revision, one in wanted.items():
            first = next((before for before in wanted if before in late & self.ancestors(one.parents)), None)
            if one.phase == PRE_DEPLOY and first:
                pairs.append((revision, first))
        return tuple(pairs)

    def pending(self, current: Iterable[str]) -> list[Revision]:
        """Return what a database at `current` still lacks, parents first."""
        applied = self.ancestors(current)
        return [revision for revision in self.by_id.values() if revision.id not in applied]


def checksums_of(project: Project, revisions: Iterable[Revision]) -> dict[str, str | None]:
    """Return the checksum of each revision's file, from the manifest when every sealed file still has its bytes."""
    sealed = manifest.read(project.manifest)
    if sealed is not None and sealed.is_true(project.versions):
        return {entry.revision: entry.checksum for entry in sealed.entries}
    return {revision.id: checksum_of(revision.path) for revision in revisions}


def find(history: History, name: str) -> str:
    """Return the id of the revision that `name` means: an id, the beginning of one, or `head`. Raises Stop."""
    if name == "head" and len(history.heads) == 1:
        return history.heads[0]
    matches = [revision for revision in history.by_id if revision == name] or [
        revision for revision in history.by_id if revision.startswith(name)
    ]
    if len(matches) == 1:
        return matches[0]
    raise Stop(
        "unknown-revision",
        f"{'several revisions start with' if matches else 'there is no revision'} {name}",
        facts=[("newest", ", ".join(history.heads) or "none")],
        database="unchanged",
        next_step="alembic history",
        exit_code=2,
    )


def source_of(file: Path) -> str:
    """Return the text of a revision file as Python reads it, in whatever encoding it says that it has.

    A file that says nothing is in UTF-8, but Python does not mind what its comments hold.
    """
    content = file.read_bytes()
    try:
        return importlib.util.decode_source(content)
    except (SyntaxError, UnicodeDecodeError):
        return content.decode("utf-8", "replace")


def syntax(source: str) -> ast.Module:
    """Return the syntax tree of a revision's source. Raises SyntaxError; what else Python thinks of the code is told where it is loaded."""
    return cast("ast.Module", parsed(source))
