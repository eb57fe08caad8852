"""How is a database taken over that has tables but no version?"""

from __future__ import annotations

from contextlib import closing

from psycopg2.extensions import connection as Connection

from railhead.diagnosis import messages
from railhead.errors import Stop
from railhead.execution import adoption
from railhead.execution.exclusive import exclusive
from railhead.history import loader
from railhead.history.graph import History
from railhead.postgres.connection import open_now
from railhead.schema.ownership import few
from railhead.settings import Settings
from railhead.state import inspection, status
from railhead.state.inspection import Snapshot


def adopt(settings: Settings, revision: str | None, *, force: bool = False) -> str:
    """Take over an unmanaged database and return the revision that it is at. Writes the ledger.

    Without `revision` it is found by its schema. With one, the schema must be equal, unless `force`. Waits for the lock like
    any migration. Raises Stop when it is managed already or has none of our tables, when nothing is equal, or when the lock stays busy.
    """
    history = loader.history(settings.project)
    if history.problem:
        raise history.problem
    status.assert_one_database(settings)
    with (
        exclusive("adopt", settings, lambda connection: _unmanaged(connection, history)) as (lock, snapshot),
        closing(open_now(settings.migrations, "adopt")) as connection,
    ):
        return adoption.take_over(connection, lock, settings, history, snapshot, revision, force=force)


def _unmanaged(connection: Connection, history: History) -> Snapshot:
    """Return what there is to adopt. Read-only. Raises Stop when there is nothing."""
    seen = inspection.snapshot(connection, history.project.version_table)
    if seen.versions:
        raise messages.already_managed(seen.versions)
    if not seen.has_tables:
        raise Stop(
            "nothing-to-adopt",
            "the database is empty: there is nothing to adopt",
            database="unchanged, empty",
            next_step=messages.UPGRADE,
        )
    if not seen.taken_back and inspection.state(seen, history) == "behind":
        raise Stop(
            "nothing-to-adopt",
            "no table there is ours: there is nothing to adopt",
            facts=[("others", f"{few(seen.tables)}: no revision and no model names them")],
            database=f"unchanged, {seen.place}",
            next_step=messages.UPGRADE,
        )
    return seen
