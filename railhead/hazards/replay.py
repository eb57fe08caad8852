"""What does a revision really do to PostgreSQL? Run once on a scratch database, with open eyes.

Forwards, backwards, forwards again, and once more after a crash at each point where one leaves something behind. No database
that is in use is touched.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from types import TracebackType
from typing import Self

import psycopg2
from alembic.config import Config
from alembic.runtime.migration import RevisionStep
from alembic.script import ScriptDirectory

from railhead.dsn import Dsn
from railhead.hazards import loss
from railhead.hazards.footprint import Footprint, Statement
from railhead.hazards.reversal import Reversal, in_short
from railhead.hazards.scratch_session import Stage
from railhead.hazards.tracer import Point, Tracer
from railhead.history import baseline, loader
from railhead.history.graph import History, Revision
from railhead.operations import verbs  # noqa: F401  registers the verbs that revisions use
from railhead.postgres import engine, failures
from railhead.postgres.connection import connect, fetch_all
from railhead.schema import diff
from railhead.schema.catalog import Catalog, read


class Failed(Exception):
    """A revision does not run on a scratch database that the ones before it have made."""

    def __init__(self, revision: Revision, error: Exception) -> None:
        super().__init__(f"{revision.id}: {in_short(error)}")
        self.revision = revision
        self.error = error

    @property
    def cause(self) -> BaseException:
        """Return the driver's error below SQLAlchemy's, or the error itself."""
        return getattr(self.error, "orig", None) or self.error

    @property
    def is_servers_own(self) -> bool:
        """Tell whether the server failed, so that nothing is known of the revision."""
        return failures.is_servers_own(self.cause)

    @property
    def told(self) -> str:
        """Return what happened, in one sentence with the server's own words."""
        words = failures.server_words(self.cause)
        if self.is_servers_own:
            return f"the server failed while {self.revision.id} was tried: {words}"
        return f"{self.revision.id} does not run on an empty database: {words}"


class Replay:
    """One scratch database, and Alembic at work in it."""

    def __init__(self, dsn: Dsn, config: Config, script: ScriptDirectory | None = None) -> None:
        self._dsn = dsn
        self._config = config
        engine.set_url(self._config, dsn)
        self._script = script or loaded(config)
        self._stage = Stage(dsn, config, self._script)
        self._table = self._stage.table
        self._before: Catalog | None = None

    def __enter__(self) -> Self:
        self._onlooker = connect(self._dsn, "railhead replay")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Leave the database."""
        self._stage.close()
        self._onlooker.close()

    def begin(self, history: History) -> None:
        """Make the baseline of a history that has one. Changes the schema. Raises Failed, and Stop when it is not what was sealed."""
        statements = baseline.stamped(history, self._table)
        if statements is None:
            return
        try:
            with self._onlooker.cursor() as cursor:
                cursor.execute(f"BEGIN; {statements}; COMMIT")
        except psycopg2.Error as error:
            raise Failed(history.by_id[str(history.origin.baseline)], error) from error

    def up(self, revisions: Sequence[Revision]) -> None:
        """Apply these revisions. Raises Failed."""
        if not revisions:
            return
        doing = iter(revisions)
        revision = next(doing, None)

        def steps() -> Iterator[RevisionStep]:
            nonlocal revision
            while revision is not None:
                yield self._step(revision, up=True)
                revision = next(doing, None)

        self._before = None
        if revision is not None:
            try:
                self._stage.run(steps())
            except Exception as error:
                assert revision is not None
                raise Failed(revision, error) from error

    def take_back(self, revisions: Sequence[Revision]) -> tuple[list[loss.Loss], list[Statement]]:
        """Take these revisions back; return what goes, under the names from before, and what each statement did. Raises Failed."""
        held, eyes = loss.held(self._onlooker), Tracer(self._onlooker)
        self._before = None
        try:
            self._stage.run([self._step(revision, up=False) for revision in revisions], eyes)
        except Exception as error:
            raise Failed(revisions[0], error) from error
        return self._lost(held, eyes), eyes.statements

    def _lost(self, held: Mapping[tuple[int, int], loss.Held], eyes: Tracer) -> list[loss.Loss]:
        return [*loss.losses(held, loss.held(self._onlooker)), *_emptied(eyes)]

    def catalog(self) -> Catalog:
        """Return the schema as it is now. Read-only."""
        return read(self._onlooker, often=True)

    def examine(self, revision: Revision, afresh: Callable[[], AbstractContextManager[Self]]) -> tuple[Footprint, bool]:
        """Apply a revision with open eyes, and back, and again. Tells also whether the database is spoilt by it.

        `afresh` gives another database that was never beyond the revision, for what has no way back.
        """
        before = self._before or self.catalog()
        held = loss.held(self._onlooker)
        eyes = Tracer(self._onlooker)
        try:
            self._stage.run([self._step(revision, up=True)], eyes)
        except Exception as error:
            raise Failed(revision, error) from error
        after = self.catalog()
        lost = self._lost(held, eyes)
        reversal = Reversal(
            self._stage, partial(self._step, revision, up=False), partial(self._step, revision, up=True), self.catalog
        )
        undone, spoilt = reversal.undone(before, after, leaves=any(statement.outside for statement in eyes.statements))
        doubled = eyes.doubled
        repeated = f"run again it writes the rows of {' '.join(doubled.split())[:60]!r} once more" if doubled else None
        for point in () if repeated else eyes.points:
            if not (spoilt or reversal.is_back()):
                spoilt = True
            repeated = self._not_survived(revision, after, point, None if spoilt else self, afresh)
            if repeated:
                spoilt = True
                break
        footprint = Footprint(
            revision.id, tuple(eyes.statements), before, after, eyes.tables, undone, repeated, tuple(lost)
        )
        self._before = None if spoilt else after
        return footprint, spoilt

    def _not_survived(
        self,
        revision: Revision,
        after: Catalog,
        point: Point,
        here: Self | None,
        afresh: Callable[[], AbstractContextManager[Self]],
    ) -> str | None:
        """Crash at a point and run the revision again from the top, `here` if that may be; return why that fails."""
        with nullcontext(here) if here else afresh() as replay:
            return replay.crash_and_repeat(revision, after, point)

    def crash_and_repeat(self, revision: Revision, after: Catalog, point: Point) -> str | None:
        """Return why a revision, run again from the top after a crash at a point, does not lead where it should."""
        where = f"run again after a crash {point}"
        try:
            self._crash(revision, point)
            if revision.id not in self._versions():
                self._stage.run([self._step(revision, up=True)])
        except Exception as error:
            return f"{where} it fails: {in_short(error)}"
        changes = diff.difference(after, self.catalog())
        if not changes:
            return None
        invalid = "INVALID" in (changes[0].after or "")
        return f"{where} it {'keeps an INVALID' if invalid else 'gives another'} {changes[0].object}"

    def _crash(self, revision: Revision, point: Point) -> None:
        """Begin a revision and leave the database as a crash at this point would."""
        eyes = Tracer(self._onlooker, crash_after=point.number)
        try:
            self._stage.run([self._step(revision, up=True)], eyes)
        except Exception:
            if len(eyes.statements) < point.number:  # it failed before it could crash
                raise
        if point.unfinished:
            with self._onlooker.cursor() as cursor:
                cursor.execute(_INVALID, (point.unfinished,))

    def _step(self, revision: Revision, *, up: bool) -> RevisionStep:
        script = self._script.get_revision(revision.id)
        assert script is not None
        return RevisionStep(self._script.revision_map, script, up)

    def _versions(self) -> set[str]:
        return {str(row[0]) for row in fetch_all(self._onlooker, f"SELECT version_num FROM {self._table.sql}")}


def loaded(config: Config) -> ScriptDirectory:
    """Return the revision files, all loaded."""
    script = ScriptDirectory.from_config(config)
    with loader.loading(script):
        script.get_heads()  # loads all files
    return script


def _emptied(eyes: Tracer) -> Iterator[loss.Loss]:
    for table in dict.fromkeys(table for statement in eyes.statements for table in statement.emptied):
        yield loss.Loss(table, "rows")


_INVALID = "UPDATE pg_index SET indisvalid = false WHERE indexrelid = (SELECT oid FROM pg_class WHERE relname = %s AND relkind = 'i')"
