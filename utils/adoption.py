"""Which revision is this unmanaged database at?

A database with tables but no version is taken over only when its schema equals a revision's exactly. Reads the database at
hand; where the manifest does not tell the schemas of the revisions, a scratch database on the same server does.
"""

from __future__ import annotations

import psycopg2
from psycopg2.extensions import connection as Connection

from utils import catalog, database, ledger, manifest, replay, revisions, runner
from utils.catalog import Change
from utils.errors import Stop
from utils.lock import Lock, LockLost
from utils.logs import log
from utils.revisions import History
from utils.settings import Dsn, Settings

MOST_DIFFERENCES = 12
"""How many differences a message tells; the rest is counted."""

_TOLD = {"added": "there, but not in the revision", "removed": "in the revision, but not there", "changed": "different"}


def equal_revisions(connection: Connection, server: Dsn, history: History) -> list[str]:
    """Return the revisions whose schema this database has exactly, oldest first. Read-only.

    The sealed fingerprints tell, as long as every file still has the bytes that were sealed; else a replay does.
    """
    here = catalog.read(connection).fingerprint
    sealed = manifest.read()
    if sealed and sealed.is_true() and all(entry.catalog != "-" for entry in sealed.entries):
        return [entry.revision for entry in sealed.entries if entry.catalog == here]
    return [revision for revision, there in replay.catalogs(server, history) if there.fingerprint == here]


def choose(connection: Connection, server: Dsn, history: History, place: str) -> str:
    """Return the one revision that this database is at. Read-only. Raises Stop when there is none, or more than one.

    What the refusal shows is exact: every difference to the nearest revision.
    """
    try:
        equal = equal_revisions(connection, server, history)
        if len(equal) == 1:
            return equal[0]
        if equal:
            raise _several(equal, place)
        raise _unlike(*_nearest(connection, server, history), place)
    except replay.Failed as error:
        raise _cannot_compare(str(error), place) from error
    except psycopg2.errors.InsufficientPrivilege as error:
        raise _cannot_compare(database.said(error), place) from error


def assert_equal(connection: Connection, server: Dsn, history: History, revision: str, place: str) -> None:
    """Raise Stop, with every difference, unless this database has the schema of `revision`. Read-only."""
    there = dict(replay.catalogs(server, history))[revision]
    differences = catalog.difference(there, catalog.read(connection))
    if differences:
        raise _unlike(revision, differences, place)


def take_over(
    connection: Connection,
    lock: Lock,
    settings: Settings,
    history: History,
    place: str,
    revision: str | None = None,
    *,
    force: bool = False,
) -> str:
    """Say that an unmanaged database is at the revision that its schema equals, and return it. Writes the ledger.

    With `revision`, that one must be equal, unless `force`. Raises Stop when nothing is, LockLost when the lock is gone.
    """
    server = settings.migrate_database
    assert server is not None
    with catalog.told_who(connection):
        if revision is None:
            found = choose(connection, server, history, place)
        else:
            found = revisions.find(history, revision)
            if not force:
                assert_equal(connection, server, history, found, place)
    ledger.create(connection)
    checksum = revisions.checksums({found: history.by_id[found].file}).get(found)
    adopt(connection, lock, runner.new_run("adopt", settings), found, checksum)
    log.info("adopt: the schema is that of %s%s", found, ", because you say so" if force else "; taken over there")
    return found


def adopt(connection: Connection, lock: Lock, run: ledger.Run, revision: str, checksum: str | None) -> None:
    """Say that the database is at `revision`, in alembic_version and in the ledger, in one transaction.

    Changes the schema by Alembic's own table only, writes the ledger. Raises LockLost, and then nothing was written.
    """
    row = ledger.Row(revision, None, checksum, None, ago=0.0, duration=0.0, waited=0.0, attempts=1)
    kept = catalog.read(connection).text
    with connection.cursor() as cursor:
        cursor.execute("BEGIN")
        try:
            cursor.execute(_VERSION_TABLE)
            cursor.execute("DELETE FROM alembic_version")
            cursor.execute("INSERT INTO alembic_version (version_num) VALUES (%s)", (revision,))
            ledger.write(cursor, lock, run, [row], "applied")
            ledger.keep_catalog(connection, run, kept)
        except (psycopg2.Error, LockLost):
            cursor.execute("ROLLBACK")
            raise
        cursor.execute("COMMIT")


def _nearest(connection: Connection, server: Dsn, history: History) -> tuple[str, list[Change]]:
    here = catalog.read(connection)
    compared = [(revision, catalog.difference(there, here)) for revision, there in replay.catalogs(server, history)]
    return min(reversed(compared), key=lambda one: len(one[1]), default=("base", []))


def _unlike(revision: str, differences: list[Change], place: str) -> Stop:
    told = [_difference(change) for change in differences[:MOST_DIFFERENCES]]
    if len(differences) > MOST_DIFFERENCES:
        told.append(f"and {len(differences) - MOST_DIFFERENCES} more")
    return Stop(
        "unmanaged",
        "the database has tables but no version, and its schema is that of no revision",
        facts=[("nearest", revision), ("differs", "\n".join(told))],
        database=f"unchanged, {place}",
        next_step=f"make it equal and start again, or take it for {revision} all the same:\n"
        f"python utils/migrate.py adopt {revision} --force\n"
        "in development, to start from nothing:  python utils/migrate.py reset",
    )


def _difference(change: Change) -> str:
    if change.kind == "changed":
        return f"{change.object}: {change.before} in the revision, {change.after} here"
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


def _cannot_compare(why: str, place: str) -> Stop:
    return Stop(
        "unmanaged",
        "the database has tables but no version, and its schema could not be compared with the revisions",
        facts=[("because", why)],
        database=f"unchanged, {place}",
        next_step="seal the revisions (python utils/migrate.py seal) and deploy the manifest, or say which it is:\n"
        "python utils/migrate.py adopt REV --force\n"
        "in development, to start from nothing:  python utils/migrate.py reset",
    )


_VERSION_TABLE = """
CREATE TABLE IF NOT EXISTS alembic_version (
    version_num varchar(32) NOT NULL, CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
)
"""
