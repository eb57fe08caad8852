"""May a step end the transaction that it works in, and is the transaction at hand still ours?

A revision that commits by hand leaves the transaction in which its version is written. That is heard before it happens, so that what
came before is written down with it, and afterwards there is a transaction of ours again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, NoReturn

import psycopg2
from psycopg2.extensions import STATUS_READY, TRANSACTION_STATUS_IDLE, TRANSACTION_STATUS_INERROR
from psycopg2.extensions import connection as Driver

from railhead.diagnosis import refusals
from railhead.errors import Stop
from railhead.execution import mending
from railhead.execution.headway import Headway
from railhead.execution.mending import HalfDone
from railhead.execution.recorder import Recorder
from railhead.hazards import gate, rules
from railhead.history.graph import History, Revision
from railhead.postgres.advisory_lock import Lock
from railhead.postgres.connection import fetch_value
from railhead.postgres.observed import Observed, Observer, own
from railhead.postgres.sql_text import End
from railhead.state import ledger

_READS = {"SELECT", "SHOW", "SET", "RESET", "BEGIN", "SAVEPOINT", "RELEASE", "ROLLBACK", "FETCH", "DECLARE", "CLOSE"}

_ASKED_BY_BLOCKS = "show transaction isolation level"
"""What SQLAlchemy asks for an `autocommit_block`, which rolls back the transaction of that question."""


class NeedsItsOwn(Exception):
    """The step must not share its transaction with those before it, and says why."""


class Terms(NamedTuple):
    """What a guard goes by."""

    history: History
    sealed: gate.Sealed
    """The manifest's lines for files that still mean what they say."""
    run: ledger.Run
    lock: Lock
    opening: Callable[[Driver], str]
    """Gives what is said first in each transaction of ours."""
    lenient: Callable[[], bool]
    """Asks whether there is nothing yet that a crash could harm."""
    write: Callable[[str], None]
    """Writes the version, and the ledger's rows with this outcome, in the transaction at hand."""


class Guard(Observer):
    """Hears how the step that runs treats its transaction."""

    def __init__(self, terms: Terms, headway: Headway, recorder: Recorder) -> None:
        self.left = False
        """Whether the step has left its transaction, so that something may stay behind when it fails."""
        self.touched = False
        """Whether the step has ended its transaction, so that nobody but us knows in which one it is."""
        self.mends: str | None = None
        """The revision that an earlier run has left half done, which is run once more, and mended."""
        self._terms = terms
        self._headway = headway
        self._recorder = recorder
        self._is_ours = False
        """Whether the end that is under way is that of the step's transaction."""
        self._had_left = False
        self._works = False
        """Whether the transaction at hand has changed something, as far as the statements tell."""
        self._refusal: Exception | None = None
        self._writes = False
        """Whether the transaction at hand, of a step that is mended, has written rows."""

    def begin(self, driver: Observed) -> None:
        """Listen to the step that begins."""
        self.left = self.touched = self._works = self._writes = False
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
        if not self._is_mended:
            return None
        alone = connection.autocommit or connection.is_loose
        self._writes = self._writes or (self.left and mending.writes_rows(statement))
        return mending.instead(statement, left=self.left, alone=alone)

    def failed(self, connection: Observed, statement: str, error: psycopg2.Error) -> bool:
        """Tell whether a revision that is mended has done this before."""
        return self._is_mended and self.left and mending.is_there(connection, statement, error)

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
                self._assert_may_leave(connection, alone=alone)
                self._leave(connection)
                self.left = True
            elif not self.left:
                self._assert_nothing_is_lost(connection, has_failed=has_failed)
                if alone:
                    self._assert_may_leave(connection, alone=True)
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

    def assert_ours(self, driver: Driver) -> None:
        """Raise Stop when the transaction was ended unheard."""
        if driver.info.transaction_status == TRANSACTION_STATUS_IDLE:
            raise self.stolen()

    def stolen(self) -> Stop:
        """Return the refusal of a migration that ended our transaction unheard; what it did may be there or not."""
        self.left = True
        return refusals.stolen(self._revision)

    def is_half_done(self, asking: Driver) -> bool:
        """Tell whether an earlier run has left the step half done, with the same file, and nobody mends it yet. Read-only."""
        step, terms = self._headway.current, self._terms
        if step is None or self._headway.is_together or self._is_mended or not terms.lenient():
            return False
        return ledger.is_half_done(asking, step.revision, self._recorder.checksum(step), terms.run)

    @property
    def _is_mended(self) -> bool:
        return (
            self.mends is not None
            and self._headway.current is not None
            and self._headway.current.revision == self.mends
        )

    @property
    def _revision(self) -> Revision | None:
        return self._terms.history.by_id.get(self._headway.current.revision) if self._headway.current else None

    def _follow(self, connection: Observed) -> None:
        if connection.autocommit and not self.left:
            self._assert_may_leave(connection, alone=True)
            self._leave_late(connection)
        elif connection.status == STATUS_READY and not connection.autocommit:
            own(connection).execute(self._terms.opening(connection))

    def _assert_rows_known(self) -> None:
        if self._writes:
            raise mending.rows_unknown()

    def _assert_may_leave(self, connection: Observed, *, alone: bool) -> None:
        """Raise Stop when the step has changed something that could not be repeated, or, `alone`, is about to."""
        revision, terms = self._revision, self._terms
        assert revision is not None
        is_proven = terms.run.action == "upgrade" and gate.is_repeatable(revision, terms.sealed)
        if is_proven or terms.lenient() or rules.accepted(revision, gate.NOT_REPEATABLE):
            return
        if fetch_value(connection, IS_ASSIGNED):
            raise refusals.mixed(revision)
        if alone:
            raise refusals.unrepeatable(revision)

    def _assert_nothing_is_lost(self, connection: Observed, *, has_failed: bool) -> None:
        if self._headway.is_together:
            raise NeedsItsOwn("it rolls back the transaction that it shares")
        if self._works if has_failed else fetch_value(connection, IS_ASSIGNED):
            raise refusals.undone(self._revision)

    def _leave(self, connection: Observed) -> None:
        """Write what came before the step that leaves its transaction, and that it has begun."""
        if self.left:
            self._terms.lock.assert_held(connection)
            return
        if self.is_half_done(connection):
            raise HalfDone("it was left half done")
        self._terms.write("applied")
        self._headway.commit(self._headway.before_current(), self._recorder.versions)
        self._recorder.take_note_of_beginning()
        self._terms.write("started")
        self._recorder.forget_plan()  # what runs outside a transaction may be DISCARD ALL

    def _leave_late(self, connection: Observed) -> None:
        """Write down that the step works without a transaction from here on."""
        cursor = own(connection)
        cursor.execute(f"BEGIN; {self._terms.opening(connection)}")
        self._leave(connection)
        cursor.execute("COMMIT")
        self.left = True


IS_ASSIGNED = "SELECT pg_current_xact_id_if_assigned() IS NOT NULL"
"""Whether the transaction has changed anything."""
