"""In whose transaction does a step work, and may it end that one?

A revision that commits by hand leaves the transaction in which its version is written. That is heard before it happens, so that what
came before is written down with it, and afterwards there is a transaction of ours again. Writes nothing itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, NoReturn

import psycopg2
from psycopg2.extensions import STATUS_READY, TRANSACTION_STATUS_INERROR
from psycopg2.extensions import connection as Driver

from railhead.execution import mending
from railhead.postgres.connection import fetch_value
from railhead.postgres.observed import Observed, Observer, own
from railhead.postgres.sql_text import End

_READS = {"SELECT", "SHOW", "SET", "RESET", "BEGIN", "SAVEPOINT", "RELEASE", "ROLLBACK", "FETCH", "DECLARE", "CLOSE"}

_ASKED_BY_BLOCKS = "show transaction isolation level"
"""What SQLAlchemy asks for an `autocommit_block`, which rolls back the transaction of that question."""


class NeedsItsOwn(Exception):
    """The step must not share its transaction with those before it, and says why."""


class Keeper(NamedTuple):
    """Who keeps the version and the ledger, and is asked, and told, when a step leaves its transaction."""

    opening: Callable[[Driver], str]
    """Gives what is said first in each transaction of ours."""
    is_shared: Callable[[], bool]
    """Tells whether other steps, which are not written down yet, would be lost with the transaction."""
    assert_may_leave: Callable[[bool], None]
    """Raises what is to be said when the step may not leave its transaction; told whether each statement is alone behind it."""
    undone: Callable[[], Exception]
    """Gives what is to be said when the step takes back what it has done itself."""
    leave: Callable[[], None]
    """Writes down, in the transaction that is left, what came before the step, and that it has begun."""


class StepTransaction(Observer):
    """The transaction of the step that runs."""

    def __init__(self, keeper: Keeper) -> None:
        self.left = False
        """Whether the step has left its transaction, so that something may stay behind when it fails."""
        self.touched = False
        """Whether the step has ended its transaction, so that nobody but us knows in which one it is."""
        self._keeper = keeper
        self._is_ours = False
        """Whether the end that is under way is that of the step's transaction."""
        self._had_left = False
        self._works = False
        """Whether the transaction at hand has changed something, as far as the statements tell."""
        self._refusal: Exception | None = None
        self._mends = False
        self._writes = False
        """Whether the transaction at hand, of a step that is mended, has written rows."""

    def begin(self, driver: Observed, *, mends: bool) -> None:
        """Listen to a step that begins; `mends`: one that was left half done."""
        self._mends, self._writes = mends, False
        self.left = self.touched = self._works = False
        self._refusal = None
        driver.observer = self

    def end(self, driver: Observed) -> None:
        """Listen no more. Raises what the step was refused with, also when it has caught that."""
        driver.observer = None
        if self._refusal is not None:
            raise self._refusal

    def refuse(self, refusal: Exception) -> NoReturn:
        """Raise it now, and once more when the step has caught it."""
        self._refusal = refusal
        raise refusal

    def before(self, connection: Observed, statement: str, values: object, *, many: bool) -> str | None:
        """Let a transaction that the driver begins by itself be one of ours, and take note of a session that has none."""
        del values, many
        if statement == _ASKED_BY_BLOCKS:
            return None
        if self.touched:
            self._follow(connection)
        if not self._mends:
            return None
        alone = connection.autocommit or connection.is_loose
        self._writes = self._writes or (self.left and mending.writes_rows(statement))
        return mending.instead(statement, left=self.left, alone=alone)

    def failed(self, connection: Observed, statement: str, error: psycopg2.Error) -> bool:
        """Tell whether a revision that is mended has done this before."""
        return self._mends and self.left and mending.is_there(connection, statement, error)

    def _follow(self, connection: Observed) -> None:
        if connection.autocommit and not self.left:
            self._keeper.assert_may_leave(True)
            self._leave_late(connection)
        elif connection.status == STATUS_READY and not connection.autocommit:
            own(connection).execute(self._keeper.opening(connection))

    def after(self, connection: Observed, statement: str, tag: str) -> None:
        """Take note whether the transaction holds work."""
        del connection, statement
        self._works = self._works or tag not in _READS

    def ending(self, connection: Observed, how: End, *, alone: bool) -> None:
        """Let the step leave its transaction in order, before the end is sent, or refuse it."""
        self._is_ours = not connection.autocommit  # what a verb begins and ends there is its own
        self._had_left = self.left
        has_failed = connection.info.transaction_status == TRANSACTION_STATUS_INERROR
        if not self._is_ours:
            return
        try:
            if how == "COMMIT" and not has_failed:
                self._assert_rows_known()
                self._keeper.assert_may_leave(alone)
                self._keeper.leave()
                self.left = True
            elif not self.left:
                self._assert_nothing_is_lost(connection, has_failed=has_failed)
                if alone:
                    self._keeper.assert_may_leave(True)
        except Exception as refusal:
            self.refuse(refusal)

    def ended(self, connection: Observed, how: End, *, alone: bool) -> None:
        """Take note that the transaction is gone."""
        if not self._is_ours:
            return
        if how == "ROLLBACK" and not self._had_left:
            self.left = False  # it was to be committed, and PostgreSQL has refused
        self.touched, self._works, self._writes = True, False, False
        if alone and not self.left:
            self._leave_late(connection)

    def _assert_rows_known(self) -> None:
        if self._writes:
            raise mending.rows_unknown()

    def _assert_nothing_is_lost(self, connection: Observed, *, has_failed: bool) -> None:
        if self._keeper.is_shared():
            raise NeedsItsOwn("it rolls back the transaction that it shares")
        if self._works if has_failed else fetch_value(connection, IS_ASSIGNED):
            raise self._keeper.undone()

    def _leave_late(self, connection: Observed) -> None:
        """Write down that the step works without a transaction from here on."""
        cursor = own(connection)
        cursor.execute(f"BEGIN; {self._keeper.opening(connection)}")
        self._keeper.leave()
        cursor.execute("COMMIT")
        self.left = True


IS_ASSIGNED = "SELECT pg_current_xact_id_if_assigned() IS NOT NULL"
"""Whether the transaction has changed anything."""
