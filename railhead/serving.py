"""How does an application that serves reach its database? On connections of its own that wait for nobody for long."""

from __future__ import annotations

from railhead.devserver import shared
from railhead.postgres import patient
from railhead.postgres.patient import Patient
from railhead.settings import Settings


def connect(settings: Settings, name: str = "serve") -> Patient:
    """Return a connection that pg_stat_activity shows as `railhead NAME RELEASE @ REPLICA`, unless the URL says otherwise. Read-only.

    By `serve` a newer release sees that this one is still there, and takes nothing away from it.

    Where no database is named it leads to the embedded server, which then starts. Raises psycopg2.OperationalError.
    """
    address = shared.fill(settings).application
    named = "application_name" in address.dsn.parameters()
    return patient.connect(address.dsn, **({} if named else {"application_name": settings.session_of(name)}))
