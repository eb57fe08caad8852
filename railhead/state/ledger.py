"""What happened to this database before?

Table `migration_ledger` beside `alembic_version`: one row for each revision that was applied, taken back, stamped or tried.
The row of an applied revision is written in that revision's own transaction. Never makes the table when it is only asked.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import NamedTuple

import psycopg2
from psycopg2.extensions import connection as Connection
from psycopg2.extensions import cursor as Cursor

from railhead.errors import Stop
from railhead.postgres import connection as database
from railhead.postgres.advisory_lock import Lock, LockLost
from railhead.settings import Settings

TABLE = "migration_ledger"
ACTIONS = ("upgrade", "downgrade", "stamp", "adopt", "create_all")
OUTCOMES = ("started", "applied", "failed")

CREATE = f"""
CREATE TABLE {TABLE} (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    run text NOT NULL,
    revision text,
    parent text,
    action text NOT NULL CHECK (action IN {ACTIONS}),
    outcome text NOT NULL CHECK (outcome IN {OUTCOMES}),
    breaking boolean,
    checksum text,
    started_at timestamp with time zone NOT NULL DEFAULT clock_timestamp(),
    duration_ms integer,
    waited_ms integer,
    attempts integer,
    release text,
    actor text NOT NULL,
    error text,
    catalog text
)
"""

COLUMNS = (
    "id, run, revision, parent, action, outcome, breaking, checksum, started_at, duration_ms, waited_ms, attempts,"
    " release, actor, error"
)


class Entry(NamedTuple):
    """One row of the ledger, without its catalog. Durations are milliseconds."""

    id: int
    run: str
    revision: str | None
    parent: str | None
    action: str
    outcome: str
    breaking: bool | None
    checksum: str | None
    started_at: datetime
    duration_ms: int | None
    waited_ms: int | None
    attempts: int | None
    release: str | None
    actor: str
    error: str | None

    def record(self) -> dict[str, object]:
        """Return it for JSON."""
        return {**self._asdict(), "started_at": self.started_at.isoformat()}


class Filter(NamedTuple):
    """Which rows are asked for; empty words ask for nothing."""

    action: str = ""
    outcome: str = ""
    revision: str = ""
    """The beginning of its id."""
    release: str = ""
    """The beginning of its name."""


class Run(NamedTuple):
    """What all rows of one run share."""

    id: str
    action: str
    release: str | None
    replica: str


def new_run(action: str, settings: Settings) -> Run:
    """Return the identity that the ledger gives to everything that one start does."""
    return Run(secrets.token_hex(6), action, settings.release, settings.replica)


class Row(NamedTuple):
    """What is to be written of one revision. `ago` and `duration` are seconds, `ago` since it began."""

    revision: str | None
    parent: str | None
    checksum: str | None
    breaking: bool | None
    ago: float
    duration: float
    waited: float
    attempts: int | None


_OF_NO_REVISION = Row(None, None, None, None, ago=0.0, duration=0.0, waited=0.0, attempts=None)


class TransactionLost(Exception):
    """The transaction is not the one that began under the lock: somebody has ended that one."""


class VersionMoved(Exception):
    """alembic_version does not hold what the steps have led to: somebody else has changed it."""


class RowsLost(Exception):
    """The ledger does not take its rows: a trigger is in the way."""


def exists(connection: Connection) -> bool:
    """Tell whether this database has a ledger. Read-only."""
    return bool(database.scalar(connection, f"SELECT to_regclass('{TABLE}') IS NOT NULL"))


def create(connection: Connection) -> None:
    """Make the ledger where there is none yet. Writes the ledger. Raises Stop where the role may not.

    Only for the holder of the migration lock.
    """
    if exists(connection):
        return
    try:
        with connection.cursor() as cursor:
            cursor.execute(CREATE)
    except psycopg2.errors.InsufficientPrivilege as error:
        role = database.scalar(connection, "SELECT current_user")
        schema = database.scalar(connection, "SELECT current_schema()") or "public"
        raise Stop(
            "missing-privilege",
            f"the role may not create the table {TABLE}",
            facts=[("role", str(role)), ("PostgreSQL", f"{database.said(error)} (SQLSTATE {error.pgcode})")],
            database="unchanged",
            next_step=f"let the owner migrate (MIGRATE_DATABASE_URL), or run as the owner:\n"
            f'GRANT CREATE, USAGE ON SCHEMA "{schema}" TO "{role}";',
        ) from error


def write(
    cursor: Cursor,
    lock: Lock,
    run: Run,
    rows: Sequence[Row],
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
        b"""ARRAY(SELECT version_num::text FROM alembic_version ORDER BY version_num COLLATE "C") = """ + heads,
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


def note(
    connection: Connection,
    run: Run,
    outcome: str,
    *,
    row: Row | None = None,
    error: str | None = None,
    catalog: str | None = None,
) -> None:
    """Write one row outside any migration's transaction: a failure of `row`'s revision, `create_all`. Writes the ledger."""
    row = row or _OF_NO_REVISION
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO {TABLE} (run, action, outcome, release, actor, revision, parent, checksum, breaking,"
            " started_at, duration_ms, waited_ms, attempts, error, catalog)"
            " VALUES (%s, %s, %s, %s, current_user || ' @ ' || %s, %s, %s, %s, %s,"
            " clock_timestamp() - make_interval(secs => %s), %s, %s, %s, %s, %s)",
            (
                run.id,
                run.action,
                outcome,
                run.release,
                run.replica,
                row.revision,
                row.parent,
                row.checksum,
                row.breaking,
                row.ago,
                round(row.duration * 1000),
                round(row.waited * 1000),
                row.attempts,
                error,
                catalog,
            ),
        )


def applied(connection: Connection, run: Run) -> tuple[str, ...]:
    """Return the revisions that `run` has applied, oldest first. Read-only."""
    found = database.rows(
        connection, f"SELECT revision FROM {TABLE} WHERE run = %s AND outcome = 'applied' ORDER BY id", (run.id,)
    )
    return tuple(str(row[0]) for row in found)


def entries(
    connection: Connection, limit: int | None = None, *, offset: int = 0, only: Filter | None = None
) -> list[Entry]:
    """Return past rows, newest first; none if there is no ledger yet. Read-only. Raises LockNotAvailable when somebody keeps it."""
    condition, values = _condition(only or Filter())
    query = (
        f"{database.IN_NO_QUEUE} SELECT {COLUMNS} FROM {TABLE} WHERE {condition} ORDER BY id DESC LIMIT %s OFFSET %s"
    )
    try:
        found = database.rows(connection, query, (*values, limit, offset))
    except psycopg2.errors.UndefinedTable:
        return []
    return _entries(found)


def count(connection: Connection, only: Filter) -> int:
    """Return how many rows `entries` has in all. Read-only. There must be a ledger."""
    condition, values = _condition(only)
    return int(str(database.scalar(connection, f"SELECT count(*) FROM {TABLE} WHERE {condition}", values)))


def arrivals(connection: Connection) -> dict[str, Entry]:
    """Return for each revision the row that last brought the database to it. Read-only. There must be a ledger."""
    found = database.rows(
        connection,
        f"SELECT DISTINCT ON (revision) {COLUMNS} FROM {TABLE}"
        " WHERE outcome = 'applied' AND action IN ('upgrade', 'stamp', 'adopt') AND revision IS NOT NULL"
        " ORDER BY revision, id DESC",
    )
    return {str(entry.revision): entry for entry in _entries(found)}


def _entries(found: list[tuple[object, ...]]) -> list[Entry]:
    return [Entry(*row) for row in found]  # type: ignore[arg-type]  # the columns are Entry's, in its order


def _condition(only: Filter) -> tuple[str, tuple[str, ...]]:
    tests = {
        "action = %s": only.action,
        "outcome = %s": only.outcome,
        "starts_with(revision, %s)": only.revision,
        "starts_with(release, %s)": only.release,
    }
    asked = {test: word for test, word in tests.items() if word}
    return " AND ".join(asked) or "true", tuple(asked.values())


def parents(connection: Connection) -> dict[str, tuple[str, ...]]:
    """Return which revisions each applied revision built on, as this database saw it. Read-only."""
    found = database.rows(
        connection,
        f"SELECT DISTINCT ON (revision) revision, parent FROM {TABLE}"
        " WHERE outcome = 'applied' AND action <> 'downgrade' AND revision IS NOT NULL ORDER BY revision, id DESC",
    )
    return {str(revision): tuple(str(parent).split(",")) if parent else () for revision, parent in found}


def release_of(connection: Connection, revision: str) -> str | None:
    """Return the release that applied `revision`, None when nobody said. Read-only."""
    release = database.scalar(
        connection,
        f"SELECT release FROM {TABLE} WHERE revision = %s AND outcome = 'applied' ORDER BY id DESC LIMIT 1",
        (revision,),
    )
    return None if release is None else str(release)


def keep_catalog(connection: Connection, run: Run, catalog: str) -> None:
    """Keep the schema that `run` has made on its last row. Writes the ledger.

    After the run's commits: reading a catalog takes a while, in which the migration would hold on to its table locks.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            f"UPDATE {TABLE} SET catalog = %s WHERE id = (SELECT max(id) FROM {TABLE} WHERE run = %s)",
            (catalog, run.id),
        )


def tell_breaking(connection: Connection, run: Run, compare: Callable[[str], bool | None]) -> None:
    """Say of what `run` has applied whether the release before it keeps working, where nobody has said so. Writes the ledger.

    `compare` tells it of the schema before the run, None when it cannot. What breaks nothing has no revision that does; which of several breaks
    something nobody can tell afterwards.
    """
    mine = f"FROM {TABLE} WHERE run = %s"
    unsaid = "run = %s AND action = 'upgrade' AND outcome = 'applied' AND breaking IS NULL"
    rows = database.rows(connection, f"SELECT id FROM {TABLE} WHERE {unsaid}", (run.id,))
    if not rows:
        return
    before = database.scalar(connection, _catalog_of(f"id < (SELECT min(id) {mine})"), (run.id, run.id))
    broken = None if before is None else compare(str(before))
    if broken is False or (broken and len(rows) == 1):
        with connection.cursor() as cursor:
            cursor.execute(f"UPDATE {TABLE} SET breaking = %s WHERE {unsaid}", (broken, run.id))


def _catalog_of(rows: str) -> str:
    """Return the query for the schema that the last run among these rows has left; none when it was killed before it kept it."""
    return (
        f"SELECT catalog FROM {TABLE} WHERE catalog IS NOT NULL AND {rows} AND id >="
        f" (SELECT max(id) FROM {TABLE} WHERE outcome IN ('applied', 'started') AND {rows}) ORDER BY id DESC LIMIT 1"
    )


LAST_CATALOG = _catalog_of("true")
"""The schema that the last run has left; no row when it was killed before it could keep it, or in the middle of a revision."""


def last_catalog(connection: Connection) -> str | None:
    """Return the catalog that the last run has kept, None if it has kept none. Read-only."""
    try:
        kept = database.scalar(connection, LAST_CATALOG)
    except psycopg2.errors.UndefinedTable:
        return None
    return None if kept is None else str(kept)
