"""What happened to this database before?

Table `migration_ledger` beside `alembic_version`: one row for each revision that was applied, taken back, stamped or tried.
The row of an applied revision is written in that revision's own transaction. Never makes the table when it is only asked.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import NamedTuple

import psycopg2
from psycopg2.extensions import connection as Connection

from railhead.errors import Stop
from railhead.masking import masked
from railhead.postgres import failures, session_limits
from railhead.postgres.connection import IN_NO_QUEUE, fetch_all, fetch_value
from railhead.settings import Settings

TABLE = "migration_ledger"
ACTIONS = ("upgrade", "downgrade", "stamp", "adopt", "create_all", "baseline")
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


class LedgerRow(NamedTuple):
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


COLUMNS = ", ".join(LedgerRow._fields)


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


class NewRow(NamedTuple):
    """What is to be written of one revision. `ago` and `duration` are seconds, `ago` since it began."""

    revision: str | None
    parent: str | None
    checksum: str | None
    breaking: bool | None
    ago: float
    duration: float
    waited: float
    attempts: int | None


class _Sent(NamedTuple):
    """A field of NewRow on its way: the type in which it is sent, the column that it gets into, and what is made of it for that."""

    type: str
    column: str
    made: str


_SENT = {
    "revision": _Sent("text", "revision", "revision"),
    "parent": _Sent("text", "parent", "parent"),
    "checksum": _Sent("text", "checksum", "checksum"),
    "breaking": _Sent("boolean", "breaking", "breaking"),
    "ago": _Sent("float8", "started_at", "clock_timestamp() - make_interval(secs => ago)"),
    "duration": _Sent("float8", "duration_ms", "duration * 1000"),
    "waited": _Sent("float8", "waited_ms", "waited * 1000"),
    "attempts": _Sent("int", "attempts", "attempts"),
}
assert tuple(_SENT) == NewRow._fields

ROW_TYPES = tuple(sent.type for sent in _SENT.values())
ROW = f"row ({', '.join(_SENT)})"
"""The name of a row that is sent, and of what it has, in a FROM."""
WRITTEN = ", ".join(["run", "action", "outcome", "release", "actor", *(sent.column for sent in _SENT.values())])
"""The columns of a row that is written."""
MADE = ", ".join(["%s", "%s", "%s", "%s", "current_user || ' @ ' || %s", *(sent.made for sent in _SENT.values())])
"""What they are made of: the values of `of_run`, and ROW."""


def of_run(run: Run, outcome: str) -> tuple[str | None, ...]:
    """Return what all rows of a run that end so have in common."""
    return run.id, run.action, outcome, run.release, run.replica


def columns_of(rows: Sequence[NewRow]) -> list[list[object]]:
    """Return the rows field by field, as they are sent; there must be one."""
    return [list(column) for column in zip(*rows, strict=True)]


_OF_NO_REVISION = NewRow(None, None, None, None, ago=0.0, duration=0.0, waited=0.0, attempts=None)


def _is_home(schema: object) -> bool:
    return schema is not None and not str(schema).startswith("pg_")


_HOME = """
SELECT current_schema(), current_setting('search_path'), quote_ident(current_user), quote_ident(current_database())
"""


def exists(connection: Connection) -> bool:
    """Tell whether this database has a ledger. Read-only."""
    return bool(fetch_value(connection, f"SELECT to_regclass('{TABLE}') IS NOT NULL"))


def create(connection: Connection) -> None:
    """Make the ledger where there is none yet. Writes the ledger. Raises Stop where the role may not.

    Only for the holder of the migration lock.
    """
    is_there, home = fetch_all(connection, f"SELECT to_regclass('{TABLE}') IS NOT NULL, current_schema()")[0]
    if is_there:
        return
    if not _is_home(home):
        assert_home(connection)
    try:
        with connection.cursor() as cursor:
            cursor.execute(f"{session_limits.COMMIT_HERE}; {CREATE}")
    except psycopg2.errors.InsufficientPrivilege as error:
        role = fetch_value(connection, "SELECT current_user")
        schema = fetch_value(connection, "SELECT current_schema()") or "public"
        raise Stop(
            "missing-privilege",
            f"the role may not create the table {TABLE}",
            facts=[("role", str(role)), ("PostgreSQL", f"{failures.server_words(error)} (SQLSTATE {error.pgcode})")],
            database="unchanged",
            next_step=f"let the owner migrate (MIGRATE_DATABASE_URL), or run as the owner:\n"
            f'GRANT CREATE, USAGE ON SCHEMA "{schema}" TO "{role}";',
        ) from error


def assert_home(connection: Connection) -> None:
    """Raise Stop unless new tables get into a schema that is there and not PostgreSQL's own. Read-only."""
    home, path, role, database = fetch_all(connection, _HOME)[0]
    if _is_home(home):
        return
    why = (
        "no schema of them is there"
        if home is None
        else f"new tables would get into {'pg_temp, and be gone with their session' if home != 'pg_catalog' else home}"
    )
    raise Stop(
        "search-path",
        "search_path leads to no schema in which tables can be made",
        facts=[("path", f"{str(path) or 'empty'}: {why}"), ("role", f"{role} in {database}")],
        database="unchanged",
        next_step="make the schema that it should name first (CREATE SCHEMA ...), or put one first that is there, for all URLs alike:\n"
        f"ALTER ROLE {role} IN DATABASE {database} SET search_path = public;",
    )


def note(
    connection: Connection,
    run: Run,
    outcome: str,
    *,
    row: NewRow | None = None,
    error: str | None = None,
    catalog: str | None = None,
) -> None:
    """Write one row outside any migration's transaction: a failure of `row`'s revision, `create_all`. Writes the ledger."""
    arrays = ", ".join(f"%s::{kind}[]" for kind in ROW_TYPES)
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO {TABLE} ({WRITTEN}, error, catalog) SELECT {MADE}, %s, %s FROM unnest({arrays}) AS {ROW}",
            (*of_run(run, outcome), error and masked(error), catalog, *columns_of([row or _OF_NO_REVISION])),
        )


def applied(connection: Connection, run: Run) -> tuple[str, ...]:
    """Return the revisions that `run` has applied, oldest first. Read-only."""
    found = fetch_all(
        connection, f"SELECT revision FROM {TABLE} WHERE run = %s AND outcome = 'applied' ORDER BY id", (run.id,)
    )
    return tuple(str(row[0]) for row in found)


def entries(
    connection: Connection, limit: int | None = None, *, offset: int = 0, only: Filter | None = None
) -> list[LedgerRow]:
    """Return past rows, newest first; none if there is no ledger yet. Read-only. Raises LockNotAvailable when somebody keeps it."""
    condition, values = _condition(only or Filter())
    query = f"{IN_NO_QUEUE} SELECT {COLUMNS} FROM {TABLE} WHERE {condition} ORDER BY id DESC LIMIT %s OFFSET %s"
    try:
        found = fetch_all(connection, query, (*values, limit, offset))
    except psycopg2.errors.UndefinedTable:
        return []
    return _entries(found)


def count(connection: Connection, only: Filter) -> int:
    """Return how many rows `entries` has in all. Read-only. There must be a ledger."""
    condition, values = _condition(only)
    return int(str(fetch_value(connection, f"SELECT count(*) FROM {TABLE} WHERE {condition}", values)))


def arrivals(connection: Connection) -> dict[str, LedgerRow]:
    """Return for each revision the row that last brought the database to it. Read-only. There must be a ledger."""
    found = fetch_all(
        connection,
        f"SELECT DISTINCT ON (revision) {COLUMNS} FROM {TABLE}"
        " WHERE outcome = 'applied' AND action IN ('upgrade', 'stamp', 'adopt') AND revision IS NOT NULL"
        " ORDER BY revision, id DESC",
    )
    return {str(entry.revision): entry for entry in _entries(found)}


def _entries(found: list[tuple[object, ...]]) -> list[LedgerRow]:
    return [readable(LedgerRow(*row)) for row in found]  # type: ignore[arg-type]  # the columns are LedgerRow's, in its order


def readable(row: LedgerRow) -> LedgerRow:
    """Return a row without secrets: an older release may have written what an error quoted."""
    return row._replace(error=masked(row.error)) if row.error else row


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
    found = fetch_all(
        connection,
        f"SELECT DISTINCT ON (revision) revision, parent FROM {TABLE}"
        " WHERE outcome = 'applied' AND action <> 'downgrade' AND revision IS NOT NULL ORDER BY revision, id DESC",
    )
    return {str(revision): tuple(str(parent).split(",")) if parent else () for revision, parent in found}


def release_of(connection: Connection, revision: str) -> str | None:
    """Return the release that applied `revision`, None when nobody said. Read-only."""
    release = fetch_value(
        connection,
        f"SELECT release FROM {TABLE} WHERE revision = %s AND outcome = 'applied' ORDER BY id DESC LIMIT 1",
        (revision,),
    )
    return None if release is None else str(release)


def never_arrived(connection: Connection) -> bool:
    """Tell whether all that a database holds was made by runs that began from nothing, of which none has ended well yet. Read-only.

    A run that ends well keeps the catalog on a row of what it has applied.
    """
    return bool(
        fetch_value(
            connection,
            f"SELECT EXISTS (SELECT FROM {TABLE} WHERE action = 'baseline' OR (action = 'upgrade' AND parent IS NULL))"
            f" AND NOT EXISTS (SELECT FROM {TABLE} WHERE outcome = 'applied' AND action <> 'baseline'"
            " AND (catalog IS NOT NULL OR action <> 'upgrade'))",
        )
    )


def is_half_done(connection: Connection, revision: str, checksum: str | None, run: Run) -> bool:
    """Tell whether a run has begun this revision, as its file is now, and neither finished it nor taken it back. Read-only."""
    found = fetch_all(
        connection,
        f"SELECT outcome = 'started' AND action = %s AND checksum IS NOT DISTINCT FROM %s FROM {TABLE}"
        " WHERE revision = %s AND outcome <> 'failed' ORDER BY id DESC LIMIT 1",
        (run.action, checksum, revision),
    )
    return bool(found and found[0][0])


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
    rows = fetch_all(connection, f"SELECT id FROM {TABLE} WHERE {unsaid}", (run.id,))
    if not rows:
        return
    before = fetch_value(connection, _catalog_of(f"id < (SELECT min(id) {mine})"), (run.id, run.id))
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
        kept = fetch_value(connection, LAST_CATALOG)
    except psycopg2.errors.UndefinedTable:
        return None
    return None if kept is None else str(kept)
