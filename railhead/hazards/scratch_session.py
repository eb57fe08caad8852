"""How does Alembic work in a scratch database, under somebody's eyes?

Everything that a revision asks of its connection comes by here, and whatever it does to its transaction, its version is written.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext

import alembic.context
from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationContext, RevisionStep
from alembic.script import ScriptDirectory
from psycopg2 import sql
from psycopg2.extensions import TRANSACTION_STATUS_IDLE
from sqlalchemy import event
from sqlalchemy.pool import QueuePool

from railhead import nesting
from railhead.dsn import Dsn
from railhead.hazards.tracer import Notices, Tracer, notices
from railhead.history import env_file, loader
from railhead.history.alembic_quirks import follow
from railhead.history.env_file import target_metadata
from railhead.logs import log
from railhead.postgres import engine
from railhead.postgres.connection import connect_as
from railhead.postgres.observed import Observed, Observer, own
from railhead.postgres.sql_text import End
from railhead.project import VersionTable, version_table
from railhead.schema.catalog import KEPT_PLAN

Plan = Callable[[object, MigrationContext], Iterator[RevisionStep]]
"""Gives the steps, as Alembic's own function does."""


_SQLALCHEMYS = "show transaction isolation level"
"""What SQLAlchemy asks for itself."""


class NotTogether(Exception):
    """What is to be seen cannot be seen inside one transaction."""


class Stage(Observer):
    """The connections of one scratch database, and what is seen on them."""

    def __init__(self, dsn: Dsn, config: Config, script: ScriptDirectory) -> None:
        self.together = False
        """Whether all that runs is to be rolled back, so that nobody may commit or look from another connection."""
        self._dsn = dsn
        self._config = config
        self._script = script
        self._metadata = target_metadata(config, script)
        self._said = env_file.arguments(config, script)
        self.table = VersionTable(version_table().name)
        """Where the version is kept here: its schema may not be there."""
        self._engine = engine.engine_of(dsn, self._session, QueuePool, pool_size=1, max_overflow=-1)
        # one is kept; a revision may open others of `op.get_bind().engine`
        self._eyes: Tracer | None = None
        self._context: MigrationContext | None = None
        """Alembic's, while a revision works."""
        self._main: Observed | None = None
        self._ends_alone = False
        """Whether the end that is under way is that of a transaction begun by a verb, say, outside of the revision's."""
        self._unseen_end = False
        """Whether it did so through the driver, and the next statement tells whether that was an autocommit block."""
        event.listen(self._engine, "checkout", _as_new)
        event.listen(self._engine, "checkout", lambda *_: self._stay_together())
        event.listen(self._engine, "before_cursor_execute", lambda *_: self._follow())

    def close(self) -> None:
        """Leave the database."""
        self._engine.dispose()

    def run(self, steps: Iterable[RevisionStep], eyes: Tracer | None = None) -> None:
        """Carry out these steps, one transaction each. Raises what they raise."""
        self.play(lambda *_: iter(steps), eyes)

    def play(self, plan: Plan, eyes: Tracer | None = None, *, whole: bool = False) -> None:
        """Carry out what a plan gives, one transaction each, or one for the `whole`. Raises what its steps raise."""

        def steps(heads: object, context: MigrationContext) -> Iterator[RevisionStep]:
            for step in plan(heads, context):
                step.migration_fn = self._watched(step.migration_fn, context, eyes)
                yield step

        with (
            _quietly(),
            self._environment() as environment,
            self._said.around(),
            self._engine.connect() as connection,
        ):
            self._main = engine.driver_of(connection)
            environment.configure(
                connection=connection,
                target_metadata=self._metadata,
                version_table=self.table.name,
                fn=steps,
                transaction_per_migration=not whole,
            )
            with environment.begin_transaction():
                environment.run_migrations(**self._said.arguments)

    def _watched(
        self, work: Callable[..., None], context: MigrationContext, eyes: Tracer | None
    ) -> Callable[..., None]:
        def watched(**arguments: object) -> None:
            self._context, self._eyes, self._unseen_end = context, eyes, False
            try:
                work(**arguments)
                self._see_end()
            finally:
                self._context = self._eyes = None
            assert context.connection is not None
            engine.settle(context.connection)
            follow(context)

        return watched

    def before(self, connection: Observed, statement: str, values: object, *, many: bool) -> str | None:
        """See what a statement does that is a transaction of its own."""
        if self._is_alembics(statement):
            return None
        if connection is self._main:
            self._see_end()
        if self._eyes:
            self._eyes.probe(connection, statement, values, many=many)
        return None

    def after(self, connection: Observed, statement: str, tag: str) -> None:
        """See what it did."""
        if self._eyes and not self._is_alembics(statement):
            self._eyes.look(connection, statement, tag)

    def ending(self, connection: Observed, how: End, *, alone: bool) -> None:
        """Keep together what is to stay so."""
        del how, alone
        self._ends_alone = connection.autocommit
        if self._context:
            self._stay_together()

    def ended(self, connection: Observed, how: End, *, alone: bool) -> None:
        """See that the transaction is gone, unless it was one of another connection."""
        if self._context is None or connection is not self._main:
            return
        del alone
        if connection.is_loose or self._ends_alone:
            if self._eyes:
                self._eyes.look_at_end(connection, how)
        elif how == "COMMIT":
            self._unseen_end = True

    def _is_alembics(self, statement: str) -> bool:
        """Tell whether it is Alembic or SQLAlchemy that asks, for itself."""
        return statement == _SQLALCHEMYS or self.table.is_named_in(statement)

    def _see_end(self) -> None:
        """See an end that the driver was asked for, unless an autocommit block follows, whose statements tell it all."""
        seen, self._unseen_end = self._unseen_end, False
        if seen and self._eyes and self._main and not self._main.autocommit:
            self._eyes.look_at_end(self._main, "COMMIT")

    def _follow(self) -> None:
        """Let Alembic know the transaction that its connection is in, which may be another one by now."""
        if self._context and self._main and not self._main.autocommit:
            follow(self._context)

    def _stay_together(self) -> None:
        """Somebody commits, or asks for another connection."""
        if self.together:
            raise NotTogether

    @contextmanager
    def _environment(self) -> Iterator[EnvironmentContext]:
        """Give an environment of Alembic's. Its proxy for revisions, `alembic.context`, cannot be installed twice."""
        environment = EnvironmentContext(self._config, self._script)
        is_called = hasattr(alembic.context, "config")  # by a command that Alembic runs
        with nesting.trying(self._dsn), nullcontext() if is_called else environment:
            yield environment

    def _session(self) -> Observed:
        driver = connect_as(Observed, self._dsn, "railhead replay")
        driver.notices = Notices()  # type: ignore[assignment]  # psycopg2 asks for nothing but `append`
        driver.autocommit = False
        driver.observer = self
        return driver


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


def _as_new(driver: Observed, _record: object, _proxy: object) -> None:
    """Make a session as good as new, which a crash may have left in its transaction: a fifth of what a new one costs.

    As DISCARD ALL does, but that it keeps the plan for reading the catalog.
    """
    with driver.unobserved():
        driver.rollback()
        driver.autocommit = True
        cursor = own(driver)
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
