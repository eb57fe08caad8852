"""What does a revision really do to PostgreSQL? Run once on a scratch database, with open eyes.

Forwards, backwards, forwards again, and once more after a crash at each point where one leaves something behind. No database
that is in use is touched.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from types import TracebackType
from typing import Self

import alembic.context
import psycopg2
from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationContext, RevisionStep
from alembic.script import ScriptDirectory
from psycopg2 import errorcodes, sql
from psycopg2.extensions import TRANSACTION_STATUS_IDLE
from psycopg2.extensions import connection as Driver
from psycopg2.extensions import cursor as Cursor
from sqlalchemy import event
from sqlalchemy.engine import Connection
from sqlalchemy.pool import QueuePool

from railhead import nesting
from railhead.diagnosis import refusals
from railhead.dsn import Dsn
from railhead.hazards import loss
from railhead.hazards.footprint import Footprint
from railhead.hazards.tracer import Notices, Point, Tracer, notices
from railhead.history import baseline, loader
from railhead.history.env_file import target_metadata
from railhead.history.graph import History, Revision
from railhead.logs import log
from railhead.operations import verbs
from railhead.postgres import engine, failures
from railhead.postgres.connection import connect, fetch_all, fetch_value
from railhead.schema import diff
from railhead.schema.catalog import KEPT_PLAN, Catalog, read


class Failed(Exception):
    """A revision does not run on a scratch database that the ones before it have made."""

    def __init__(self, revision: Revision, error: Exception) -> None:
        super().__init__(f"{revision.id}: {_said(error)}")
        self.revision = revision
        self.error = error

    @property
    def cause(self) -> BaseException:
        """Return the driver's error below SQLAlchemy's, or the error itself."""
        return getattr(self.error, "orig", None) or self.error


class Replay:
    """One scratch database, and Alembic at work in it."""

    def __init__(self, dsn: Dsn, config: Config, script: ScriptDirectory | None = None) -> None:
        self._dsn = dsn
        self._config = config
        engine.set_url(self._config, dsn)
        self._script = script or loaded(config)
        self._metadata = target_metadata(self._config, self._script)
        self._eyes: Tracer | None = None
        self._before: Catalog | None = None
        self._examined: Revision | None = None
        self._together = False
        """Whether all that runs is to be rolled back, so that nobody may commit or look from another connection."""

    def __enter__(self) -> Self:
        self._onlooker = connect(self._dsn, "railhead replay")
        self._engine = engine.engine_of(self._dsn, self._session, QueuePool, pool_size=1, max_overflow=-1)
        # one is kept; a revision may open others of `op.get_bind().engine`
        event.listen(self._engine, "checkout", _as_new)
        event.listen(self._engine, "checkout", lambda *_: self._stay_together())
        event.listen(self._engine, "commit", lambda _: self._stay_together())
        event.listen(self._engine, "before_cursor_execute", self._probe)
        event.listen(self._engine, "after_cursor_execute", self._look)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Leave the database."""
        self._engine.dispose()
        self._onlooker.close()

    def begin(self, history: History) -> None:
        """Make the baseline of a history that has one. Changes the schema. Raises Failed, and Stop when it is not what was sealed."""
        statements = baseline.stamped(history)
        if statements is None:
            return
        try:
            with self._onlooker.cursor() as cursor:
                cursor.execute(f"BEGIN; {statements}; COMMIT")
        except psycopg2.Error as error:
            raise Failed(history.by_id[str(history.origin.baseline)], error) from error

    def up(self, wanted: Sequence[Revision]) -> None:
        """Apply these revisions. Raises Failed."""
        if not wanted:
            return
        doing = iter(wanted)
        one = next(doing, None)

        def steps() -> Iterator[RevisionStep]:
            nonlocal one
            while one is not None:
                yield self._step(one, up=True)
                one = next(doing, None)

        self._before = None
        if one is not None:
            try:
                self._run(steps())
            except Exception as error:
                assert one is not None
                raise Failed(one, error) from error

    def catalog(self) -> Catalog:
        """Return the schema as it is now. Read-only."""
        return read(self._onlooker, often=True)

    def examine(self, revision: Revision) -> tuple[Footprint, bool]:
        """Apply a revision with open eyes, and back, and again. Tells also whether the database is spoilt by it."""
        self._examined = revision
        before = self._before or self.catalog()
        held = loss.held(self._onlooker)
        eyes = Tracer(self._onlooker)
        try:
            self._run([self._step(revision, up=True)], eyes)
        except Exception as error:
            raise Failed(revision, error) from error
        after = self.catalog()
        lost = [*loss.losses(held, loss.held(self._onlooker)), *_emptied(eyes)]
        undone, spoilt = self._undone(revision, before, after, leaves=any(one.outside for one in eyes.statements))
        repeated = None
        if eyes.points and not spoilt:
            repeated, spoilt = self._repeated(revision, after, eyes.points)
        footprint = Footprint(
            revision.id, tuple(eyes.statements), before, after, eyes.tables, undone, repeated, tuple(lost)
        )
        self._before = None if spoilt else after
        return footprint, spoilt

    def _undone(self, revision: Revision, before: Catalog, after: Catalog, *, leaves: bool) -> tuple[str | None, bool]:
        """Return why the way back does not lead back, and whether the database is spoilt now."""
        if not leaves:
            with suppress(_NotTogether):
                return self._undone_together(revision, before, after), False
        try:
            self._run([self._step(revision, up=False)])
        except Exception as error:
            return _no_way_back(error), bool(diff.difference(after, self.catalog()))
        told = _left(before, self.catalog())
        try:
            self._run([self._step(revision, up=True)])
        except Exception as error:
            return told or _not_again(error), True
        again = diff.difference(after, self.catalog())
        return told or _another(again), bool(again)

    def _undone_together(self, revision: Revision, before: Catalog, after: Catalog) -> str | None:
        """Return why the way back does not lead back, tried in one transaction that is rolled back: nothing is spoilt.

        Raises _NotTogether where that cannot be seen inside one transaction.
        """
        told: list[str | None] = []
        going_up = False

        def there_and_back(context: MigrationContext) -> Iterator[RevisionStep]:
            nonlocal going_up
            assert context.connection is not None
            driver = _driver(context.connection)
            self._together = True
            yield self._step(revision, up=False)
            told.append(_left(before, read(driver, often=True)))
            if told[0]:
                raise _Enough
            if fetch_value(driver, "SET CONSTRAINTS ALL IMMEDIATE; RESET ALL; SELECT pg_my_temp_schema() <> 0"):
                raise _NotTogether  # a temporary table that goes with its transaction would be in the way
            going_up = True
            yield self._step(revision, up=True)
            told.append(_another(diff.difference(after, read(driver, often=True))))
            raise _Enough

        try:
            self._run_plan(lambda _, context: there_and_back(context), whole=True)
        except _Enough:
            pass
        except Exception as error:
            if _needs_a_commit(error):
                raise _NotTogether from error
            told.append(_not_again(error) if going_up else _no_way_back(error))
        finally:
            self._together = False
        return next((one for one in told if one), None)

    def _repeated(self, revision: Revision, after: Catalog, points: Sequence[Point]) -> tuple[str | None, bool]:
        """Crash at each point and run it again from the top; return why that fails, and whether all is spoilt."""
        for point in points:
            try:
                self._run([self._step(revision, up=False)])
            except Exception:
                return None, True  # without a way back there is nothing to repeat it on
            where = f"run again after a crash {point}"
            try:
                self._crash(revision, point)
                if revision.id not in self._versions():
                    self._run([self._step(revision, up=True)])
            except Exception as error:
                return f"{where} it fails: {_said(error)}", True
            left = diff.difference(after, self.catalog())
            if left:
                invalid = "INVALID" in (left[0].after or "")
                return f"{where} it {'keeps an INVALID' if invalid else 'gives another'} {left[0].object}", True
        return None, False

    def _crash(self, revision: Revision, point: Point) -> None:
        """Begin a revision and leave the database as a crash at this point would."""
        eyes = Tracer(self._onlooker, crash_after=point.number)
        try:
            self._run([self._step(revision, up=True)], eyes)
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

    def _run(self, steps: Iterable[RevisionStep], eyes: Tracer | None = None) -> None:
        def plan(_heads: object, _context: MigrationContext) -> Iterator[RevisionStep]:
            for step in steps:
                self._eyes = eyes
                yield step
                self._eyes = None

        self._run_plan(plan)

    def _run_plan(
        self, plan: Callable[[object, MigrationContext], Iterator[RevisionStep]], *, whole: bool = False
    ) -> None:
        try:
            with _quietly(), self._environment() as environment, self._engine.connect() as connection:
                environment.configure(
                    connection=connection,
                    target_metadata=self._metadata,
                    fn=plan,
                    transaction_per_migration=not whole,
                )
                with environment.begin_transaction():
                    environment.run_migrations()
        finally:
            self._eyes = None

    @contextmanager
    def _environment(self) -> Iterator[EnvironmentContext]:
        """Give an environment of Alembic's. Its proxy for revisions, `alembic.context`, cannot be installed twice."""
        environment = EnvironmentContext(self._config, self._script)
        is_called = hasattr(alembic.context, "config")  # by a command that Alembic runs
        with nesting.trying(self._dsn), nullcontext() if is_called else environment:
            yield environment

    def _session(self) -> Driver:
        driver = connect(self._dsn, "railhead replay")
        driver.notices = Notices()  # type: ignore[assignment]  # psycopg2 asks for nothing but `append`
        driver.autocommit = False
        return driver

    def _versions(self) -> set[str]:
        return {str(row[0]) for row in fetch_all(self._onlooker, "SELECT version_num FROM alembic_version")}

    def _stay_together(self) -> None:
        """Somebody commits, or asks for another connection."""
        if self._together:
            raise _NotTogether

    def _probe(
        self, connection: Connection, _cursor: object, statement: str, values: object, _context: object, many: bool
    ) -> None:
        if _ENDS.search(statement):
            self._stay_together()
        if self._eyes and "alembic_version" not in statement:
            self._eyes.probe(_driver(connection), statement, values, many=many)

    def _look(
        self, connection: Connection, cursor: Cursor, statement: str, _values: object, _context: object, _many: bool
    ) -> None:
        if self._eyes is None or "alembic_version" in statement:
            return
        driver = _driver(connection)
        if not driver.autocommit and driver.info.transaction_status == TRANSACTION_STATUS_IDLE:
            raise refusals.stolen(self._examined)
        self._eyes.look(driver, statement, (cursor.statusmessage or "").split(" ")[0])


def loaded(config: Config) -> ScriptDirectory:
    """Return the revision files, all loaded."""
    script = ScriptDirectory.from_config(config)
    with loader.loading(script):
        script.get_heads()  # loads all files
    return script


def _emptied(eyes: Tracer) -> Iterator[loss.Loss]:
    for table in dict.fromkeys(table for statement in eyes.statements for table in statement.emptied):
        yield loss.Loss(table, "rows")


class _Enough(Exception):
    """Everything was seen: rolls back what was tried."""


class _NotTogether(Exception):
    """What is to be seen cannot be seen inside one transaction."""


_ENDS = re.compile(r"\b(?:commit|rollback|abort|prepare\s+transaction)\b", re.IGNORECASE)
"""Found in a statement that may end its transaction."""


def _needs_a_commit(error: BaseException) -> bool:
    """Tell whether it is only for the one transaction that a way back and forth has failed."""
    cause = getattr(error, "orig", None) or error
    return isinstance(error, _NotTogether) or getattr(cause, "pgcode", None) in _ONLY_TOGETHER


_ONLY_TOGETHER = {
    errorcodes.UNSAFE_NEW_ENUM_VALUE_USAGE,
    errorcodes.OBJECT_IN_USE,  # a table has pending events of triggers
    errorcodes.LOCK_NOT_AVAILABLE,  # a connection of the revision's own waits for this one
}


def _no_way_back(error: Exception) -> str:
    return f"its downgrade fails: {_said(error)}"


def _not_again(error: Exception) -> str:
    return f"it cannot be applied again after its downgrade: {_said(error)}"


def _another(changes: Sequence[diff.Change]) -> str | None:
    return f"applied again it gives another {changes[0].object}" if changes else None


@contextmanager
def _quietly() -> Iterator[None]:
    """Inside, verbs do not tell how they get on, nor Python what it thinks of the code: on a scratch database that is no news."""
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with loader.without_warnings():
            yield
    finally:
        log.setLevel(level)


def _left(before: Catalog, now: Catalog) -> str | None:
    """Return what a downgrade leaves behind, None when it is nothing."""
    left = diff.difference(before, now)
    if not left:
        return None
    more = f" and {len(left) - 1} more" if len(left) > 1 else ""
    return f"its downgrade leaves {left[0].object} {left[0].kind}{more}"


def _as_new(driver: Driver, _record: object, _proxy: object) -> None:
    """Make a session as good as new, which a crash may have left in its transaction: a fifth of what a new one costs.

    As DISCARD ALL does, but that it keeps the plan for reading the catalog.
    """
    driver.rollback()
    driver.autocommit = True
    with driver.cursor() as cursor:
        if driver.info.transaction_status != TRANSACTION_STATUS_IDLE:
            cursor.execute("ROLLBACK")
        cursor.execute(_AS_NEW)
        for (name,) in cursor.fetchall():
            cursor.execute(sql.SQL("DEALLOCATE {}").format(sql.Identifier(name)))
    driver.autocommit = False
    notices(driver).taken()


_AS_NEW = f"""
CLOSE ALL; SET SESSION AUTHORIZATION DEFAULT; RESET ALL; UNLISTEN *; SELECT pg_advisory_unlock_all(); DISCARD TEMP; DISCARD SEQUENCES;
SET client_min_messages = debug1; SET synchronous_commit = off; SELECT name FROM pg_prepared_statements WHERE name <> '{KEPT_PLAN}'
"""


def _driver(connection: Connection) -> Driver:
    driver = connection.connection.dbapi_connection
    assert driver is not None
    return driver  # type: ignore[return-value]  # SQLAlchemy's type is any driver's


def _said(error: BaseException) -> str:
    cause = getattr(error, "orig", None) or error
    return failures.server_words(cause).splitlines()[0]


assert verbs.REPEATABLE  # importing it registers the verbs that revisions use

_INVALID = "UPDATE pg_index SET indisvalid = false WHERE indexrelid = (SELECT oid FROM pg_class WHERE relname = %s AND relkind = 'i')"
