"""How are the steps carried out, one transaction each?

Each revision, its row in the ledger and its version are committed together, and only while the migration lock is ours.
Decides nothing about retries: it runs one attempt and says exactly what that left behind.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Mapping
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
from railhead.execution.mending import HalfDone
from railhead.execution.migration_session import MigrationSession
from railhead.execution.provenance import Provenance
from railhead.execution.step_rows import StepRows
from railhead.execution.step_transaction import IS_ASSIGNED, Keeper, NeedsItsOwn, StepTransaction
from railhead.hazards import gate, rules
from railhead.history import env_file, manifest
from railhead.history.alembic_quirks import Heads, follow, one_each
from railhead.history.env_file import target_metadata
from railhead.history.graph import Revision
from railhead.history.loader import no_garbage_collection
from railhead.history.planner import MigrationContext, MigrationPlan, MigrationStep
from railhead.logs import log
from railhead.postgres import engine, interrupts
from railhead.postgres.advisory_lock import Lock
from railhead.postgres.connection import fetch_value
from railhead.postgres.engine import driver_of
from railhead.postgres.observed import Observed, own
from railhead.postgres.retry_budget import RetryBudget
from railhead.project import version_table
from railhead.settings import Settings
from railhead.state import ledger

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
        *,
        lenient: Callable[[], bool],
    ) -> None:
        """`sealed` are the manifest's lines for files that still mean what they say. `lenient`: asks whether there is nothing yet that a crash could harm."""
        self.current: MigrationStep | None = None
        """The step that runs, or that failed."""
        self.foreign = False
        """Whether the step failed with a connection of its own, while ours is well."""
        self.mends: str | None = None
        """The revision that an earlier run has left half done."""
        self.attempts = 0
        self.done: list[str] = []
        """The revisions whose transactions were committed, oldest first."""
        self.source: frozenset[str] | None = None
        """The versions that the database had when the step that runs, or that failed, began; None before that."""
        self._way = way
        self._sealed = sealed
        self._rows = StepRows(way, sealed, patience)
        self._idle_timeout = settings.idle_timeout
        self._dsn = settings.migrations.dsn
        self._lock = lock
        self._patience = patience
        self._run = run
        self._lenient = lenient
        name = settings.migrations.session_name(way.action)
        self._metadata = target_metadata(way.environment.config, way.script)
        self._arguments = env_file.arguments(way.environment.config, way.script).arguments
        self._engine = engine.engine_of(self._dsn, self._open)
        self._provenance = Provenance(self._engine)
        self._began = 0.0
        self._committed = 0.0
        self.whole = False
        self._session = MigrationSession(settings, name, lock, patience)
        self.monitor = self._session.monitor()
        self._transaction = StepTransaction(
            Keeper(
                self._session.opening,
                lambda: self.whole,
                self._assert_may_leave,
                lambda: refusals.undone(self._revision),
                self._leave,
            )
        )
        self._migrates = False
        """Whether the connection of this attempt is there, so that each further one is a revision's own."""
        self._prepared: bool | None = None
        """Whether the session holds the ledger's statement; None until it is wanted."""
        self._heads: frozenset[str] = frozenset()
        self._written: frozenset[str] = frozenset()
        self._unwritten: list[tuple[MigrationStep, float, float]] = []
        self._steps: list[MigrationStep] = []
        self._context: MigrationContext
        self._level: int | None = None
        """The isolation level that the driver came with."""

    def __enter__(self) -> Self:
        self.monitor.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self.monitor.__exit__(None, None, None)
        self._engine.dispose()

    @property
    def left(self) -> bool:
        """Tell whether the current step has left its transaction, so that something may stay behind when it fails."""
        return self._transaction.left

    @property
    def has_others(self) -> bool:
        """Tell whether the step that failed has others before it that are not committed."""
        return bool(self._unwritten)

    @property
    def uncommitted(self) -> float:
        """Return the seconds of work that are not committed, and that a failure would waste."""
        return time.monotonic() - self._committed

    @property
    def row(self) -> ledger.NewRow | None:
        """Return what the ledger is told of the step that runs, or that failed; None when it was none."""
        if self.current is None:
            return None
        return self._rows.row(self.current, self._began, time.monotonic() - self._began, self.attempts)

    def attempt(self, *, whole: bool) -> frozenset[str]:
        """Run the steps that are left and return the versions that the database has then. Changes the schema.

        `whole`: all of them in one transaction, which only a database without a table is free for. Raises what the
        driver, SQLAlchemy or a migration raises; then `current` is the step that failed, and `left` says whether it may
        have left something behind.
        """
        self.attempts += 1
        self.whole, self._unwritten, self.foreign = whole, [], False
        self._transaction.left = False
        self._written = self._heads  # what the attempt before has not written is rolled back
        self.current = self.source = None
        self._committed = time.monotonic()
        self._migrates = False
        self.monitor.forget_blockers()
        environment = self._way.environment
        engine.set_url(environment.config, self._dsn)
        with no_garbage_collection(wanted=whole), self._engine.connect() as connection:
            self._watch(connection)
            environment.configure(
                connection=connection,
                target_metadata=self._metadata,
                **env_file.kept_in(),
                transaction_per_migration=not whole,
                fn=self._run_steps,
                patience=self._patience,
                pooled=self._lock.pooled,
                fence=lambda: self._lock.assert_held(driver_of(connection)),
                blockers=lambda: self.monitor.blockers,
                waited=lambda: self.monitor.waited,
                idle_timeout=self._idle_timeout,
            )
            if connection.in_transaction():
                raise refusals.not_ours()
            with environment.begin_transaction():
                environment.run_migrations(**self._arguments)
        if self.whole:
            self.done += [step.revision for step in self._steps]
        return self._heads

    def _run_steps(self, heads: tuple[str, ...], context: MigrationContext) -> Iterable[object]:
        """Run the steps from `heads` on, and leave none to Alembic, whose loop this is but for the version and the commits.

        Alembic's statement for the version takes as long as half of a revision. Where all steps share one transaction nobody
        sees the versions between them: only the last is written.
        """
        self._steps = self._way.steps(heads)
        self._context = context
        self._heads = self._written = self.source = frozenset(heads)
        reckoned = Heads(context, heads)
        with ExitStack() as transaction:
            begun = False
            for step in self._steps:
                if not begun:
                    transaction.enter_context(context.begin_transaction(_per_migration=True))
                    begun = True
                self._run_step(step, reckoned)
                if self._transaction.touched:
                    self._session.gather(context)
                if self.whole and self.left:
                    self.whole = False
                    log.info(
                        "%s: %s left the transaction for all; those behind it get one each",
                        self._run.action,
                        step.revision,
                    )
                    transaction.enter_context(one_each(context))
                last = step is self._steps[-1]
                if last or not self.whole:
                    assert context.connection is not None
                    begun = not last and self._may_go_on(context.connection)
                    self._write(context.connection, "applied", commits=begun)
                    if not begun:
                        transaction.close()
                        self._restore(context.connection)
                    self._end_step(step)
        self.current = None
        return ()

    def _run_step(self, step: MigrationStep, reckoned: Heads) -> None:
        self.current = step
        self._began = time.monotonic()
        if not self.whole:
            self._committed = self._began
        assert self._context.connection is not None
        driver = driver_of(self._context.connection)
        self._transaction.begin(driver, mends=step.revision == self.mends)
        try:
            step.run.migration_fn(**self._arguments)
        except (SystemExit, KeyboardInterrupt) as error:  # no success, and no signal: those come as Interrupted
            raise RuntimeError(f"the revision raised {error!r}").with_traceback(error.__traceback__) from None
        except Exception as error:
            self.foreign = self._provenance.is_foreign(error)
            raise
        finally:
            self._transaction.end(driver)
        if not self._transaction.touched:
            self._assert_ours(driver)  # now, so that the next step is not blamed
        reckoned.update_to_step(step.run)
        self._heads = frozenset(reckoned.heads)
        self._unwritten.append((step, self._began, time.monotonic() - self._began))

    def _restore(self, connection: Connection) -> None:
        """Let the driver begin transactions as it did before a step worked without one."""
        driver = driver_of(connection)
        if driver.isolation_level != self._level:
            driver.isolation_level = self._level

    def _end_step(self, step: MigrationStep) -> None:
        """Take note that the transaction of a step was committed."""
        if self.whole:
            return
        log.info("%s: %s in %.0f ms", self._run.action, step.revision, (time.monotonic() - self._began) * 1000)
        self.done.append(step.revision)
        self.source = self._heads
        self._patience.succeed()
        interrupts.assert_undisturbed()  # the server says that nobody waits for the replica any more, and the driver was decoding that

    def _may_go_on(self, connection: Connection) -> bool:
        """Tell whether the trip that commits may begin the next transaction, because nobody else has to know of either."""
        driver = driver_of(connection)
        listeners = [*connection.dispatch.begin, *connection.dispatch.commit]
        is_plain = (driver.isolation_level, driver.readonly, driver.deferrable) == (None, None, None)
        is_watched = len(listeners) > 1 or connection.in_nested_transaction()  # one is ours
        return is_plain and not (is_watched or self._transaction.touched or self._patience.misses)

    def _write(self, connection: Connection, outcome: str, *, commits: bool = False) -> None:
        """Write the version, and the ledger's rows of everything that this transaction will commit. Writes the ledger.

        `commits`: commits, too, and begins the next transaction, all in one trip. SQLAlchemy and the driver do not know of it, so that
        what a revision has made with them (a session, a cursor) does not end with its transaction.
        """
        driver = driver_of(connection)
        self._assert_ours(driver)
        if not self._unwritten:
            return
        rows = [self._rows.row(*step, self.attempts) for step in self._unwritten]
        with own(driver) as cursor:
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
                    then=f"COMMIT; BEGIN; {self._session.opening(driver)}".encode() if commits else b"",
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
        driver = driver_of(connection)
        if not driver.autocommit:
            own(driver).execute(self._session.opening(driver))

    def _on_execute(self, connection: Connection, _cursor: object, statement: str, *_: object) -> None:
        """SQLAlchemy is about to execute: our transaction must still be there, and the version where somebody looks for it."""
        self.monitor.beat()
        driver = driver_of(connection)
        if self._transaction.touched and not driver.autocommit:
            follow(self._context)
        elif not driver.autocommit:
            self._assert_ours(driver)
        if self._prepared and _FORGETS.search(statement):
            self._prepared = False
        if self._written != self._heads and version_table().is_named_in(statement):
            cursor = own(driver)
            cursor.execute(recorder.moving(cursor, self._written, self._heads))
            self._written = self._heads

    def _assert_ours(self, driver: Driver) -> None:
        if driver.info.transaction_status == TRANSACTION_STATUS_IDLE:
            raise self._stolen()

    def _stolen(self) -> Stop:
        """Return the refusal of a migration that ended our transaction unheard; what it did may be there or not."""
        self._transaction.left = True
        return refusals.stolen(self._revision)

    @property
    def _revision(self) -> Revision | None:
        return self._way.history.by_id.get(self.current.revision) if self.current else None

    def _assert_may_leave(self, alone: bool) -> None:
        """Raise Stop when the step has changed something that could not be repeated, or, `alone`, is about to."""
        revision = self._revision
        assert revision is not None
        is_proven = self._run.action == "upgrade" and gate.is_repeatable(revision, self._sealed)
        if is_proven or self._lenient() or rules.accepted(revision, gate.NOT_REPEATABLE):
            return
        assert self._context.connection is not None
        if fetch_value(driver_of(self._context.connection), IS_ASSIGNED):
            raise refusals.mixed(revision)
        if alone:
            raise refusals.unrepeatable(revision)

    def _leave(self) -> None:
        """Write what came before the step that leaves its transaction, and that it has begun."""
        connection = self._context.connection
        assert connection is not None
        assert self.current is not None
        if self.left:
            self._lock.assert_held(driver_of(connection))
            return
        if self.is_half_done(driver_of(connection)):
            raise HalfDone("it was left half done")
        self._write(connection, "applied")
        self.done += [
            step.revision for step in self._steps[: self._steps.index(self.current)] if step.revision not in self.done
        ]
        self.source = self._heads
        self._unwritten = [(self.current, self._began, 0.0)]
        self._write(connection, "started")
        self._prepared = False  # what runs outside a transaction may be DISCARD ALL
        self._committed = time.monotonic()

    def is_half_done(self, asking: Driver) -> bool:
        """Tell whether an earlier run has left the step half done, with the same file, and nobody mends it yet. Read-only."""
        if self.current is None or self.whole or self.current.revision == self.mends or not self._lenient():
            return False
        return ledger.is_half_done(asking, self.current.revision, self._rows.checksum(self.current), self._run)

    def _watch(self, connection: Connection) -> None:
        """Take the connection for the one that migrates. Others, which a revision opens of `op.get_bind().engine`, are its own."""
        self._migrates = True
        driver = driver_of(connection)
        self._prepared = False if self._lock.pooled else None
        self._level = driver.isolation_level
        self._provenance.watch(connection, driver)
        self.monitor.watch(driver, driver.info.backend_pid, self._run.action)
        event.listen(connection, "begin", self._on_begin)
        event.listen(connection, "before_cursor_execute", self._on_execute)

    def _open(self) -> Observed:
        if self._migrates and self.whole:  # it would look for what is not committed
            self._transaction.refuse(NeedsItsOwn("it opens a connection of its own"))
        return self._session.open(is_second=self._migrates)
