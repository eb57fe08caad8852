"""How does a database of development become empty again?"""

from __future__ import annotations

from contextlib import closing

import psycopg2
from psycopg2 import sql
from psycopg2.extensions import connection as Connection

from railhead.commands.data_loss import TABLES, as_lines, open_for, row_count
from railhead.diagnosis import messages
from railhead.execution.exclusive import exclusive
from railhead.postgres import blockers, session_limits
from railhead.postgres.connection import fetch_all, open_now
from railhead.postgres.retry_budget import Allowance
from railhead.settings import Settings
from railhead.state import inspection


def of_reset(settings: Settings) -> list[str]:
    """Return one line for each table there is, with its rows. Read-only."""
    connection = open_for(settings, "reset")
    try:
        names = [str(row[0]) for row in fetch_all(connection, TABLES)]
        return as_lines([f"table {name}: {row_count(connection, name)}" for name in names])
    finally:
        connection.close()


def drop_everything(connection: Connection, within: float) -> None:
    """Empty every schema of the database but PostgreSQL's own, and leave an empty `public`. Changes the schema.

    For development, under the migration lock. What extensions brought goes with them. Raises LockNotAvailable when somebody holds
    a table for more than `within` seconds; then nothing is dropped.
    """
    names = [str(row[0]) for row in fetch_all(connection, _SCHEMAS)]
    drops = [sql.SQL("DROP SCHEMA {} CASCADE").format(sql.Identifier(name)) for name in names]
    limit = sql.SQL(f"SET lock_timeout = {session_limits.milliseconds(within)}")
    statements = [limit, *drops, sql.SQL("CREATE SCHEMA public"), sql.SQL("GRANT USAGE ON SCHEMA public TO PUBLIC")]
    with connection.cursor() as cursor:
        cursor.execute(sql.SQL("; ").join(statements))


_SCHEMAS = """
SELECT nspname FROM pg_namespace WHERE nspname NOT LIKE 'pg\\_%' AND nspname <> 'information_schema' ORDER BY nspname
"""


def empty_database(settings: Settings) -> None:
    """Empty the database once nobody migrates it any more. Changes the schema. Raises Stop when the lock or a table stays busy."""
    with (
        exclusive("reset", settings, inspection.snapshot) as (_, seen),
        closing(open_now(settings.migrations, "reset")) as connection,
    ):
        try:
            drop_everything(connection, settings.wait_lock)
        except psycopg2.errors.LockNotAvailable as error:
            who = blockers.find_blockers(connection, _AT_WORK, (settings.migrations.session_name("reset"),))
            waited = Allowance(settings.wait_lock, "MIGRATE_WAIT_LOCK")
            raise messages.table_busy(error, None, f"unchanged, {seen.place}", waited, who) from error


_AT_WORK = f"{blockers.SESSIONS} WHERE datname = current_database() AND application_name <> %s AND xact_start IS NOT NULL ORDER BY 4 DESC"
"""The sessions that are in a transaction, oldest first."""
