"""How are the steps carried out, one transaction each?

Each revision, its row in the ledger and its version are committed together, and only while the migration lock is ours.
Decides nothing about retries: it runs one attempt, and what that left behind can be seen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from typing import Self

import psycopg2
from sqlalchemy import event
from sqlalchemy.engine import Connection

from railhead.diagnosis import refusals
from railhead.execution import recorder
from railhead.execution.guard import Guard, NeedsItsOwn, Terms
from railhead.execution.headway import Headway
from railhead.execution.migration_session import MigrationSession
from railhead.execution.provenance import Provenance
from railhead.execution.recorder import Claim, Recorder
from railhead.execution.retry_policy import Mode
from railhead.history import env_file, manifest
from railhead.history.alembic_quirks import Heads, follow, one_each
from railhead.history.env_file import target_metadata
from railhead.history.loader import no_garbage_collection
from railhead.history.planner import MigrationContext, MigrationPlan, MigrationStep
from railhead.logs import log
from railhead.operations import autocommit
from railhead.postgres import engine, interrupts
from railhead.postgres.activity import Monitor
from railhead.postgres.advisory_lock import Lock
from railhead.postgres.engine import driver_of
from railhead.postgres.observed import Observed, own
from railhead.postgres.retry_budget import RetryBudget
from railhead.settings import Settings
from railhead.state import ledger


class Executor:
    """Carries out the steps of one plan under one lock. A lost connection needs a new one."""

    def __init__(
        self,
        plan: MigrationPlan,
        sealed: Mapping[str, manifest.SealedRevision],
        settings: Settings,
        lock: Lock,
        budget: RetryBudget,
        run: ledger.Run,
        *,
        lenient: Callable[[], bool],
    ) -> None:
        """`sealed` are the manifest's lines for files that still mean what they say. `lenient`: asks whether there is nothing yet that a crash could harm."""
        self.is_foreign = False
        """Whether the step failed with a connection of its own, while ours is well."""
        self.headway = Headway()
        claim = Claim(lock, run, settings.project.version_table)
        self.recorder = Recorder(plan.history, sealed, claim, self.headway, budget)
        self._session = MigrationSession(settings, settings.migrations.session_name(plan.action), lock, budget)
        self.monitor = self._session.monitor()
        terms = Terms(plan.history, sealed, run, lock, self._session.opening, lenient, self._write)
        self.guard = Guard(terms, self.headway, self.recorder)
        self._plan = plan
        self._settings = settings
        self._lock = lock
        self._budget = budget
        self._metadata = target_metadata(plan.environment.config, plan.script)
        self._arguments = env_file.arguments(plan.environment.config, plan.script).arguments
        self._engine = engine.engine_of(settings.migrations.dsn, self._open)
        self._provenance = Provenance(self._engine)
        self._migrates = False
        """Whether the connection of this attempt is there, so that each further one is a revision's own."""
        self._context: MigrationContext

    def __enter__(self) -> Self:
        self.monitor.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self.monitor.__exit__(None, None, None)
        self._engine.dispose()

    def attempt(self, mode: Mode) -> frozenset[str]:
        """Run the steps that are left and return the versions that the database has then. Changes the schema.

        All of them in one transaction, which only a database without a table is free for, or each in its own. Raises what the
        driver, SQLAlchemy or a migration raises; then `headway`, `guard` and `monitor` tell what is known of it.
        """
        self.headway.begin_attempt(mode)
        self.recorder.begin_attempt()
        self.guard.left = self.is_foreign = self._migrates = False
        self.monitor.forget_blockers()
        environment = self._plan.environment
        engine.set_url(environment.config, self._settings.migrations.dsn)
        with no_garbage_collection(wanted=self.headway.is_together), self._engine.connect() as connection:
            self._watch(connection)
            environment.configure(
                connection=connection,
                target_metadata=self._metadata,
                **env_file.kept_in(self._settings.project.version_table),
                transaction_per_migration=not self.headway.is_together,
                fn=self._run_steps,
                railhead=_terms_outside(self.monitor, self._lock, self._budget, self._settings, connection),
            )
            if connection.in_transaction():
                raise refusals.not_ours()
            with environment.begin_transaction():
                environment.run_migrations(**self._arguments)
        if self.headway.is_together:
            self.headway.commit(self.headway.steps, self.recorder.versions)
        return self.recorder.versions

    def _run_steps(self, heads: tuple[str, ...], context: MigrationContext) -> Iterable[object]:
        """Run the steps from `heads` on, and leave none to Alembic, whose loop this is but for the version and the commits.

        Alembic's statement for the version takes as long as half of a revision. Where all steps share one transaction nobody
        sees the versions between them: only the last is written.
        """
        headway = self.headway
        headway.steps = self._plan.steps(heads)
        headway.source = frozenset(heads)
        self._context = context
        self.recorder.begin_at(heads)
        reckoned = Heads(context, heads)
        with ExitStack() as transaction:
            begun = False
            for step in headway.steps:
                if not begun:
                    transaction.enter_context(context.begin_transaction(_per_migration=True))
                    begun = True
                self._run_step(step, reckoned)
                if self.guard.touched:
                    self._session.gather(context)
                if headway.is_together and self.guard.left:
                    headway.mode = Mode.EACH
                    log.info(
                        "%s: %s left the transaction for all; those behind it get one each",
                        self._plan.action,
                        step.revision,
                    )
                    transaction.enter_context(one_each(context))
                is_last = step is headway.steps[-1]
                if is_last or not headway.is_together:
                    begun = not is_last and self._may_go_on()
                    self._write("applied", commits=begun)
                    if not begun:
                        transaction.close()
                        self._session.restore(self._connection)
                    self._end_step(step)
        headway.current = None
        return ()

    def _run_step(self, step: MigrationStep, reckoned: Heads) -> None:
        self.headway.begin(step)
        driver = driver_of(self._connection)
        self.guard.begin(driver)
        try:
            step.run.migration_fn(**self._arguments)
        except (SystemExit, KeyboardInterrupt) as error:  # no success, and no signal: those come as Interrupted
            raise RuntimeError(f"the revision raised {error!r}").with_traceback(error.__traceback__) from None
        except Exception as error:
            self.is_foreign = self._provenance.is_foreign(error)
            raise
        finally:
            self.guard.end(driver)
        if not self.guard.touched:
            self.guard.assert_ours(driver)  # now, so that the next step is not blamed
        reckoned.update_to_step(step.run)
        self.recorder.take_note(reckoned.heads)

    def _end_step(self, step: MigrationStep) -> None:
        """Take note that the transaction of a step was committed."""
        if self.headway.is_together:
            return
        log.info("%s: %s in %.0f ms", self._plan.action, step.revision, self.headway.lasted * 1000)
        self.headway.commit([step], self.recorder.versions)
        self._budget.succeed()
        interrupts.assert_undisturbed()  # the server says that nobody waits for the replica any more, and the driver was decoding that

    def _may_go_on(self) -> bool:
        """Tell whether the trip that commits may begin the next transaction."""
        return not self.guard.touched and self._session.may_go_on(self._connection)

    def _write(self, outcome: str, *, commits: bool = False) -> None:
        """Write the version, and the ledger's rows of everything that this transaction will commit. Writes the ledger.

        `commits`: commits, too, and begins the next transaction, all in one trip. SQLAlchemy and the driver do not know of it, so that
        what a revision has made with them (a session, a cursor) does not end with its transaction.
        """
        driver = driver_of(self._connection)
        self.guard.assert_ours(driver)
        then = f"COMMIT; BEGIN; {self._session.opening(driver)}".encode() if commits else b""
        try:
            self.recorder.write(driver, outcome, then=then)
        except recorder.TransactionLost:
            raise self.guard.stolen() from None
        except psycopg2.Error as error:
            if driver.closed:
                self._connection.invalidate(error)  # else its rollback fails, and that is what would be told
            raise

    @property
    def _connection(self) -> Connection:
        """The connection that migrates, as SQLAlchemy sees it."""
        assert self._context.connection is not None
        return self._context.connection

    def _watch(self, connection: Connection) -> None:
        """Take the connection for the one that migrates. Others, which a revision opens of `op.get_bind().engine`, are its own."""
        self._migrates = True
        driver = driver_of(connection)
        self._session.keep(connection)
        self._provenance.watch(connection, driver)
        self.monitor.watch(driver, driver.info.backend_pid, self._plan.action)
        event.listen(connection, "begin", self._on_begin)
        event.listen(connection, "before_cursor_execute", self._on_execute)

    def _open(self) -> Observed:
        if self._migrates and self.headway.is_together:  # it would look for what is not committed
            self.guard.refuse(NeedsItsOwn("it opens a connection of its own"))
        return self._session.open(is_second=self._migrates)

    def _on_begin(self, connection: Connection) -> None:
        """SQLAlchemy begins a transaction: it is ours, and shows it as long as it lasts."""
        driver = driver_of(connection)
        if not driver.autocommit:
            own(driver).execute(self._session.opening(driver))

    def _on_execute(self, connection: Connection, _cursor: object, statement: str, *_: object) -> None:
        """SQLAlchemy is about to execute: our transaction must still be there, and the version where somebody looks for it."""
        self.monitor.beat()
        driver = driver_of(connection)
        if self.guard.touched and not driver.autocommit:
            follow(self._context)
        elif not driver.autocommit:
            self.guard.assert_ours(driver)
        self.recorder.before(driver, statement)


def _terms_outside(
    monitor: Monitor, lock: Lock, budget: RetryBudget, settings: Settings, connection: Connection
) -> autocommit.Terms:
    """Return on which terms a revision works outside its transaction, which Alembic's context carries as `autocommit.OPTION`."""
    return autocommit.Terms(
        budget,
        lock.pooled,
        fence=lambda: lock.assert_held(driver_of(connection)),
        blockers=lambda: monitor.blockers,
        waited=lambda: monitor.waited,
        idle_timeout=settings.idle_timeout,
    )
