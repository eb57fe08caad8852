"""Which steps lead where? (Drives Alembic.)

Reads the revision files and asks Alembic for plans. Runs nothing and never connects.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from alembic import command
from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationContext, RevisionStep, StampStep
from alembic.script import Script, ScriptDirectory
from alembic.script.revision import MultipleHeads, ResolutionError
from alembic.util import CommandError

from railhead.errors import Stop
from railhead.history import env_file
from railhead.history.config_attributes import Attribute
from railhead.history.errors import forked, no_function, no_history, runs_nothing, unknown_version
from railhead.history.graph import History
from railhead.history.loader import config, history
from railhead.project import Project
from railhead.settings import Settings

__all__ = [
    "EnvironmentContext",
    "MigrationContext",
    "MigrationPlan",
    "MigrationStep",
    "call",
    "config",
    "history",
    "translated",
]


class MigrationStep(NamedTuple):
    """One move of the database: a revision applied, taken back or stamped."""

    revision: str
    parent: str | None
    source: frozenset[str]
    destination: frozenset[str]
    path: Path | None
    """The revision's file; None when the step is none of a file's."""
    run: RevisionStep | StampStep
    """Alembic's own step, only handed through."""

    @property
    def file(self) -> str | None:
        """The name of the revision's file."""
        return self.path.name if self.path else None


class MigrationPlan:
    """One command that moves the database: where it wants to go, and by which steps."""

    def __init__(self, environment: EnvironmentContext, project: Project) -> None:
        """Read the command from Alembic's environment, which needs no connection for that."""
        environment.configure(url="postgresql+psycopg2://")
        context = environment.get_context()
        options = context.opts
        self.environment = environment
        self._context = context
        self._plan: Callable[..., Iterable[RevisionStep | StampStep]] = options["fn"]
        self.purge = bool(options.get("purge"))
        self.moves = "destination_rev" in options
        """Whether the command moves the database: upgrade, downgrade and stamp do, all others only read.

        Not documented by Alembic; a test pins it.
        """
        target = options["destination_rev"] if self.moves else ""
        self.target = target if isinstance(target, str) else ", ".join(target)
        self.action = _action(self._plan)
        errand = ERRAND.get(environment.config)
        self._before_serving = errand is not None and errand.before_serving
        self._pinned: list[MigrationStep] | None = None
        self._plans: dict[tuple[str, ...], list[MigrationStep]] = {}
        assert context.script is not None
        self.script: ScriptDirectory = context.script
        self.history = history(project, self.script)

    @property
    def is_relative(self) -> bool:
        """Tell whether the target is a number of steps from where the database is (`+1`, `-1`)."""
        return bool(re.search(r"[+-]\d+$", self.target))

    def steps(self, heads: Iterable[str]) -> list[MigrationStep]:
        """Return the steps from `heads` to the target. A relative target is resolved once and then means the same place.

        Before the application serves, post-deploy work that no pre-deploy revision builds on is left out. Raises Stop(`unknown-revision`) when there is no such target or no way to it.
        """
        plan = self._steps(heads)
        if (
            not self._before_serving or not heads
        ):  # a database that begins has no release to serve meanwhile, and no rows
            return plan
        return plan[: self.history.before_serving([step.revision for step in plan])]

    def _steps(self, heads: Iterable[str]) -> list[MigrationStep]:
        current = frozenset(heads)
        if self._pinned is None or not self.is_relative:
            plan = self._ask(tuple(sorted(current)))
            if self.is_relative:
                self._pinned = plan
            return plan
        starts = (index for index, step in enumerate(self._pinned) if step.source == current)
        index = next(starts, None)
        return [] if index is None else self._pinned[index:]

    @property
    def obstacle(self) -> Stop | None:
        """What keeps a command that only reads from its work.

        With two heads the history can still be read, and merged; a new revision (and `check`, which tries one) needs to
        know which of them it follows.
        """
        problem = self.history.problem
        if problem is None or len(self.history.heads) < 2:
            return problem
        proposal = self._context.opts.get("revision_context")
        return problem if proposal is not None and proposal.command_args["head"] in {None, "head"} else None

    @property
    def problem(self) -> Stop | None:
        """What keeps the database from being moved. A fork is in the way of every command but the one that leads back before it."""
        problem = self.history.problem
        return None if problem and self.action == "downgrade" and len(self.history.heads) > 1 else problem

    def moved_elsewhere(self, heads: Iterable[str]) -> bool:
        """Tell whether the database left the path of a relative target, so that nobody knows any more where it leads."""
        if not self.is_relative or not self._pinned:
            return False
        places = {step.source for step in self._pinned} | {self._pinned[-1].destination}
        return frozenset(heads) not in places

    def _ask(self, heads: tuple[str, ...]) -> list[MigrationStep]:
        """Return Alembic's plan from `heads`, asked for once: with a thousand revisions each time costs 30 ms."""
        if self.problem:
            raise self.problem
        if heads not in self._plans:
            self._plans[heads] = self._asked(heads)
        return self._plans[heads]

    def _asked(self, heads: tuple[str, ...]) -> list[MigrationStep]:
        try:
            return [_step(step, self.history) for step in self._plan(heads, self._context)]
        except CommandError as error:
            raise _no_way(error, self.target, self.history, heads) from error
        except AssertionError as error:  # Alembic's answer to targets such as head+1
            raise _no_way(CommandError(f"{self.target} leads nowhere"), self.target, self.history, heads) from error
        except AttributeError as error:  # Alembic's step takes the function out of the revision's module
            if error.name not in {"upgrade", "downgrade"}:
                raise
            raise no_function(error.obj, error.name) from error


class Errand(NamedTuple):
    """What env.py is asked for by a caller, who wants failures raised. Typed by hand, there is none."""

    settings: Settings | None = None
    """None: only the SQL is wanted."""
    only_plan: bool = False
    """Whether nothing is to be moved, and only the steps are wanted."""
    before_serving: bool = False
    """Whether post-deploy work at the end of the way is left out."""


ERRAND: Attribute[Errand] = Attribute("errand")


def call(project: Project, action: str, target: str, errand: Errand) -> Config:
    """Run Alembic's own command, which comes back to us through migrations/env.py. Returns its configuration."""
    alembic_config = config(project)
    ERRAND.put(alembic_config, errand)
    with translated(target=target), env_file.running(project.scripts / "env.py"):
        getattr(command, action)(alembic_config, target)
    return alembic_config


@contextmanager
def translated(versions: Callable[[], tuple[str, ...]] = tuple, target: str = "") -> Iterator[None]:
    """Turn what Alembic raises inside into a Stop; `versions` tells what the database is at, if that is to be known."""
    try:
        yield
    except CommandError as error:
        raise _no_way(error, target, None, versions()) from error


def _step(step: RevisionStep | StampStep, history: History) -> MigrationStep:
    info = step.info
    script = getattr(step, "revision", None)
    if isinstance(script, Script) and (refusal := runs_nothing(step.migration_fn, Path(script.path).name)):
        raise refusal
    revisions, parents = info.up_revision_ids, info.down_revision_ids
    if isinstance(step, StampStep):  # whose own ids say only where it came from and where it leads
        revisions = info.destination_revision_ids
        parents = tuple(parent for one in revisions for parent in history.by_id[one].parents)
    return MigrationStep(
        revision=",".join(revisions) or "base",
        parent=",".join(parents) or None,
        source=frozenset(info.source_revision_ids),
        destination=frozenset(info.destination_revision_ids),
        path=Path(script.path) if isinstance(script, Script) else None,
        run=step,
    )


def _action(plan: Callable[..., Iterable[RevisionStep | StampStep]]) -> str:
    return {"downgrade": "downgrade", "do_stamp": "stamp"}.get(plan.__name__, "upgrade")


def _no_way(error: CommandError, target: str, found: History | None, versions: tuple[str, ...] = ()) -> Stop:
    cause = error.__cause__
    text = str(error).strip()
    if isinstance(cause, MultipleHeads):
        return (found and forked(found)) or no_history(text)
    if "not up to date" in text:
        return Stop(
            "not-at-head",
            "the database is not at head, so there is nothing to compare models.py with",
            database="unchanged",
            next_step="alembic upgrade head",
        )
    if isinstance(cause, ResolutionError) and cause.argument in versions:
        return unknown_version(versions, ours=[one for one in versions if found and one in found.by_id])
    redundant = found.redundant(versions) if found else ()
    if redundant:
        return unknown_version(versions, redundant=redundant)
    headline, text = _refusal(cause, text, target)
    last = max(found.by_id, default="") if found else ""
    return Stop(
        "unknown-revision",
        headline,
        facts=[("Alembic", text), *([("newest", last)] if last else [])],
        database="unchanged",
        next_step="alembic history",
        exit_code=2,
    )


def _refusal(cause: BaseException | None, text: str, target: str) -> tuple[str, str]:
    """Return in our words and in Alembic's why it does not know where to go."""
    if isinstance(cause, ResolutionError):
        told = str(cause)
        several = "Multiple revisions" in told
        return f"{'several revisions start with' if several else 'there is no revision'} {cause.argument}", told
    if "didn't produce" in text:
        return f"there is no revision at {target} from where the database is", text
    return f"there is no way to {target}" if target else "Alembic refuses", text
