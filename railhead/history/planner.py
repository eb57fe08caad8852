"""Which steps lead where? (Drives Alembic.)

Reads the revision files and asks Alembic for plans. Runs nothing and never connects.
"""

from __future__ import annotations

import gc
import io
import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from alembic import command
from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import HeadMaintainer, MigrationContext, RevisionStep, StampStep
from alembic.script import Script, ScriptDirectory
from alembic.script.revision import CycleDetected, MultipleHeads, ResolutionError, RevisionError
from alembic.util import CommandError

from railhead.errors import Stop
from railhead.history import manifest
from railhead.history.graph import (
    History,
    Revision,
    bad_file,
    forked,
    line_of,
    no_function,
    no_history,
    too_long,
    twice,
    unknown_version,
)
from railhead.settings import ROOT

__all__ = [
    "EnvironmentContext",
    "MigrationContext",
    "Step",
    "Way",
    "call",
    "checksums",
    "config",
    "history",
    "offline",
    "translated",
]


def config(root: Path = ROOT) -> Config:
    """Return Alembic's configuration for the project in `root`."""
    return Config(root / "alembic.ini")


def history(script: ScriptDirectory | None = None) -> History:
    """Return the revisions on disk, each module loaded once. Its `problem` says what keeps them from being run."""
    script = script or ScriptDirectory.from_config(config())
    try:
        with _loading(script):
            found = [_revision(one) for one in script.walk_revisions("base", "heads")][::-1]
    except Stop as stop:
        return History([], stop)
    loaded = History(found)
    loaded.problem = forked(loaded) or too_long(loaded)
    return loaded


class Step(NamedTuple):
    """One move of the database: a revision applied, taken back or stamped."""

    revision: str
    parent: str | None
    source: frozenset[str]
    destination: frozenset[str]
    file: str | None
    run: RevisionStep | StampStep
    """Alembic's own step, only handed through."""


class Way:
    """One command that moves the database: where it wants to go, and by which steps."""

    def __init__(self, environment: EnvironmentContext) -> None:
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
        self._pinned: list[Step] | None = None
        self._plans: dict[tuple[str, ...], list[Step]] = {}
        assert context.script is not None
        self.script: ScriptDirectory = context.script
        self.history = history(self.script)

    @property
    def is_relative(self) -> bool:
        """Tell whether the target is a number of steps from where the database is (`+1`, `-1`)."""
        return bool(re.search(r"[+-]\d+$", self.target))

    def steps(self, heads: Iterable[str]) -> list[Step]:
        """Return the steps from `heads` to the target. A relative target is resolved once and then means the same place.

        Raises Stop(`unknown-revision`) when there is no such target or no way to it.
        """
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

    def _ask(self, heads: tuple[str, ...]) -> list[Step]:
        """Return Alembic's plan from `heads`, asked for once: with a thousand revisions each time costs 30 ms."""
        if self.problem:
            raise self.problem
        if heads not in self._plans:
            self._plans[heads] = self._asked(heads)
        return self._plans[heads]

    def _asked(self, heads: tuple[str, ...]) -> list[Step]:
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


class Heads(HeadMaintainer):
    """What Alembic makes of the heads with each step, without its statement for each."""

    def _insert_version(self, version: str) -> None:
        self.heads.add(version)

    def _delete_version(self, version: str) -> None:
        self.heads.remove(version)

    def _update_version(self, from_: str, to_: str) -> None:
        self.heads.remove(from_)
        self.heads.add(to_)


def offline(environment: EnvironmentContext) -> None:
    """Write the SQL of what was typed to standard output (`--sql`); touches no database."""
    environment.configure(
        url="postgresql+psycopg2://",
        literal_binds=True,
        transaction_per_migration=True,
        dialect_opts={"paramstyle": "named"},  # psycopg2's own style would double every percent sign
    )
    with translated(), environment.begin_transaction():
        try:
            environment.run_migrations()
        except (Stop, CommandError):
            raise
        except Exception as error:  # anybody's code, which met no database
            raise _needs_a_database(error, Path(environment.script.versions)) from error


def call(action: str, target: str, attributes: dict[str, object]) -> Config:
    """Run Alembic's own command, which comes back to us through migrations/env.py. Returns its configuration."""
    alembic_config = config()
    alembic_config.attributes.update(attributes)
    with translated(target=target):
        getattr(command, action)(alembic_config, target)
    return alembic_config


def downgrade_sql(steps: Sequence[Step]) -> list[str] | None:
    """Return the statements of these steps; None when they cannot be written without asking the database."""
    alembic_config, written = _on_paper()
    alembic_config.attributes["settings"] = None  # who calls wants an exception, not the end of the process
    script = ScriptDirectory.from_config(alembic_config)
    runs = [step.run for step in steps]
    environment = EnvironmentContext(
        alembic_config,
        script,
        fn=lambda _heads, _context: iter(runs),
        as_sql=True,
        starting_rev=tuple(steps[0].source),  # one head, or several: a history may have branches
    )
    try:
        with environment:
            script.run_env()
    except Exception:
        return None  # op.get_bind() gives nothing without a database, and what follows is anybody's code
    return [one for one in written.statements if one not in {"BEGIN", "COMMIT"}]


def upgrade_sql(revision: Revision) -> str | None:
    """Return the SQL of a revision; None when it cannot be written without asking the database."""
    if len(revision.parents) > 1:
        return None
    alembic_config, written = _on_paper()
    try:
        command.upgrade(alembic_config, f"{(*revision.parents, 'base')[0]}:{revision.id}", sql=True)
    except Exception:
        return None  # as above
    return ";\n".join(written.statements[1:-1]) or None  # between BEGIN and COMMIT


class _Paper(io.StringIO):
    """Takes SQL from Alembic, which writes statement by statement, and leaves out what is Alembic's own: remarks and its table."""

    def __init__(self) -> None:
        super().__init__()
        self.statements: list[str] = []

    def write(self, text: str) -> int:
        if not text.startswith("-- Running ") and "alembic_version" not in text:
            self.statements.append(text.strip().removesuffix(";").strip())
        return len(text)


def _on_paper() -> tuple[Config, _Paper]:
    alembic_config = config()
    alembic_config.output_buffer = written = _Paper()
    return alembic_config, written


@contextmanager
def no_garbage_collection(*, wanted: bool = True) -> Iterator[None]:
    """Inside, Python does not look for reference cycles: a tenth of a run with 1000 revisions, a fifth of `drift` with 500 tables."""
    before = gc.isenabled()
    if wanted:
        gc.disable()
    try:
        yield
    finally:
        if before:
            gc.enable()


@contextmanager
def translated(versions: Callable[[], tuple[str, ...]] = tuple, target: str = "") -> Iterator[None]:
    """Turn what Alembic raises inside into a Stop; `versions` tells what the database is at, if that is to be known."""
    try:
        yield
    except CommandError as error:
        raise _no_way(error, target, None, versions()) from error


def checksums(files: Mapping[str, str]) -> dict[str, str | None]:
    """Return the checksum of each revision's file, from the manifest when every sealed file still has its bytes."""
    sealed = manifest.read()
    if sealed is not None and sealed.is_true():
        return {entry.revision: entry.checksum for entry in sealed.entries}
    return {revision: manifest.checksum_of(manifest.FOLDER / file) for revision, file in files.items()}


def _revision(script: Script) -> Revision:
    module = script.module
    down = script.down_revision
    parents = () if down is None else (down,) if isinstance(down, str) else tuple(down)
    breaking, accepted = getattr(module, "breaking", None), getattr(module, "accepted_hazards", {})
    path = Path(script.path)
    if not isinstance(breaking, bool | None) or not isinstance(accepted, dict):
        wrong = TypeError("`breaking` must be True or False, `accepted_hazards` a dict with a reason for each hazard")
        raise bad_file(wrong, path.parent, path.name)
    return Revision(
        id=script.revision,
        parents=parents,
        file=path.name,
        message=(script.doc or "").strip(),
        breaking=breaking,
        accepted_hazards=dict(accepted),
    )


def _step(step: RevisionStep | StampStep, history: History) -> Step:
    info = step.info
    script = getattr(step, "revision", None)
    revisions, parents = info.up_revision_ids, info.down_revision_ids
    if isinstance(step, StampStep):  # whose own ids say only where it came from and where it leads
        revisions = info.destination_revision_ids
        parents = tuple(parent for one in revisions for parent in history.by_id[one].parents)
    return Step(
        revision=",".join(revisions) or "base",
        parent=",".join(parents) or None,
        source=frozenset(info.source_revision_ids),
        destination=frozenset(info.destination_revision_ids),
        file=Path(script.path).name if isinstance(script, Script) else None,
        run=step,
    )


def _action(plan: Callable[..., Iterable[RevisionStep | StampStep]]) -> str:
    return {"downgrade": "downgrade", "do_stamp": "stamp"}.get(plan.__name__, "upgrade")


@contextmanager
def _loading(script: ScriptDirectory) -> Iterator[None]:
    """Turn everything that can be wrong with revision files into a Stop that names them."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            yield
        except Stop:
            raise
        except (CycleDetected, RevisionError, CommandError) as error:
            raise no_history(str(error)) from error
        except KeyError as error:
            raise no_history(_first(caught) or f"the parent {error} does not exist") from error
        except (Exception, SystemExit) as error:
            raise bad_file(error, Path(script.versions)) from error
    several = [str(one.message) for one in caught if "more than once" in str(one.message)]
    if several:
        raise twice(several[0].split()[1])
    if caught:
        raise no_history(_first(caught))


def _first(caught: list[warnings.WarningMessage]) -> str:
    return str(caught[0].message) if caught else ""


def _needs_a_database(error: Exception, folder: Path) -> Stop:
    place = line_of(error, folder) or "a revision"
    return Stop(
        "needs-a-database",
        "a revision asks the database, so that its SQL cannot be written without one",
        facts=[("file", f"migrations/versions/{place}"), ("Python", f"{type(error).__name__}: {error}")],
        database="not touched",
        next_step="write the SQL of the others, from one revision to another:\nalembic upgrade FROM:TO --sql",
    )


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
        return unknown_version(versions)
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
