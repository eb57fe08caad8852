"""What does the console show? The engine's overview, the tables, and the pages that the ledger and the revisions are cut into.

Read-only. Imports the engine's modules, and with them Alembic, so the views import this module when they are first asked:
whoever only serves does not pay for it.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import psycopg2
from psycopg2.extensions import connection as Connection

from railhead.autogenerate import model_diff
from railhead.autogenerate.model_diff import Difference
from railhead.commands.overview import Milestone, Overview, overview, unless_locked
from railhead.contrib.flask import tables
from railhead.contrib.flask.paging import Page
from railhead.contrib.flask.tables import Table
from railhead.devserver import shared
from railhead.history import loader
from railhead.history.graph import History
from railhead.postgres import failures, patient
from railhead.postgres.connection import is_pooled
from railhead.project import Project
from railhead.schema.catalog import Catalog
from railhead.settings import Settings
from railhead.state.ledger import Filter

CONNECT_TIMEOUT = "3"
"""Seconds: nobody who looks at a page, no health check either, waits for longer."""

PATIENCE = 9.0
"""Seconds after which a server that says nothing counts as lost."""

LEDGER_PAGE = 25
REVISIONS_PAGE = 25


class Console(NamedTuple):
    """Everything there is to show."""

    overview: Overview
    revisions: tuple[Milestone, ...]
    """Newest first, the page that is shown."""
    revisions_page: Page
    ledger_page: Page
    tables: tuple[Table, ...] | None
    """None while somebody holds a table for himself."""

    def record(self) -> dict[str, object]:
        """Return it for JSON."""
        return {
            **self.overview._replace(revisions=self.revisions).record(),
            "tables": None if self.tables is None else [table.record() for table in self.tables],
        }


_once = threading.Lock()
_known: dict[Path, History] = {}
_compared: dict[tuple[Path, str], list[Difference]] = {}
"""By project and the fingerprint of the schema: while this process lives, models and revisions do not change."""


def history(project: Project) -> History:
    """Return the revisions on disk; read once."""
    with _once:  # Alembic loads modules, which is not for two threads at once
        if project.root not in _known:
            _known[project.root] = loader.history(project)
        return _known[project.root]


@contextmanager
def observing(settings: Settings) -> Iterator[Connection]:
    """Give a connection that can change nothing and waits for nobody for long. Raises Stop when there is no server."""
    connection = _open(settings)
    try:
        scope = "LOCAL" if is_pooled(connection) else "SESSION"  # a pooler would hand SESSION on to others
        connection.set_session(readonly=True, autocommit=False)
        with connection.cursor() as cursor:
            cursor.execute(f"SET {scope} statement_timeout = '5s'; SET {scope} lock_timeout = '500ms'")
            if scope == "SESSION":
                connection.commit()  # else a rollback would take the settings back
        yield connection
    finally:
        connection.close()


def _open(settings: Settings) -> patient.Patient:
    address = shared.fill(settings).application
    name = address.session_name("console")
    try:
        connection = patient.connect(address.dsn, connect_timeout=CONNECT_TIMEOUT, application_name=name)
    except psycopg2.OperationalError as error:
        raise failures.cannot_connect(error, address) from error
    connection.autocommit = True
    connection.patience = PATIENCE
    return connection


def read(settings: Settings, only: Filter) -> Console:
    """Return everything, in a handful of queries on one connection. Read-only. Raises Stop or psycopg2.Error."""
    revisions = history(settings.project)

    def compare(connection: Connection, catalog: Catalog) -> list[Difference]:
        return _models_ahead(connection, settings.project, catalog)

    with observing(settings) as connection:
        rows = unless_locked(connection, lambda: tables.read(connection))
        told = overview(
            connection,
            settings,
            revisions,
            settings.project.models,
            compare=compare,
            only=only,
            window=lambda total: _window(_ledger_page(total)),
        )
    page = Page.asked_for("revisions", len(told.revisions), REVISIONS_PAGE)
    return Console(
        overview=told,
        revisions=told.revisions[page.offset : page.offset + page.size],
        revisions_page=page,
        ledger_page=_ledger_page(told.ledger_rows),
        tables=rows,
    )


def _ledger_page(total: int) -> Page:
    return Page.asked_for("ledger", total, LEDGER_PAGE)


def _window(page: Page) -> tuple[int, int]:
    return page.size, page.offset


def _models_ahead(connection: Connection, project: Project, catalog: Catalog) -> list[Difference]:
    """Alembic asks table by table, so for one schema it is asked once. Ends the connection's transaction."""
    with _once:
        key = (project.root, catalog.fingerprint)
        if key not in _compared:
            _compared.clear()
            _compared[key] = model_diff.models_ahead(project, project.models(), connection)
        return _compared[key]
