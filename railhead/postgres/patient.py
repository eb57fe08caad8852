"""How does a process that serves pages reach PostgreSQL? On connections that wait for nobody for long.

A server that is stopped, or behind a dead network, keeps no timeout and says nothing: whoever asks it gives up by itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import psycopg2
from psycopg2 import extensions
from psycopg2.sql import Composable

from railhead.dsn import Dsn
from railhead.postgres import interrupts

Values = Sequence[object] | Mapping[str, object] | None

SHORT_PATIENCE = 3.0
"""Seconds for a question that costs nothing: does anybody answer?"""

_REACH = {
    "client_encoding": "UTF8",
    "connect_timeout": "3",
    "keepalives_idle": "5",
    "keepalives_interval": "2",
    "keepalives_count": "2",
    "tcp_user_timeout": "6000",
}
"""So that a server that vanished is noticed within seconds, the last of which libpq takes in milliseconds."""


class Patient(extensions.connection):
    """A connection on which a server that says nothing for `patience` seconds counts as lost; nobody waits for ever."""

    patience = SHORT_PATIENCE

    def commit(self) -> None:
        """Commit. Raises psycopg2.OperationalError when nobody answers; what became of it is not known then."""
        with interrupts.guard(self, self.patience):
            super().commit()

    def rollback(self) -> None:
        """Roll back. Raises psycopg2.OperationalError when nobody answers."""
        with interrupts.guard(self, self.patience):
            super().rollback()


class _Cursor(extensions.cursor):
    """Asks on such a connection."""

    def execute(self, query: str | bytes | Composable, vars: Values = None) -> None:  # noqa: A002  psycopg2's name
        assert isinstance(self.connection, Patient)
        with interrupts.guard(self.connection, self.connection.patience):
            super().execute(query, vars)


def connect(dsn: Dsn, **more: str) -> Patient:
    """Return a connection that waits for nobody for long; `more` are parameters of libpq. Raises psycopg2.OperationalError."""
    parameters = Dsn.of(**{**_REACH, **dsn.parameters(), **more})
    return psycopg2.connect(parameters, connection_factory=Patient, cursor_factory=_Cursor)
