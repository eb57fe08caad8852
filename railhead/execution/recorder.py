"""How are version and ledger row written, in the revision's own transaction and in one trip?"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

import psycopg2
from psycopg2.extensions import connection as Driver
from psycopg2.extensions import cursor as Cursor

from railhead.diagnosis import refusals
from railhead.execution.headway import Headway
from railhead.history.checksum import checksum_of
from railhead.history.graph import History
from railhead.history.manifest import SealedRevision
from railhead.postgres.advisory_lock import Lock, LockLost
from railhead.postgres.observed import own
from railhead.postgres.retry_budget import RetryBudget
from railhead.project import VersionTable
from railhead.state import ledger
from railhead.state.ledger import NewRow, Run

if TYPE_CHECKING:
    from railhead.history.planner import MigrationStep


class TransactionLost(Exception):
    """The transaction is not the one that began under the lock: somebody has ended that one."""


class VersionMoved(Exception):
    """The version table does not hold what the steps have led to: somebody else has changed it."""


class RowsLost(Exception):
    """The ledger does not take its rows: a trigger is in the way."""


class Claim(NamedTuple):
    """What must be true for anything to be written: the lock is ours, and this version table is where we have left it."""

    lock: Lock
    run: Run
    table: VersionTable


def write(
    cursor: Cursor,
    claim: Claim,
    rows: Sequence[NewRow],
    outcome: str,
    versions: Iterable[str],
    *,
    first: bytes = b"",
    then: bytes = b"",
    prepared: bool = False,
) -> None:
    """Write `rows` if, and only if, the lock and this transaction are still ours and the version table holds `versions`. Writes the ledger.

    One trip to the server, with `first`, which is what moves the version, and `then`, which comes only after rows that were
    written. `prepared`: by the statement that `prepare` has left in this session, for this claim and outcome. Raises LockLost,
    TransactionLost, VersionMoved or RowsLost, and then nothing of the transaction can be committed any more.
    """
    values = (*ledger.columns_of(rows), sorted(versions))
    parameters = [cursor.mogrify(f"%s::{kind}", (value,)) for kind, value in zip(_TYPES, values, strict=True)]
    if prepared:
        writing = b"EXECUTE %b (%b)" % (_PREPARED, b", ".join(parameters))
    else:
        writing = _writing(cursor, claim, outcome, parameters)
    try:
        cursor.execute(b";".join([first, writing, then]))
    except psycopg2.errors.InvalidTextRepresentation as error:
        for words, refusal in _REFUSALS.items():
            if words in str(error):
                raise refusal from error
        raise


@contextmanager
def refusing(expected: Iterable[str]) -> Iterator[None]:
    """Inside, what keeps a row from being written is told as a Refusal; the database was `expected` to be at these versions."""
    try:
        yield
    except VersionMoved:
        raise refusals.moved(expected) from None
    except RowsLost:
        raise refusals.not_recorded() from None


def moving(cursor: Cursor, table: VersionTable, written: frozenset[str], versions: frozenset[str]) -> bytes:
    """Return the statements that let the version table, where `written` stands, hold `versions`; none when it does."""
    gone, come = sorted(written - versions), sorted(versions - written)
    if not gone and not come:
        return b""
    if len(gone) == len(come) == 1:
        return cursor.mogrify(f"UPDATE {table.sql} SET version_num = %s WHERE version_num = %s", (*come, *gone))
    return cursor.mogrify(
        f"DELETE FROM {table.sql} WHERE version_num = ANY(%s::text[]);"
        f"INSERT INTO {table.sql} (version_num) SELECT unnest(%s::text[])",
        (gone, come),
    )


def prepare(cursor: Cursor, claim: Claim, outcome: str) -> None:
    """Have the server keep the plan of `write`, half of its cost, for as long as the session lasts. There must be a version.

    Not behind a transaction pooler, where the next transaction may find itself in another session.
    """
    places = [f"${number}".encode() for number in range(1, len(_TYPES) + 1)]
    types = ", ".join(_TYPES).encode()
    cursor.execute(b"PREPARE %b (%b) AS %b" % (_PREPARED, types, _writing(cursor, claim, outcome, places)))


_PREPARED = b"railhead_ledger"
_TYPES = [f"{kind}[]" for kind in (*ledger.ROW_TYPES, "text")]
"""Of what a write is given: an array for each thing that is known of a row, and the versions."""

_REFUSALS: dict[str, type[Exception]] = {
    "railhead: the migration lock is lost": LockLost,
    "railhead: this is not the transaction that began under the lock": TransactionLost,
    "railhead: alembic_version was changed": VersionMoved,
    "railhead: the rows were not written": RowsLost,
}
"""What the server refuses with, which stands in its log, too, and what is raised for it."""

_WRITING = b"""
WITH claim AS MATERIALIZED (
  SELECT %(locked)b AS is_locked, %(ours)b AS is_ours,
         ARRAY(SELECT version_num::text FROM %(table)b ORDER BY version_num COLLATE "C") = %(versions)b AS is_in_place
), written AS (
  INSERT INTO %(ledger)b (%(columns)b)
  SELECT %(values)b FROM claim, unnest(%(rows)b) AS %(row)b WHERE is_locked AND is_ours AND is_in_place
  RETURNING 1
)
SELECT (CASE WHEN NOT is_locked THEN %(lock_lost)b
             WHEN NOT is_ours THEN %(transaction_lost)b
             WHEN NOT is_in_place THEN %(moved)b
             WHEN (SELECT count(*) FROM written) < cardinality(%(revisions)b) THEN %(not_written)b
             ELSE '0' END)::int
  FROM claim
"""
"""The last expression is what refuses. SQL has no word for that outside of functions, and one of ours would be an object in somebody's
database; but a sentence that is to be a number is an error, which tells the sentence and keeps the transaction from being committed."""


def _writing(cursor: Cursor, claim: Claim, outcome: str, parameters: Sequence[bytes]) -> bytes:
    """Return the statement of `write`; `given` are the columns of its rows, and the versions, as SQL."""
    *columns, versions = parameters
    lock_lost, transaction_lost, moved, not_written = (cursor.mogrify("%s", (words,)) for words in _REFUSALS)
    return _WRITING % {
        b"locked": cursor.mogrify(*claim.lock.held()),
        b"ours": cursor.mogrify(*claim.lock.branded()),
        b"table": claim.table.sql.encode(),
        b"versions": versions,
        b"ledger": ledger.TABLE.encode(),
        b"columns": ledger.WRITTEN.encode(),
        b"values": cursor.mogrify(ledger.MADE, ledger.of_run(claim.run, outcome)),
        b"rows": b", ".join(columns),
        b"row": ledger.ROW.encode(),
        b"revisions": columns[0],
        b"lock_lost": lock_lost,
        b"transaction_lost": transaction_lost,
        b"moved": moved,
        b"not_written": not_written,
    }


class Recorder:
    """Knows where the steps of one run have led, and what of that is to be written."""

    def __init__(
        self,
        history: History,
        sealed: Mapping[str, SealedRevision],
        claim: Claim,
        headway: Headway,
        budget: RetryBudget,
    ) -> None:
        """`sealed` are the manifest's lines for files that still mean what they say."""
        self.versions: frozenset[str] = frozenset()
        """Where the steps have led."""
        self._history = history
        self._sealed = sealed
        self._claim = claim
        self._headway = headway
        self._budget = budget
        self._written: frozenset[str] = frozenset()
        self._unwritten: list[tuple[MigrationStep, float, float]] = []
        """Steps, when they began, and how many seconds they took."""
        self._prepared: bool | None = None
        """Whether the session holds the statement; None until it is wanted."""

    def begin_attempt(self) -> None:
        """What the attempt before has not written is rolled back; the session is a new one."""
        self._unwritten = []
        self._written = self.versions
        self._prepared = False if self._claim.lock.pooled else None

    def begin_at(self, versions: Iterable[str]) -> None:
        """The database is at `versions`."""
        self.versions = self._written = frozenset(versions)

    def take_note(self, versions: Iterable[str]) -> None:
        """The step that runs has ended and led to `versions`."""
        self.versions = frozenset(versions)
        self._unwritten.append(self._of_current(self._headway.lasted))

    def take_note_of_beginning(self) -> None:
        """Nothing but that the step that runs has begun is to be written."""
        self._unwritten = [self._of_current(0.0)]

    @property
    def has_unwritten(self) -> bool:
        """Tell whether steps that have ended are not written down."""
        return bool(self._unwritten)

    @property
    def row(self) -> NewRow | None:
        """Return what the ledger is told of the step that runs, or that failed; None when it was none."""
        return self._row(*self._of_current(self._headway.lasted)) if self._headway.current else None

    def write(self, driver: Driver, outcome: str, *, then: bytes = b"") -> None:
        """Write the versions, and the rows of everything that this transaction will commit, and do what comes `then`. Writes the ledger."""
        if not self._unwritten:
            return
        with own(driver) as cursor, refusing(self._written):
            if self._prepared is None:
                prepare(cursor, self._claim, "applied")
                self._prepared = True
            write(
                cursor,
                self._claim,
                [self._row(*step) for step in self._unwritten],
                outcome,
                self.versions,
                first=(b"/* commit */ " if then else b"")
                + moving(cursor, self._claim.table, self._written, self.versions),
                then=then,
                prepared=bool(self._prepared) and outcome == "applied",
            )
        self._written = self.versions
        self._unwritten = []

    def before(self, driver: Driver, statement: str) -> None:
        """Somebody is about to execute this: let the version be where he looks for it. Writes the version."""
        if self._prepared and _FORGETS.search(statement):
            self._prepared = False
        if self._written != self.versions and self._claim.table.is_named_in(statement):
            cursor = own(driver)
            cursor.execute(moving(cursor, self._claim.table, self._written, self.versions))
            self._written = self.versions

    def forget_plan(self) -> None:
        """The session may not hold the prepared statement any more."""
        self._prepared = False

    def checksum(self, step: MigrationStep) -> str | None:
        """Return what a step's file means, in one word."""
        entry = self._sealed.get(step.revision)
        if entry is not None:
            return entry.checksum
        return checksum_of(step.path) if step.path else None

    def _of_current(self, lasted: float) -> tuple[MigrationStep, float, float]:
        assert self._headway.current is not None
        return self._headway.current, self._headway.began, lasted

    def _row(self, step: MigrationStep, began: float, duration: float) -> NewRow:
        revision = self._history.by_id.get(step.revision)
        return NewRow(
            revision=step.revision,
            parent=step.parent,
            checksum=self.checksum(step),
            breaking=revision.is_breaking(self._sealed.get(step.revision)) if revision else None,
            ago=time.monotonic() - began,
            duration=duration,
            waited=self._budget.spent,
            attempts=self._headway.attempts,
        )


_FORGETS = re.compile(r"\b(?:deallocate|discard)\b", re.IGNORECASE)
"""Found in a statement after which the session holds no prepared ones any more."""
