"""On which sessions does a migration work, and what holds in each?

Opens them with their limits, and puts them in order after a revision that has done as it likes. Read-only.
"""

from __future__ import annotations

from psycopg2.extensions import connection as Driver
from sqlalchemy.engine import Connection

from railhead.history.alembic_quirks import follow
from railhead.history.planner import MigrationContext
from railhead.postgres import engine, session_limits
from railhead.postgres.activity import Monitor
from railhead.postgres.advisory_lock import Lock
from railhead.postgres.connection import connect_as
from railhead.postgres.engine import driver_of
from railhead.postgres.observed import Observed, own
from railhead.postgres.retry_budget import RetryBudget
from railhead.settings import Settings


class MigrationSession:
    """Makes the sessions of one run."""

    def __init__(self, settings: Settings, name: str, lock: Lock, budget: RetryBudget) -> None:
        self._settings = settings
        self._name = name
        self._lock = lock
        self._budget = budget
        self._level: int | None = None
        """The isolation level that the driver came with."""

    def monitor(self) -> Monitor:
        """Return what watches the session."""
        return Monitor(
            self._settings.migrations.dsn,
            self._name,
            pooled=self._lock.pooled,
            lock=self._lock.pid,
            left=lambda: self._budget.left,
            commit=self._settings.lock_timeout,
        )

    def open(self, *, is_second: bool) -> Observed:
        """Return a new session. A second one stands in no lock queue for longer than the one that migrates."""
        driver = connect_as(Observed, self._settings.migrations.dsn, self._name)
        if is_second and not self._lock.pooled:
            own(driver).execute(self._limits(driver, ""))
        driver.autocommit = False
        return driver

    def opening(self, driver: Driver) -> str:
        """Return what is said first in each transaction: the limits, which the revision before may have changed, and our mark.

        For the whole session, so that they hold outside of transactions too; behind a transaction pooler that would leak to
        other clients, and they are set for the transaction.
        """
        return f"{self._limits(driver, 'LOCAL ' if self._lock.pooled else '')}; {self._lock.brand()}"

    def keep(self, connection: Connection) -> None:
        """Take note of how the driver begins transactions."""
        self._level = driver_of(connection).isolation_level

    def restore(self, connection: Connection) -> None:
        """Let the driver begin transactions as it did before a step worked without one."""
        driver = driver_of(connection)
        if driver.isolation_level != self._level:
            driver.isolation_level = self._level

    def gather(self, context: MigrationContext) -> None:
        """Let Alembic be in a transaction of ours again, after a revision that has ended the one that it was given."""
        connection = context.connection
        assert connection is not None
        engine.settle(connection)
        follow(context)
        driver = driver_of(connection)
        own(driver).execute(self.opening(driver))

    def may_go_on(self, connection: Connection) -> bool:
        """Tell whether the trip that commits may begin the next transaction, because nobody else has to know of either."""
        driver = driver_of(connection)
        listeners = [*connection.dispatch.begin, *connection.dispatch.commit]
        is_plain = (driver.isolation_level, driver.readonly, driver.deferrable) == (None, None, None)
        is_watched = len(listeners) > 1 or connection.in_nested_transaction()  # one is ours
        return is_plain and not (is_watched or self._budget.misses)

    def _limits(self, driver: Driver, local: str) -> str:
        return session_limits.statements(
            local,
            driver.server_version,
            self._budget.lock_timeout,
            self._settings,
            replicated=self._lock.replicated,
        )
