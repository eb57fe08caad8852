"""What does PostgreSQL show of a migration, seen from outside?"""

from __future__ import annotations

from contextlib import closing

import psycopg2

from railhead.dsn import Dsn
from railhead.postgres import advisory_lock
from railhead.schema import catalog
from tests.databases import rows_of


def sessions(dsn: Dsn, like: str = "%") -> list[int]:
    """Return the pids of the other sessions in this database whose application name is `like` that."""
    found = rows_of(
        dsn,
        "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND backend_type = 'client backend'"
        " AND pid <> pg_backend_pid() AND application_name LIKE %s ORDER BY backend_start",
        [like],
    )
    return [int(str(pid)) for (pid,) in found]


def running(dsn: Dsn, words: str) -> list[int]:
    """Return the pids of the other sessions that work on a statement with these words in it."""
    found = rows_of(
        dsn,
        "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        " AND state = 'active' AND strpos(query, %s) > 0 AND backend_type = 'client backend'",
        [words],
    )
    return [int(str(pid)) for (pid,) in found]


def locks(dsn: Dsn) -> list[tuple[object, ...]]:
    """Return the locks in this database that other clients, or prepared transactions, hold or want."""
    return rows_of(
        dsn,
        "SELECT pid, locktype, mode, granted FROM pg_locks l LEFT JOIN pg_stat_activity a USING (pid)"
        " WHERE database = (SELECT oid FROM pg_database WHERE datname = current_database())"
        " AND (pid IS NULL OR (pid <> pg_backend_pid() AND backend_type = 'client backend'))",
    )


def holder(dsn: Dsn) -> advisory_lock.Holder | None:
    """Return who holds the migration lock."""
    with closing(psycopg2.connect(dsn)) as connection:
        connection.autocommit = True
        return advisory_lock.holder(connection)


def applied(dsn: Dsn) -> list[str]:
    """Return what the ledger says was applied, in that order; nothing where there is no ledger yet."""
    try:
        found = rows_of(dsn, "SELECT revision FROM migration_ledger WHERE outcome = 'applied' ORDER BY id")
    except psycopg2.errors.UndefinedTable:
        return []
    return [str(revision) for (revision,) in found]


def versions(dsn: Dsn) -> list[str]:
    """Return what Alembic's table holds."""
    try:
        return [str(version) for (version,) in rows_of(dsn, "SELECT version_num FROM alembic_version")]
    except psycopg2.errors.UndefinedTable:
        return []


def invalid_indexes(dsn: Dsn) -> list[str]:
    """Return the indexes that a broken build has left behind."""
    return [str(name) for (name,) in rows_of(dsn, "SELECT indexrelid::regclass FROM pg_index WHERE NOT indisvalid")]


def schema(dsn: Dsn) -> str:
    """Return the canonical text of the schema, the ledger and Alembic's table left out."""
    with closing(psycopg2.connect(dsn)) as connection:
        connection.autocommit = True
        return catalog.read(connection).text
