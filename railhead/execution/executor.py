"""How are the steps carried out, one transaction each?

Each revision, its row in the ledger and its version are committed together, and only while the migration lock is ours.
Decides nothing about retries: it runs one attempt and says exactly what that left behind.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from typing import Self

import psycopg2
from psycopg2.extensions import TRANSACTION_STATUS_IDLE
from psycopg2.extensions import connection as Driver
from sqlalchemy import event
from sqlalchemy.engine import Connection

from railhead.diagnosis import refusals
from railhead.errors import Stop
from railhead.execution import recorder
from railhead.execution.provenance import Provenance
from railhead.history import checksum, manifest
from railhead.history.alembic_quirks import Heads
from railhead.history.env_file import target_metadata
from railhead.history.loader import no_garbage_collection
from railhead.history.planner import MigrationContext, MigrationPlan, MigrationStep
from railhead.logs import log
from railhead.postgres import engine, session_limits
from railhead.postgres.activity import Monitor
from railhead.postgres.advisory_lock import Lock
from railhead.postgres.connection import connect, fetch_value
from railhead.postgres.retry_budget import RetryBudget
from railhead.settings import Settings
from railhead.state import ledger

_SHOWS_VERSION = re.compile(r"alembic_version|\bcommit\b", re.IGNORECASE)
"""Found in a statement that reads the version, or that lets others read it: no revision may commit, but some do."""

_FORGETS = re.compile(r"\b(?:deallocate|discard)\b", re.IGNORECASE)
"""Found in a statement after which the session holds no prepared ones any more."""


class Executor:
    """Carries out the steps of one `Way` under one lock. A lost connection needs a new one."""

    def __init__(
        self,
        way: MigrationPlan,
        sealed: Mapping[str, manifest.SealedRevision],
        settings: Settings,
        lock: Lock,
        patience: RetryBudget,
        run: ledger.Run,
    ) -> None:
        """`sealed` are the manifest's lines for files that still mean what they say."""
        self.current: MigrationStep | None = None
        """The step that runs, or that failed."""
        self.left = False
        """Whether the current step has left its transaction, so that something may stay behind when it fails."""
        self.foreign = False
        """Whether the step failed with a connection of its own, while ours is well."""
        self.attempts = 0
        self.done: list[str] = []
        """The revisions whose transactions were committed, oldest first."""
        self.source: frozenset[str] | None = None
        """The versions that the database had when the step that runs, or that failed, began; None before that."""
        self._way = way
        self._sealed = sealed
        self._settings = settings
        self._dsn = settings.migrations.dsn
        self._lock = lock
        self._patience = patience
        self._run = run
        self._name = settings.migrations.session_name(way.action)
        self._metadata = target_metadata(way.environment.config, way.script)
        self.monitor = Monitor(self._dsn, self._name, pooled=lock.pooled, lock=lock.pid, left=lambda: patience.left)
        self._engine = engine.engine_of(self._dsn, self._session)
        self._provenance = Provenance(self._engine)
        self._began = 0.0
        self._committed = 0.0
        self._whole = False
        self._recorded = False
        self._rolled_back = False
        self._migrates = False
        """Whether the connection of this attempt is there, so that each further one is a revision's own."""
        self._prepared: bool | None = None
        """Whether the session holds the ledger's statement; None until it is wanted."""
        self._heads: frozenset[str] = frozenset()
        self._written: frozenset[str] = frozenset()
        self._unwritten: list[tuple[MigrationStep, float, float]] = []
        self._steps: list[MigrationStep] = []

    def __enter__(self) -> Self:
        self.monitor.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self.monitor.__exit__(None, None, None)
        self._engine.dispose()

    @property
    def uncommitted(self) -> float:
        """Return the seconds of work that are not committed, and that a failure would waste."""
        return time.monotonic() - self._committed

    @property
    def row(self) -> ledger.NewRow | None:
        """Return what the ledger is told of the step that runs, or that failed; None when it was none."""
        return self._row(self.current, self._began, time.monotonic() - self._began) if self.current else None

    def attempt(self, *, whole: bool) -> frozenset[str]:
        """Run the steps that are left and return the versions that the database has then. Changes the schema.

        `whole`: all of them in one transaction, which only a database without a table is free for. Raises what the
        driver, SQLAlchemy or a migration raises; then `current` is the step that failed, and `left` says whether it may
        have left something behind.
        """
        self.attempts += 1
        self._whole, self._unwritten, self.left, self.foreign = whole, [], False, False
        self._written = self._heads  # what the attempt before has not written is rolled back
        self.current = self.source = None
        self._committed = time.monotonic()
        self._rolled_back = self._migrates = False
        self.monitor.forget_blockers()
        environment = self._way.environment
        engine.set_url(environment.config, self._dsn)
        with no_garbage_collection(wanted=whole), self._engine.connect() as connection:
            self._watch(connection)
            environment.configure(
                connection=connection,
                target_metadata=self._metadata,
                transaction_per_migration=not whole,
                fn=self._run_steps,
                patience=self._patience,
                pooled=self._lock.pooled,
                fence=lambda: self._lock.assert_held(_driver(connection)),
                blockers=lambda: self.monitor.blockers,
                waited=lambda: self.monitor.waited,
                idle_timeout=self._settings.idle_timeout,
            )
            if connection.in_transaction():
                raise refusals.not_ours()
            with environment.begin_transaction():
                environment.run_migrations()
        if whole:
            self.done += [step.revision for step in self._steps]
        return self._heads

    def _run_steps(self, heads: tuple[str, ...], context: MigrationContext) -> Iterable[object]:
        """Run the steps from `heads` on, and leave none to Alembic, whose loop this is but for the version and the commits.

        Alembic's statement for the version takes as long as half of a revision. Where all steps share one transaction nobody
        sees the versions between them: only the last is written.
        """
        self._steps = self._way.steps(heads)
        self._heads = self._written = self.source = frozenset(heads)
        reckoned = Heads(context, heads)
        with ExitStack() as transaction:
            begun = False
            for step in self._steps:
                if not begun:
                    transaction.enter_context(context.begin_transaction(_per_migration=True))
                    begun = True
                self._run_step(step, reckoned)
                last = step is self._steps[-1]
                if last or not self._whole:
                    assert context.connection is not None
                    begun = not last and self._may_go_on(context.connection)
                    self._write(context.connection, "applied", commits=begun)
                    if not begun:
                        transaction.close()
                    self._end_step(step)
        self.current = None
        return ()

    def _run_step(self, step: MigrationStep, reckoned: Heads) -> None:
        self.current, self.left, self._recorded = step, False, False
        self._began = time.monotonic()
        if not self._whole:
            self._committed = self._began
        try:
            step.run.migration_fn()
        except (SystemExit, KeyboardInterrupt) as error:  # no success, and no signal: those come as Interrupted
            raise RuntimeError(f"the revision raised {error!r}").with_traceback(error.__traceback__) from None
        except Exception as error:
            self.foreign = self._provenance.is_foreign(error)
            raise
        reckoned.update_to_step(step.run)
        self._heads = frozenset(reckoned.heads)
        self._recorded = True
        self._unwritten.append((step, self._began, time.monotonic() - self._began))

    def _end_step(self, step: MigrationStep) -> None:
        """Take note that the transaction of a step was committed."""
        if self._whole:
            return
        log.info("%s: %s in %.0f ms", self._run.action, step.revision, (time.monotonic() - self._began) * 1000)
        self.done.append(step.revision)
        self.source = self._heads
        self._patience.succeed()

    def _may_go_on(self, connection: Connection) -> bool:
        """Tell whether the trip that commits may begin the next transaction, because nobody else has to know of either."""
        driver = _driver(connection)
        listeners = [*connection.dispatch.begin, *connection.dispatch.commit]
        is_plain = (driver.isolation_level, driver.readonly, driver.deferrable) == (None, None, None)
        is_watched = len(listeners) > 2 or connection.in_nested_transaction()  # two are ours
        return is_plain and not (is_watched or self.left or self._patience.misses)

    def _write(self, connection: Connection, outcome: str, *, commits: bool = False) -> None:
        """Write the version, and the ledger's rows of everything that this transaction will commit. Writes the ledger.

        `commits`: commits, too, and begins the next transaction, all in one trip. SQLAlchemy and the driver do not know of it, so that
        what a revision has made with them (a session, a cursor) does not end with its transaction.
        """
        driver = _driver(connection)
        self._assert_ours(driver)
        if not self._unwritten:
            return
        rows = [self._row(*one) for one in self._unwritten]
        with driver.cursor() as cursor:
            if self._prepared is None:
                recorder.prepare(cursor, self._lock, self._run, "applied")
                self._prepared = True
            try:
                recorder.write(
                    cursor,
                    self._lock,
                    self._run,
                    rows,
                    outcome,
                    self._heads,
                    first=(b"/* commit */ " if commits else b"") + recorder.moving(cursor, self._written, self._heads),
                    then=f"COMMIT; BEGIN; {self._opening(driver)}".encode() if commits else b"",
                    prepared=bool(self._prepared) and outcome == "applied",
                )
            except recorder.TransactionLost:
                raise self._stolen() from None
            except recorder.VersionMoved:
                raise refusals.moved(self._written) from None
            except recorder.RowsLost:
                raise refusals.not_recorded() from None
            except psycopg2.Error as error:
                if driver.closed:
                    connection.invalidate(error)  # else its rollback fails, and that is what would be told
                raise
        self._written = self._heads
        self._unwritten = []

    def _on_begin(self, connection: Connection) -> None:
        """SQLAlchemy begins a transaction: it is ours, and shows it as long as it lasts."""
        driver = _driver(connection)
        if driver.autocommit:
            return
        if self._rolled_back:
            raise self._stolen()
        with driver.cursor() as cursor:
            cursor.execute(self._opening(driver))

    def _opening(self, driver: Driver) -> str:
        """Return what is said first in each transaction: the limits, which the revision before may have changed, and our mark.

        For the whole session, so that they hold outside of transactions too; behind a transaction pooler that would leak to
        other clients, and they are set for the transaction.
        """
        local = "LOCAL " if self._lock.pooled else ""
        told = session_limits.statements(local, driver.server_version, self._patience.lock_timeout, self._settings)
        return f"{told}; {self._lock.brand()}"

    def _on_rollback(self, connection: Connection) -> None:  # noqa: ARG002
        """SQLAlchemy rolls back, which is how an attempt ends; one that goes on was rolled back by the migration itself."""
        self._rolled_back = True

    def _on_execute(self, connection: Connection, _cursor: object, statement: str, *_: object) -> None:
        """SQLAlchemy is about to execute: our transaction must still be there, and the version where somebody looks for it."""
        self.monitor.beat()
        driver = _driver(connection)
        if not driver.autocommit:
            self._assert_ours(driver)
        if self._prepared and _FORGETS.search(statement):
            self._prepared = False
        if self._written != self._heads and _SHOWS_VERSION.search(statement):
            with driver.cursor() as cursor:
                cursor.execute(recorder.moving(cursor, self._written, self._heads))
            self._written = self._heads

    def _assert_ours(self, driver: Driver) -> None:
        if driver.info.transaction_status == TRANSACTION_STATUS_IDLE:
            raise self._stolen()

    def _stolen(self) -> Stop:
        """Return the refusal of a migration that ended our transaction; what it did may be there or not."""
        self.left = True
        return refusals.stolen(self._way.history.by_id.get(self.current.revision) if self.current else None)

    def _on_commit(self, connection: Connection) -> None:
        """SQLAlchemy is about to commit. In the middle of a step that means: `autocommit_block` leaves the transaction."""
        if self.current is None or self._recorded:
            return
        if not _driver(connection).autocommit:  # inside the block each statement has committed itself
            self._leave(connection, self.current)

    def _leave(self, connection: Connection, step: MigrationStep) -> None:
        """Let a step leave its transaction, unless it has already changed something in it that could not be repeated."""
        driver = _driver(connection)
        revision = self._way.history.by_id[step.revision]
        accepted = self._whole or revision.adopted or "not-repeatable" in revision.accepted_hazards
        if not accepted and fetch_value(driver, "SELECT pg_current_xact_id_if_assigned() IS NOT NULL"):
            raise refusals.mixed(revision)
        self._write(connection, "applied")
        self.source = self._heads
        if not self.left:
            self._unwritten = [(step, self._began, 0.0)]
            self._write(connection, "started")
        else:
            self._lock.assert_held(driver)
        self.left = True
        self._prepared = False  # what runs outside a transaction may be DISCARD ALL
        self._committed = time.monotonic()

    def _row(self, step: MigrationStep, began: float, duration: float) -> ledger.NewRow:
        return ledger.NewRow(
            revision=step.revision,
            parent=step.parent,
            checksum=self._checksum(step),
            breaking=self._breaking(step),
            ago=time.monotonic() - began,
            duration=duration,
            waited=self._patience.spent,
            attempts=self.attempts,
        )

    def _checksum(self, step: MigrationStep) -> str | None:
        entry = self._sealed.get(step.revision)
        if entry is not None:
            return entry.checksum
        return checksum.checksum_of(step.path) if step.path else None

    def _breaking(self, step: MigrationStep) -> bool | None:
        revision = self._way.history.by_id.get(step.revision)
        return revision.is_breaking(self._sealed.get(step.revision)) if revision else None

    def _watch(self, connection: Connection) -> None:
        """Take the connection for the one that migrates. Others, which a revision opens of `op.get_bind().engine`, are its own."""
        self._migrates = True
        driver = _driver(connection)
        self._prepared = False if self._lock.pooled else None
        self._provenance.watch(connection, driver)
        self.monitor.watch(driver, driver.info.backend_pid, self._run.action)
        event.listen(connection, "begin", self._on_begin)
        event.listen(connection, "before_cursor_execute", self._on_execute)
        event.listen(connection, "commit", self._on_commit)
        event.listen(connection, "rollback", self._on_rollback)

    def _session(self) -> Driver:
        """Return a new connection. A second one stands in no lock queue for longer than the one that migrates. Read-only."""
        driver = connect(self._dsn, self._name)
        if self._migrates and not self._lock.pooled:
            told = session_limits.statements("", driver.server_version, self._patience.lock_timeout, self._settings)
            with driver.cursor() as cursor:
                cursor.execute(told)
        driver.autocommit = False
        return driver


def _driver(connection: Connection | None) -> Driver:
    """Return psycopg2's connection below SQLAlchemy's, for statements that SQLAlchemy must not see."""
    assert connection is not None
    driver = connection.connection.dbapi_connection
    assert driver is not None
    return driver  # type: ignore[return-value]  # SQLAlchemy's type is any driver's
