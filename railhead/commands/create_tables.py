"""How are missing tables made from the models? For development, after a migration has failed."""

from __future__ import annotations

from contextlib import closing
from functools import partial

import psycopg2
from sqlalchemy import MetaData
from sqlalchemy.exc import DBAPIError

from railhead.diagnosis import messages
from railhead.execution.exclusive import exclusive
from railhead.history.models import is_view, joined
from railhead.postgres.connection import open_now
from railhead.postgres.engine import engine_over
from railhead.schema import catalog
from railhead.settings import Settings
from railhead.state import inspection, ledger, status


def create_tables(settings: Settings, metadata: MetaData) -> None:
    """Make every table of models.py that is missing, and say so in the ledger. Changes the schema, writes the ledger.

    For development, after a migration has failed. Waits for the lock like any migration. Raises Stop when that fails too.
    """
    status.assert_one_database(settings)
    with (
        exclusive("create_all", settings, partial(inspection.snapshot, table=settings.project.version_table)),
        closing(open_now(settings.application, "create_all")) as connection,
    ):
        ledger.create(connection)
        try:
            whole = joined(metadata)
            tables = [table for table in whole.tables.values() if not is_view(table)]
            whole.create_all(engine_over(connection), tables=tables)
            kept = catalog.read(connection).text
            ledger.note(connection, ledger.new_run("create_all", settings), "applied", catalog=kept)
        except (DBAPIError, psycopg2.Error) as error:
            raise messages.failed(error, None, "some tables may have been made", left=False) from error
