"""Is the database at head? One round trip, without Alembic or SQLAlchemy.

What is unexpected is not judged here: then it takes a closer look.
"""

from __future__ import annotations

import psycopg2

from railhead.history import glance
from railhead.postgres.question import IDENTITY, Question
from railhead.settings import Settings

_GLANCE = 3
"""Seconds that the first look may take before a closer one, which waits for longer and says what it waits for."""


def at_head(settings: Settings) -> tuple[str, ...] | None:
    """Return the heads when one glance shows that the database is there; None when it takes a closer look. Read-only.

    Raises Stop at once when a server answers that it lets nobody in, and waiting will not change that.
    """
    if settings.database is None or settings.migrate_database is None:
        return None
    addresses, project = settings.addresses, settings.project
    table = project.version_table.sql
    question = f"SELECT version_num FROM {table}"
    if len(addresses) > 1:
        question = f"SELECT version_num, place.* FROM {table}, ({IDENTITY}) AS place"
    asked: list[Question] = []
    found: list[list[tuple[object, ...]]] = []
    try:
        asked += (Question(address, "start", question, timeout=_GLANCE) for address in addresses)
        heads = glance.heads_of(project.manifest, project.versions)  # while the server lets us in
        if heads:
            found.extend(one.answer() for one in asked)
    except psycopg2.OperationalError as error:
        from railhead.postgres.failures import cannot_connect, permanent  # only those pay who are not let in

        if not found and permanent(error):  # the application's role may be one that a revision makes
            raise cannot_connect(error, settings.migrations) from error
        return None
    except psycopg2.Error:
        return None
    finally:
        for one in asked:
            one.close()  # where nobody has waited for the answer
    versions = {tuple(sorted(str(row[0]) for row in rows)) for rows in found}
    places = {row[1:] for rows in found for row in rows}
    return heads if versions == {heads} and len(places) == 1 else None
