"""How does a database of development become empty again?"""

from __future__ import annotations

from contextlib import closing
from functools import partial

import psycopg2
from psycopg2 import sql
from psycopg2.extensions import connection as Connection

from railhead.commands.data_loss import TABLES, as_lines, open_for, row_count
from railhead.diagnosis import messages
from railhead.execution.exclusive import exclusive
from railhead.postgres import blockers, session_limits
from railhead.postgres.connection import fetch_all, fetch_value, open_now
from railhead.postgres.retry_budget import Allowance
from railhead.settings import Settings
from railhead.state import inspection


def name_of(settings: Settings) -> str:
    """Return the name of the database as the server knows it: a pooler may call it otherwise. Read-only."""
    connection = open_for(settings, "reset")
    try:
        return str(fetch_value(connection, "SELECT current_database()"))
    finally:
        connection.close()


def of_reset(settings: Settings) -> list[str]:
    """Return one line for each table there is, with its rows. Read-only."""
    connection = open_for(settings, "reset")
    try:
        names = [str(row[0]) for row in fetch_all(connection, TABLES)]
        return as_lines([f"table {name}: {row_count(connection, name)}" for name in names])
    finally:
        connection.close()


def drop_everything(connection: Connection, within: float) -> None:
    """Empty every schema of the database but PostgreSQL's own, and leave an empty `public`, and those on the search path.

    Changes the schema. For development, under the migration lock. What extensions brought goes with them. Raises LockNotAvailable when somebody holds
    a table for more than `within` seconds; then nothing is dropped.
    """
    schemas = [(str(name), str(owner), bool(on_path)) for name, owner, on_path in fetch_all(connection, _SCHEMAS)]
    drops = [sql.SQL("DROP SCHEMA {} CASCADE").format(sql.Identifier(name)) for name, *_ in schemas]
    creates = [
        sql.SQL("CREATE SCHEMA {} AUTHORIZATION {}").format(sql.Identifier(name), sql.Identifier(owner))
        for name, owner, on_path in schemas
        if on_path and name != "public"
    ]
    limit = sql.SQL(f"SET lock_timeout = {session_limits.milliseconds(within)}")
    public = [sql.SQL("CREATE SCHEMA public"), sql.SQL("GRANT USAGE ON SCHEMA public TO PUBLIC")]
    with connection.cursor() as cursor:
        cursor.execute(sql.SQL("; ").join([limit, *drops, *public, *creates]))


_SCHEMAS = """
SELECT nspname, pg_get_userbyid(nspowner), nspname = ANY (current_schemas(false)) FROM pg_namespace
 WHERE nspname !~ '^pg_' AND nspname <> 'information_schema' ORDER BY nspname
"""


def empty_database(settings: Settings) -> None:
    """Empty the database once nobody migrates it any more. Changes the schema. Raises Stop when the lock or a table stays busy."""
    with (
        exclusive("reset", settings, partial(inspection.snapshot, table=settings.project.version_table)) as (_, seen),
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
