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


def look(settings: Settings, command: str, run: ledger.Run, allowance: Allowance, report: FailureReport) -> list[Seen]:
    """Return what every URL leads to, the migrations' first. Read-only. Raises Stop when it leads nowhere, or to two databases."""
    places: list[Seen] = []
    for address in settings.addresses:
        try:
            connection = reach(address, command, allowance)
        except Stop as stop:
            raise stop.replaced(database=places[0].look.place if places else messages.NOBODY_ANSWERS) from stop
        try:
            shown = inspection.snapshot(connection, settings.project.version_table)
            applied = ledger.applied(connection, run) if shown.has_ledger else ()
            places.append(Seen(address.variable, shown, applied, database_identity(connection)))
        except psycopg2.errors.InsufficientPrivilege as error:
            raise report.refused(error, partial(fetch_value, connection)) from error
        finally:
            connection.close()
    first, *others = places
    for another in others:
        if another.identity != first.identity:
            raise messages.two_databases(settings.addresses, first.look.place)
    return places


def assert_same(looks: Sequence[Seen], settings: Settings) -> None:
    """Raise Stop unless every URL shows the versions that the first one does: a search_path may lead past the tables."""
    first, *others = looks
    for another in others:
        if another.look.versions != first.look.versions:
            places = ((one.variable, one.look.place) for one in (first, another))
            raise messages.two_schemas(settings.addresses, dict(places))


def assert_written(first: Seen, done: Iterable[str]) -> None:
    """Raise Stop unless the ledger holds a row for each revision that was committed."""
    missing = [revision for revision in done if revision not in first.applied]
    if missing:
        raise messages.not_written(missing, first.look.place)
