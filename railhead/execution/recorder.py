"""How are version and ledger row written, in the revision's own transaction and in one trip?"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import psycopg2
from psycopg2.extensions import cursor as Cursor

from railhead.postgres.advisory_lock import Lock, LockLost
from railhead.project import version_table
from railhead.state.ledger import TABLE, NewRow, Run


class TransactionLost(Exception):
    """The transaction is not the one that began under the lock: somebody has ended that one."""


class VersionMoved(Exception):
    """alembic_version does not hold what the steps have led to: somebody else has changed it."""


class RowsLost(Exception):
    """The ledger does not take its rows: a trigger is in the way."""


def write(
    cursor: Cursor,
    lock: Lock,
    run: Run,
    rows: Sequence[NewRow],
    outcome: str,
    heads: Iterable[str],
    *,
    first: bytes = b"",
    then: bytes = b"",
    prepared: bool = False,
) -> None:
    """Write `rows` if, and only if, the lock and this transaction are still ours and alembic_version holds `heads`. Writes the ledger.

    One trip to the server, with `first`, which is what moves the version, and `then`, which comes only after rows that were
    written. `prepared`: by the statement that `prepare` has left in this session, for this run, lock and outcome. Raises
    LockLost, TransactionLost, VersionMoved or RowsLost, and then nothing of the transaction can be committed any more.
    """
    values = (
        [row.revision for row in rows],
        [row.parent for row in rows],
        [row.checksum for row in rows],
        [row.breaking for row in rows],
        [row.ago for row in rows],
        [round(row.duration * 1000) for row in rows],
        [round(row.waited * 1000) for row in rows],
        [row.attempts for row in rows],
        sorted(heads),
    )
    if prepared:
        places = ", ".join(f"%s::{kind}" for kind in _TYPES)
        insertion = cursor.mogrify(f"EXECUTE {_PREPARED} ({places})", values)
    else:
        given = [cursor.mogrify(f"%s::{kind}", (value,)) for kind, value in zip(_TYPES, values, strict=True)]
        insertion = _insertion(cursor, lock, run, outcome, given)
    try:
        cursor.execute(b";".join([first, insertion, then]))
    except psycopg2.errors.InvalidTextRepresentation as error:
        for words, refusal in _REFUSALS.items():
            if words in str(error):
                raise refusal from error
        raise


def moving(cursor: Cursor, written: frozenset[str], heads: frozenset[str]) -> bytes:
    """Return the statements that let alembic_version, where `written` stands, hold `heads`; none when it does."""
    gone, come, table = sorted(written - heads), sorted(heads - written), version_table().sql
    if not gone and not come:
        return b""
    if len(gone) == len(come) == 1:
        return cursor.mogrify(f"UPDATE {table} SET version_num = %s WHERE version_num = %s", (*come, *gone))
    return cursor.mogrify(
        f"DELETE FROM {table} WHERE version_num = ANY(%s::text[]);INSERT INTO {table} SELECT unnest(%s::text[])",
        (gone, come),
    )


def prepare(cursor: Cursor, lock: Lock, run: Run, outcome: str) -> None:
    """Have the server keep the plan of `write`, half of its cost, for as long as the session lasts. There must be a version.

    Not behind a transaction pooler, where the next transaction may find itself in another session.
    """
    places = [f"${number}".encode() for number in range(1, len(_TYPES) + 1)]
    insertion = _insertion(cursor, lock, run, outcome, places)
    cursor.execute(f"PREPARE {_PREPARED} ({', '.join(_TYPES)}) AS ".encode() + insertion)


_REFUSALS: dict[str, type[Exception]] = {
    "railhead: the migration lock is lost": LockLost,
    "railhead: this is not the transaction that began under the lock": TransactionLost,
    "railhead: alembic_version was changed": VersionMoved,
    "railhead: the rows were not written": RowsLost,
}
"""What the server refuses with, and what that means. It stands in its log, too."""

_PREPARED = "railhead_ledger"
_TYPES = ("text[]", "text[]", "text[]", "boolean[]", "float8[]", "int[]", "int[]", "int[]", "text[]")


def _insertion(cursor: Cursor, lock: Lock, run: Run, outcome: str, given: Sequence[bytes]) -> bytes:
    """Return the statement of `write`; `given` are the columns of its rows, and the heads.

    The server itself refuses what may not be: it fails where a text that tells why shall be a number.
    """
    *columns, heads = given
    conditions = (
        cursor.mogrify(*lock.held()),
        cursor.mogrify(*lock.branded()),
        f'ARRAY(SELECT version_num::text FROM {version_table().sql} ORDER BY version_num COLLATE "C") = '.encode()
        + heads,
    )
    *reasons, last = (cursor.mogrify("%s::text", (words,)) for words in _REFUSALS)
    return b"".join(
        [
            b"WITH written AS (",
            f"INSERT INTO {TABLE} (run, action, outcome, release, actor, revision, parent, checksum, breaking,"
            " started_at, duration_ms, waited_ms, attempts)".encode(),
            cursor.mogrify(
                " SELECT %s, %s, %s, %s, current_user || ' @ ' || %s, r.revision, r.parent, r.checksum, r.breaking,"
                " clock_timestamp() - make_interval(secs => r.ago), r.duration, r.waited, r.attempts FROM unnest(",
                (run.id, run.action, outcome, run.release, run.replica),
            ),
            b", ".join(columns),
            b") AS r (revision, parent, checksum, breaking, ago, duration, waited, attempts) WHERE ",
            b" AND ".join(conditions),
            b" RETURNING 1) SELECT CASE WHEN (SELECT count(*) FROM written) = cardinality(" + columns[0] + b") THEN 0",
            b" ELSE (CASE",
            *(b" WHEN NOT " + test + b" THEN " + words for test, words in zip(conditions, reasons, strict=True)),
            b" ELSE " + last + b" END)::int END",
        ]
    )
