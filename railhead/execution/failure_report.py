"""What is said of a run, and written down?

Where the database is after a failure, why it came to that, the ledger's row of it, and the schema that a run has made. Asks and
writes on connections of its own; decides nothing about what is tried again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TypeVar

import psycopg2
from psycopg2.extensions import connection as Connection

from railhead.diagnosis import messages
from railhead.diagnosis.postgres_error import Ask
from railhead.errors import LEFT_BEHIND, Refusal, Stop, TableBusy
from railhead.execution.retry_policy import Cause, StepFailed
from railhead.history import baseline
from railhead.history.planner import MigrationPlan
from railhead.logs import log
from railhead.masking import masked
from railhead.postgres import failures, interrupts
from railhead.postgres.connection import connect, fetch_value, gently
from railhead.schema import catalog, compatibility
from railhead.schema.catalog import Catalog
from railhead.settings import Settings
from railhead.state import inspection, ledger
from railhead.state.inspection import Snapshot

T = TypeVar("T")


class FailureReport:
    """What is said of one run."""

    def __init__(self, plan: MigrationPlan, settings: Settings, run: ledger.Run) -> None:
        """Tell of the run that carries out `plan`; nobody is asked yet."""
        self.before: tuple[str, ...] | None = None
        """The versions that the run found at first; None before it has looked."""
        self.place_before = "empty"
        """Where the database was then."""
        self._plan = plan
        self._address = settings.migrations
        self._run = run

    def asking(self, ask: Callable[[Connection], T]) -> T:
        """Return what `ask` does with a connection that is closed afterwards. Raises psycopg2.Error."""
        connection = connect(self._address.dsn, self._address.session_name(self._run.action))
        try:
            return ask(connection)
        finally:
            connection.close()

    def note_first_look(self, snapshot: Snapshot) -> None:
        """Keep where the run found the database at first."""
        if self.before is None:
            self.before, self.place_before = snapshot.versions, snapshot.place

    def snapshot(self) -> Snapshot:
        """Return what the database shows now. Read-only. Raises psycopg2.Error."""
        return self.asking(partial(inspection.snapshot, table=self._plan.history.project.version_table))

    def place(self) -> str:
        """Return where the database is now, for a message."""
        try:
            place = self.snapshot().place
        except psycopg2.Error:
            return messages.NOBODY_ANSWERS
        return f"unchanged, {place}" if place == self.place_before else place

    def leftovers(self) -> str:
        """Return which indexes are INVALID now, for a message: what CONCURRENTLY began and could not end."""
        names = self._ask("SELECT string_agg(indexrelid::regclass::text, ', ') FROM pg_index WHERE NOT indisvalid", ())
        return f"; INVALID until they are made again or dropped: {names}" if names else ""

    def refused(self, error: Exception, ask: Ask | None = None) -> Stop:
        """Return what is to be raised when PostgreSQL refuses what comes before and after the migrations."""
        place = self.place()
        place = "unchanged" if place == messages.NOBODY_ANSWERS else place  # somebody did answer: he refused
        return messages.refused(error, place, ask=ask or self._ask, again=self._again())

    def failed(self, failure: StepFailed, instead: Stop | None = None) -> Stop:
        """Write the failure to the ledger and return what is to be raised for it, or `instead` of that. Writes the ledger."""
        place = self.place()
        stop = self._told(failure, instead or failure.stop, place)
        words = "; ".join(text for label, text in stop.facts if label in {"PostgreSQL", "Python"}) or stop.headline
        try:
            self.asking(lambda connection: self._note_failure(connection, failure.row, words, left=failure.left))
        except psycopg2.Error as trouble:
            log.warning("the failure could not be written to the ledger: %s", failures.server_words(trouble))
        return stop

    def note_refusal(self, stop: Stop, snapshot: Snapshot) -> None:
        """Write into the ledger that the run was refused, once for the same refusal in a row. Writes the ledger, where there is one."""
        words = f"refused: {stop.headline} [{stop.slug}]"
        last = snapshot.last
        if not snapshot.has_ledger or (last and (last.outcome, last.error) == ("failed", masked(words))):
            return  # a start that is tried again and again by its platform says nothing new
        try:
            self.asking(lambda connection: self._write_refusal(connection, words))
        except psycopg2.Error as trouble:
            log.warning("the refusal could not be written to the ledger: %s", failures.server_words(trouble))

    def _write_refusal(self, connection: Connection, words: str) -> None:
        with _at_once(connection):
            ledger.note(connection, self._run, "failed", error=words)

    def _told(self, failure: StepFailed, stop: Stop | None, place: str) -> Stop:
        """Return the failure in the four parts of a message, with the state of the database that is at `place`."""
        if stop is None:
            stop = self._explained(failure, place)
        elif failure.left and isinstance(stop, TableBusy):
            stays = "; what the revision has done outside its transaction stays, and is not done twice"
            stop = stop.replaced(database=stop.database + stays)
        elif failure.left:
            stop = stop.replaced(exit_code=LEFT_BEHIND)
        if not isinstance(stop, Refusal):
            return stop
        name = failure.step.revision if failure.step else "the run"
        half = f"{place.removeprefix('unchanged, ')}; part of {name} may stay behind"
        return stop.replaced(database=half if failure.left else place)

    def _explained(self, failure: StepFailed, place: str) -> Stop:
        is_foreign = failure.cause is Cause.FOREIGN
        stop = messages.failed(
            failure.error,
            failure.step,
            place,
            left=failure.left,
            foreign=is_foreign,
            ask=self._ask,
            again=self._again(),
        )
        code = getattr(messages.cause(failure.error), "pgcode", None)
        if self.place_before == "empty" and baseline.would_help(code, self._plan.history):
            stop = stop.replaced(next_step=f"{baseline.ADVICE}else {stop.next_step}")
        return stop

    def keep_catalog(self) -> None:
        """Keep the schema that the run has made, if that can be had at once. Writes the ledger.

        Everything is committed by now: it is worth a warning, and not a failure. Raises psycopg2.Error when the connection
        is lost.
        """
        try:
            self.asking(self._keep_catalog)
        except psycopg2.Error as error:
            if failures.is_lost(error):
                raise
            log.warning(_NOT_KEPT, failures.server_words(error))

    def _keep_catalog(self, connection: Connection) -> None:
        with _at_once(connection):
            now = catalog.read(connection)
            ledger.keep_catalog(connection, self._run, now.text)
            ledger.tell_breaking(connection, self._run, lambda before: _breaks(before, now))

    def _note_failure(self, connection: Connection, row: ledger.NewRow | None, words: str, *, left: bool) -> None:
        """Write the failure to the ledger, with the catalog if this run has changed it: the next drift is measured from there."""
        kept = None
        if left or ledger.applied(connection, self._run):
            try:
                with _at_once(connection):
                    kept = catalog.read(connection).text
            except psycopg2.Error as error:
                log.warning(_NOT_KEPT, failures.server_words(error))
        with _at_once(connection):
            ledger.note(connection, self._run, "failed", row=row, error=words, catalog=kept)

    def _ask(self, question: str, values: tuple[object, ...]) -> object:
        """Return the first value that a question is answered with, None when there is none or nobody answers. Read-only."""
        try:
            return self.asking(lambda connection: fetch_value(connection, question, values))
        except psycopg2.Error:
            return None

    def _again(self) -> str:
        """Return the command that repeats this run."""
        if self._plan.action == "stamp":
            return f"alembic stamp {self._plan.target}"
        return (
            messages.UPGRADE
            if self._plan.target == "head"
            else f"python utils/migrate.py {self._plan.action} {self._plan.target}"
        )


@contextmanager
def _at_once(connection: Connection) -> Iterator[None]:
    """Inside, neither a dead network nor somebody's lock is waited for."""
    with interrupts.limit(connection, interrupts.ANSWER_TIMEOUT), gently(connection):
        yield


_NOT_KEPT = "what the schema is now could not be written down (%s); drift is told again after the next run"


def _breaks(before: str, now: Catalog) -> bool | None:
    """Tell whether code for the schema before misses something now; None when the two cannot be compared."""
    try:
        was = Catalog.from_text(before)
    except ValueError:
        return None
    return bool(compatibility.breaks(was, now)) if was.format == now.format else None
