"""Is it really done, seen from outside?

Looks through every URL that is set, on connections of its own. Read-only.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from typing import NamedTuple

import psycopg2

from railhead.diagnosis import messages
from railhead.errors import Stop
from railhead.execution.failure_report import FailureReport
from railhead.postgres.connection import database_identity, fetch_value, reach
from railhead.postgres.retry_budget import Allowance
from railhead.settings import Settings
from railhead.state import inspection, ledger
from railhead.state.inspection import Snapshot


class Seen(NamedTuple):
    """What one URL leads to."""

    variable: str
    look: Snapshot
    applied: tuple[str, ...]
    """The revisions that the ledger says this run has applied, oldest first."""
    identity: tuple[object, ...]


def look(settings: Settings, command: str, run: ledger.Run, allowance: Allowance, account: FailureReport) -> list[Seen]:
    """Return what every URL leads to, the migrations' first. Read-only. Raises Stop when it leads nowhere, or to two databases."""
    seen: list[Seen] = []
    for address in settings.addresses:
        try:
            connection = reach(address, command, allowance)
        except Stop as stop:
            raise stop.replaced(database=seen[0].look.place if seen else messages.NOBODY_ANSWERS) from stop
        try:
            found = inspection.snapshot(connection, settings.project.version_table)
            applied = ledger.applied(connection, run) if found.has_ledger else ()
            seen.append(Seen(address.variable, found, applied, database_identity(connection)))
        except psycopg2.errors.InsufficientPrivilege as error:
            raise account.refused(error, partial(fetch_value, connection)) from error
        finally:
            connection.close()
    here, *others = seen
    for other in others:
        if other.identity != here.identity:
            raise messages.two_databases(settings.addresses, here.look.place)
    return seen


def assert_same(seen: Sequence[Seen], settings: Settings) -> None:
    """Raise Stop unless every URL shows the versions that the first one does: a search_path may lead past the tables."""
    here, *others = seen
    for other in others:
        if other.look.versions != here.look.versions:
            places = ((one.variable, one.look.place) for one in (here, other))
            raise messages.two_schemas(settings.addresses, dict(places))


def assert_written(here: Seen, done: Iterable[str]) -> None:
    """Raise Stop unless the ledger holds a row for each revision that was committed."""
    missing = [revision for revision in done if revision not in here.applied]
    if missing:
        raise messages.not_written(missing, here.look.place)
