"""How does a verb work outside the revision's transaction?

What blocks: in short transactions of its own, which give way and try again. What may wait as long as it takes: without a lock
timeout. Under `--sql` the same statements are written instead of run.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

import sqlalchemy as sa
from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from railhead.errors import Stop
from railhead.logs import log
from railhead.postgres import failures, session_limits
from railhead.postgres.quoting import escaped, qualified
from railhead.postgres.retry_budget import RetryBudget
from railhead.settings import Settings

Done = TypeVar("Done")

_WORKS: ContextVar[bool] = ContextVar("a verb works", default=False)

_ORPHANS = 10.0

_BUILDERS = (
    "SELECT pid FROM pg_locks JOIN pg_stat_activity USING (pid) WHERE relation = to_regclass(:table)"
    " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    " AND mode = 'ShareUpdateExclusiveLock' AND backend_type = 'client backend' AND pid <> pg_backend_pid()"
)
"""Who has, or waits for, the lock under which PostgreSQL works CONCURRENTLY; autovacuum, which gives way, is no client."""


_LOCKABLE = (
    "SELECT name FROM unnest(CAST(:names AS text[])) AS name JOIN pg_class c ON c.oid = to_regclass(name)"
    " WHERE relkind IN ('r', 'p') AND has_table_privilege(c.oid, 'UPDATE, DELETE, TRUNCATE')"
)
"""Those of the tables on which we may take a lock by itself; who may only refer to a table may not."""


class Table(NamedTuple):
    """A table as a migration names it; as text it is quoted."""

    name: str
    schema: str | None

    def __str__(self) -> str:
        return qualified(self.name, self.schema)


class Constraint(NamedTuple):
    """What PostgreSQL says of a constraint."""

    deferrable: bool
    deferred: bool


@dataclass(frozen=True, slots=True)
class Terms:
    """On which terms a run lets a revision work outside its transaction; those of no run are the defaults of the settings."""

    budget: RetryBudget = field(default_factory=lambda: RetryBudget(Settings().wait_lock, Settings().lock_timeout))
    pooled: bool = False
    """Whether a transaction pooler stands between us and the database."""
    fence: Callable[[], None] = lambda: None
    """Raises when nothing may be committed any more."""
    blockers: Callable[[], Sequence[object]] = list
    """Returns who was last seen in the way."""
    waited: Callable[[], float] = float
    """Returns for how many seconds statements have waited for locks."""
    idle_timeout: float | None = None
    rest: float = 0.0
    """How long a backfill rests after each batch, beside the time that this took; with any rest it waits for standbys, too."""


OPTION = "railhead"
"""Where Alembic's context carries the terms."""


class AutocommitSession:
    """The migration's connection while it is outside the revision's transaction, or the SQL script under `--sql`."""

    def __init__(self, context: MigrationContext) -> None:
        self.context = context
        self.as_sql = context.as_sql
        self._terms: Terms = context.opts.get(OPTION) or Terms()
        self._budget = self._terms.budget
        self._limited = self._budget.lock_timeout
        """For how many seconds the transaction at hand stands in the queue of a lock."""
        self.rest = self._terms.rest

    def execute(self, sql: str) -> None:
        """Run one statement, or write it."""
        self.context.impl.execute(_text(sql))

    def rows(self, sql: str, **values: object) -> list[tuple[object, ...]]:
        """Return what a query gives; nothing under `--sql`. Read-only."""
        if self.as_sql:
            return []
        assert self.context.connection is not None
        return [tuple(row) for row in self.context.connection.execute(sa.text(sql), values)]

    def short(self, *work: str | Callable[[], Done]) -> Done | None:
        """Do `work` in one transaction that gives way: short lock timeout, rolled back, tried again while patience lasts.

        Returns what the last callable in it returned.
        """

        def attempt() -> Done | None:
            with self._transaction():
                return _do(self.execute, work)

        return self._climb(attempt)

    def change(self, table: Table, *work: str | Callable[[], Done], beside: Sequence[str] = ()) -> Done | None:
        """Do `work` on a table as `short` does, once nobody else maintains it, nor the tables `beside` it that are locked too.

        For autovacuum and what works CONCURRENTLY it waits as long as patience lasts: the lock that waits for them blocks
        nobody who reads or writes, and autovacuum gives way only to who has waited for `deadlock_timeout`, a second.
        """
        tables = ", ".join(str(name) for (name,) in self.rows(_LOCKABLE, names=[str(table), *beside]))

        def attempt() -> Done | None:
            with self._transaction():
                if tables:
                    self._limit(self._budget.left)
                    self.execute(f"LOCK TABLE {tables} IN SHARE UPDATE EXCLUSIVE MODE")
                    self._limit(self._budget.lock_timeout)
                return _do(self.execute, work)

        return self._climb(attempt)

    def unhurried(self, *work: str | Callable[[], Done]) -> None:
        """Do `work`, which no transaction may surround, without a lock timeout: CONCURRENTLY blocks no traffic while it waits.

        Its waiting counts, though, and is ended when patience is: who watches the session sees to that. What it builds does not.
        """

        def attempt() -> None:
            waited = self._terms.waited()
            with self._no_lock_timeout():
                self._terms.fence()
                try:
                    _do(self.execute, work)
                finally:
                    self._budget.spend(self._terms.waited() - waited)

        self._climb(attempt)

    def wait_for_orphans(self, table: Table) -> None:
        """Return when nobody else builds or drops an index of the table concurrently, or after ten seconds. Read-only.

        The backend of a killed process goes on for up to half a second, and two at the same index end in a deadlock or
        in `tuple concurrently updated`. Asks again and again: to wait for the lock would be that deadlock.
        """
        deadline = time.monotonic() + _ORPHANS
        while self.rows(_BUILDERS, table=str(table)) and time.monotonic() < deadline:
            time.sleep(0.05)

    def constraint(self, table: Table, name: str) -> Constraint | None:
        """Return the constraint of that name, None when there is none. Read-only."""
        constraints = self.rows(
            "SELECT condeferrable, condeferred FROM pg_constraint"
            " WHERE conrelid = to_regclass(:table) AND conname = :name",
            table=str(table),
            name=name,
        )
        return Constraint(bool(constraints[0][0]), bool(constraints[0][1])) if constraints else None

    def referred(self, table: Table, name: str) -> list[str]:
        """Return the table that the foreign key of that name refers to; none when it is no foreign key. Read-only."""
        tables = self.rows(
            "SELECT confrelid::regclass::text FROM pg_constraint"
            " WHERE conrelid = to_regclass(:table) AND conname = :name AND contype = 'f'",
            table=str(table),
            name=name,
        )
        return [str(other) for (other,) in tables]

    def is_not_null(self, table: Table, column: str) -> bool:
        """Tell whether the column has a NOT NULL that holds for every row. Read-only.

        PostgreSQL 18 sets attnotnull for a NOT NULL that is NOT VALID, too: its row in pg_constraint tells.
        """
        columns = self.rows(
            "SELECT FROM pg_attribute a WHERE attrelid = to_regclass(:table) AND attname = :column AND attnotnull"
            " AND NOT EXISTS (SELECT FROM pg_constraint c WHERE conrelid = attrelid AND contype = 'n'"
            " AND conkey = ARRAY[attnum] AND NOT convalidated)",
            table=str(table),
            column=column,
        )
        return bool(columns)

    def _climb(self, attempt: Callable[[], Done]) -> Done:
        while True:
            began = time.monotonic()
            try:
                return attempt()
            except DBAPIError as error:
                missed = error.orig is not None and failures.is_lock_miss(error.orig)
                if not missed or self._budget.left <= 0:
                    raise
            log.info(
                "a lock was not to be had within %.0f ms; in the way: %s; trying again, for %.0f s more at most",
                self._limited * 1000,
                "; ".join(map(str, self._terms.blockers())) or "nobody any more",
                self._budget.left,
            )
            self._budget.miss(time.monotonic() - began)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self.execute("BEGIN")
        try:
            if not self.as_sql:
                self._limit(self._budget.lock_timeout)
                if (
                    self._terms.pooled and self._terms.idle_timeout
                ):  # what is said once for a session does not hold here
                    idle = f"SET LOCAL idle_in_transaction_session_timeout = {round(self._terms.idle_timeout * 1000)}"
                    self.execute(f"{idle}; {session_limits.COMMIT_HERE}")
            yield
            self._terms.fence()
            self.execute("COMMIT")
        except BaseException:
            self._try("ROLLBACK")
            raise

    def _limit(self, seconds: float) -> None:
        """Let this transaction wait no longer than that for each lock from here on."""
        self._limited = max(0.001, seconds)
        self.execute(f"SET LOCAL lock_timeout = '{round(self._limited * 1000)}ms'")

    @contextmanager
    def _no_lock_timeout(self) -> Iterator[None]:
        """Inside, waiting for a lock takes as long as it takes.

        Behind a transaction pooler nothing is set: it would reach other clients, and perhaps not this statement.
        """
        if self._terms.pooled:
            yield
            return
        before = self.rows("SELECT current_setting('lock_timeout')")
        again = f"SET lock_timeout = '{before[0][0]}'" if before else "RESET lock_timeout"
        self.execute("SET lock_timeout = 0")
        try:
            yield
        except BaseException:
            self._try(again)
            raise
        self.execute(again)

    def _try(self, sql: str) -> None:
        """Run a statement that puts things straight after a failure; that the connection is gone is no new failure."""
        try:
            self.execute(sql)
        except SQLAlchemyError:
            pass


@contextmanager
def autocommit(operations: Operations) -> Iterator[AutocommitSession]:
    """Leave the revision's transaction, and begin a new one afterwards.

    What fails inside is raised as it was: on a lost connection Alembic's way back fails too, and would hide the cause.
    """
    context = operations.get_context()
    cause: BaseException | None = None
    before = _WORKS.set(True)
    try:
        with context.autocommit_block():
            try:
                yield AutocommitSession(context)
            except BaseException as error:
                cause = error
                raise
    except BaseException as error:
        if cause is not None and error is not cause:
            raise cause from None
        raise
    finally:
        _WORKS.reset(before)


def is_working() -> bool:
    """Tell whether a verb works now outside the revision's transaction: whatever it does may be done again from the top."""
    return _WORKS.get()


@contextmanager
def undoing(undo: Callable[[], object]) -> Iterator[None]:
    """When what is inside fails, take back what led to it, if that is possible, and let the failure be told."""
    try:
        yield
    except (DBAPIError, Stop) as error:
        if not (isinstance(error, DBAPIError) and error.connection_invalidated):
            try:
                undo()
            except DBAPIError as another:
                log.warning("what was begun could not be taken back: %s", another.orig)
        raise


def _do(execute: Callable[[str], None], work: Sequence[str | Callable[[], Done]]) -> Done | None:
    done = None
    for piece in work:
        if isinstance(piece, str):
            execute(piece)
        else:
            done = piece()
    return done


def _text(sql: str) -> sa.TextClause:
    return sa.text(escaped(sql))
