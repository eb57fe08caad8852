"""Which revision is this unmanaged database at?

A database with tables but no version is taken over only when its schema equals a revision's exactly. Reads the database at
hand; where the manifest does not tell the schemas of the revisions, a scratch database does, which is never made on a server in
production.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Sequence
from contextlib import closing

import psycopg2
from psycopg2.extensions import connection as Connection

from railhead.devserver import scratch, shared
from railhead.errors import Fact, Refusal, Stop
from railhead.execution import recorder
from railhead.execution.recorder import Claim
from railhead.hazards import history_replay, replay
from railhead.history import baseline, manifest
from railhead.history.checksum import checksum_of
from railhead.history.graph import History, Revision, find
from railhead.logs import log
from railhead.postgres import failures, session_limits
from railhead.postgres.advisory_lock import Lock
from railhead.schema import catalog, diff
from railhead.schema.catalog import Catalog
from railhead.schema.diff import Change
from railhead.schema.ownership import Ownership, few
from railhead.settings import Settings
from railhead.state import ledger, owners
from railhead.state.inspection import Snapshot

MOST_DIFFERENCES = 12
"""How many differences a message tells; the rest is counted."""

_TOLD = {"added": "there, but not in the revision", "removed": "in the revision, but not there", "changed": "different"}


class _NotComparable(Exception):
    """Nobody can tell the schemas of the revisions."""


def equal_revisions(connection: Connection, settings: Settings, history: History) -> list[str]:
    """Return the revisions whose schema this database has exactly, oldest first. Read-only.

    The sealed fingerprints tell, as long as every file still has the bytes that were sealed; else a replay does.
    """
    catalog_here, whose = catalog.read(connection), _whose(connection, history)
    sealed = manifest.read(settings.project.manifest)
    if (
        sealed
        and sealed.is_true(settings.project.versions)
        and all(entry.is_replayed or entry.revision in history.in_baseline for entry in sealed.entries)
    ):
        equal = {catalog_here.fingerprint, _ours(catalog_here, whose).fingerprint}
        return [entry.revision for entry in sealed.entries if entry.catalog in equal]
    return [
        revision
        for revision, after_revision in _catalogs(settings, history)
        if after_revision.fingerprint == _ours(catalog_here, whose, after_revision).fingerprint
    ]


def _whose(connection: Connection, history: History) -> Ownership:
    return owners.in_database(connection, history, None, history.project.models)


def _ours(schema: Catalog, whose: Ownership, after_revision: Catalog | None = None) -> Catalog:
    """Return the schema without what is somebody else's; whatever is `there` after a revision is ours, too."""
    made_there = after_revision.objects if after_revision else {}
    return schema.only(lambda identity: identity in made_there or whose.owns(identity))


def choose(connection: Connection, settings: Settings, history: History, snapshot: Snapshot) -> str:
    """Return the one revision that this database is at. Read-only. Raises Stop when there is none, or more than one.

    What the refusal shows is exact: every difference to the nearest revision.
    """
    equal = equal_revisions(connection, settings, history)
    if len(equal) == 1:
        return equal[0]
    if equal:
        raise _several(equal, snapshot.place)
    raise _unlike(*_nearest(connection, settings, history), snapshot, history)


def assert_equal(
    connection: Connection, settings: Settings, history: History, revision: str, snapshot: Snapshot
) -> None:
    """Raise Stop, with every difference, unless this database has the schema of `revision`. Read-only."""
    with closing(_catalogs(settings, history)) as each:
        after_revision = next(schema for revision_id, schema in each if revision_id == revision)
    differences = diff.difference(
        after_revision, _ours(catalog.read(connection), _whose(connection, history), after_revision)
    )
    if differences:
        raise _unlike(revision, differences, snapshot, history)


def take_over(
    connection: Connection,
    lock: Lock,
    settings: Settings,
    history: History,
    snapshot: Snapshot,
    revision: str | None = None,
    *,
    force: bool = False,
) -> str:
    """Say that an unmanaged database is at the revision that its schema equals, and return it. Writes the ledger.

    With `revision`, that one must be equal, unless `force`. Raises Stop when nothing is, LockLost when the lock is gone.
    The schema of a revision is what it and all that are replayed before it make: on one of two branches its versions are
    both branches' newest, unless only the first was replayed.
    """
    with catalog.told_who(connection):
        try:
            if revision is None:
                equal = choose(connection, settings, history, snapshot)
            else:
                equal = find(history, revision)
                if not force:
                    assert_equal(connection, settings, history, equal, snapshot)
        except replay.Failed as error:
            step = "see the log of the scratch server" if error.is_servers_own else "correct that revision"
            raise _cannot_compare(
                error.told if error.is_servers_own else str(error), step, snapshot, history
            ) from error
        except _NotComparable as error:
            raise _cannot_compare(str(error), _ELSEWHERE, snapshot, history) from error
        except psycopg2.errors.InsufficientPrivilege as error:
            raise _cannot_compare(failures.server_words(error), _ELSEWHERE, snapshot, history) from error
    ledger.create(connection)
    replayed = list(history.by_id.values())
    versions = History(settings.project, replayed[: replayed.index(history.by_id[equal]) + 1]).heads
    claim = Claim(lock, ledger.new_run("adopt", settings), settings.project.version_table)
    adopt(connection, claim, [history.by_id[version] for version in versions])
    place = ", ".join(versions)
    log.info("adopt: the schema is that of %s%s", place, ", because you say so" if force else "; taken over there")
    others = _whose(connection, history).left_alone()
    if others:
        log.info("left alone, because no revision and no model names them: %s", few(others))
    return place


def begin(connection: Connection, lock: Lock, run: ledger.Run, history: History) -> None:
    """Let an empty database begin with the baseline of the history. Changes the schema, writes the ledger, in one transaction.

    Raises Stop when the file is not what was sealed, or when the server does not take it: then nothing was changed.
    """
    text = baseline.sql(history)
    assert text is not None
    revision = history.by_id[str(history.origin.baseline)]
    ledger.create(connection)
    began = time.monotonic()
    try:
        claim = Claim(lock, run._replace(action="baseline"), history.project.version_table)
        adopt(connection, claim, [revision], f"{text};{_LET_BASELINE}")
    except psycopg2.Error as error:
        if error.pgcode is None:
            raise
        raise Stop(
            "baseline",
            "the server does not take the baseline of this history",
            facts=[
                ("file", "migrations/baseline.sql"),
                ("PostgreSQL", f"{failures.server_words(error)} (SQLSTATE {error.pgcode})"),
            ],
            database="unchanged, empty",
            next_step=f"give the role what it lacks (an extension, a schema), or make the baseline anew:\n{baseline.SEAL_FROM}",
        ) from error
    log.info(
        "the database was empty: migrations/baseline.sql has made the schema at %s in %.0f ms",
        revision.id,
        (time.monotonic() - began) * 1000,
    )


def adopt(connection: Connection, claim: Claim, versions: Sequence[Revision], making: str = "") -> None:
    """Say that the database is at these versions, in its version table and in the ledger, in one transaction with what is `making` them so.

    Changes the schema by Alembic's own table and that, writes the ledger. Raises LockLost, and then nothing was written.
    """
    rows = [
        ledger.NewRow(
            revision.id,
            ",".join(revision.parents) or None,
            checksum_of(revision.path),
            None,
            ago=0.0,
            duration=0.0,
            waited=0.0,
            attempts=1,
        )
        for revision in versions
    ]
    ids = [revision.id for revision in versions]
    with connection.cursor() as cursor:
        cursor.execute(f"BEGIN; {session_limits.COMMIT_HERE}; {claim.lock.brand()}")
        try:
            if making:
                cursor.execute(making)
            kept = catalog.read(connection).text
            cursor.execute(baseline.version_table_made(claim.table))
            cursor.execute(f"DELETE FROM {claim.table.sql}")
            with recorder.refusing(ids):
                moving = recorder.moving(cursor, claim.table, frozenset(), frozenset(ids))
                recorder.write(cursor, claim, rows, "applied", ids, first=moving)
            ledger.keep_catalog(connection, claim.run, kept)
        except Exception as error:
            cursor.execute("ROLLBACK")
            if isinstance(error, Refusal):
                raise error.replaced(database="unchanged") from error
            raise
        cursor.execute("COMMIT")


def _catalogs(settings: Settings, history: History) -> Generator[tuple[str, Catalog]]:
    """Yield the catalog after each revision, oldest first. Changes a scratch database only, and never on a server in production.

    Raises replay.Failed, and _NotComparable when there is no server to try the revisions on.
    """
    try:
        server = scratch.server(settings)
    except Stop as stop:
        raise _NotComparable(f"{_NO_SCRATCH if settings.production else ''}{stop.headline}") from stop
    try:
        yield from history_replay.catalogs(server, history)
    finally:
        if settings.production:
            shared.leave(settings.project.data)  # for which nobody else here has a use


def _nearest(connection: Connection, settings: Settings, history: History) -> tuple[str, list[Change]]:
    schema, whose = catalog.read(connection), _whose(connection, history)
    compared = [
        (revision, diff.difference(after_revision, _ours(schema, whose, after_revision)))
        for revision, after_revision in _catalogs(settings, history)
    ]
    return min(reversed(compared), key=lambda distance: len(distance[1]), default=("base", []))


def _unlike(revision: str, differences: list[Change], snapshot: Snapshot, history: History) -> Stop:
    shown = [_difference(change) for change in differences[:MOST_DIFFERENCES]]
    if len(differences) > MOST_DIFFERENCES:
        shown.append(f"and {len(differences) - MOST_DIFFERENCES} more")
    missing = any(change.kind == "removed" and change.object.startswith("table ") for change in differences)
    colliding, others = _shares(snapshot, history)
    if not (missing or others):
        colliding = ()
    return Stop(
        "unmanaged",
        "the database has tables but no version, and its schema is that of no revision",
        facts=[("nearest", revision), ("differs", "\n".join(shown)), *_told_apart(colliding, others)],
        database=f"unchanged, {snapshot.place}",
        next_step=_apart(colliding)
        if missing
        else f"make it equal and start again, or take it for {revision} all the same:\n"
        f"python utils/migrate.py adopt {revision} --force\n"
        "in development, to start from nothing:  python utils/migrate.py reset",
    )


def _shares(snapshot: Snapshot, history: History) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the tables with a name of ours, and those of others."""
    colliding = owners.ours(snapshot.tables, history)
    return colliding, tuple(table for table in snapshot.tables if table not in colliding)


def _told_apart(colliding: Sequence[str], others: Sequence[str]) -> list[Fact]:
    return [
        *([("our names", f"{few(colliding)}: a revision makes them, or a model knows them")] if colliding else []),
        *([("others", f"{few(others)}: no revision and no model names them")] if others else []),
    ]


def _apart(colliding: Sequence[str]) -> str:
    """Return what to do where tables of ours are missing: to call that a revision would leave the application without them."""
    return (
        f"make it equal and start again; where {few(colliding)} is another application's, give this one a schema of its own:\n"
        "CREATE SCHEMA app;\n"
        "and at the end of its URL:  ?options=-csearch_path%3Dapp"
    )


def _difference(change: Change) -> str:
    if change.kind == "changed":
        before, after = (" ".join((words or "").split()) for words in (change.before, change.after))
        return f"{change.object}: {before} in the revision, {after} here"
    return f"{change.object}: {_TOLD[change.kind]}"


def _several(equal: list[str], place: str) -> Stop:
    return Stop(
        "unmanaged",
        "the database has tables but no version, and more than one revision has this schema",
        facts=[("equal to", "\n".join(equal))],
        database=f"unchanged, {place}",
        next_step="say which of them it is, knowing which data migrations have run:\n"
        f"python utils/migrate.py adopt {equal[-1]}",
    )


def _cannot_compare(why: str, instead: str, snapshot: Snapshot, history: History) -> Stop:
    colliding, others = _shares(snapshot, history)
    return Stop(
        "unmanaged",
        "the database has tables but no version, and its schema could not be compared with the revisions",
        facts=[("because", why), *(_told_apart(colliding, others) if others else [])],
        database=f"unchanged, {snapshot.place}",
        next_step=f"{instead}, or say which it is:\n"
        "python utils/migrate.py adopt REV --force\n"
        "in development, to start from nothing:  python utils/migrate.py reset",
    )


_NO_SCRATCH = "no revision is tried on a server in production, and here "
_ELSEWHERE = (
    "see the differences from a development machine, with requirements-dev.txt and the URL of this database:\n"
    "python utils/migrate.py adopt\n"
    "or seal the revisions (python utils/migrate.py seal) and deploy the manifest"
)
_LET_BASELINE = f"""
ALTER TABLE {ledger.TABLE} DROP CONSTRAINT IF EXISTS {ledger.TABLE}_action_check,
      ADD CONSTRAINT {ledger.TABLE}_action_check CHECK (action IN {ledger.ACTIONS})
"""
"""A ledger that is older than baselines does not know the word."""
