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
    versions, heads = _look(settings) or ((), None)
    return heads if versions == heads else None


def can_serve(settings: Settings) -> tuple[tuple[str, ...], bool] | None:
    """Return where the database is, and whether post-deploy work waits there, when one glance shows that this code can serve it.

    None when it takes a closer look. Read-only. Raises Stop as `at_head` does.
    """
    place = _look(settings)
    return (place[0], place[0] != place[1]) if place else None


def _look(settings: Settings) -> tuple[tuple[str, ...], tuple[str, ...]] | None:
    """Return where the database is, if that is at head or where only post-deploy work is left, and the heads; None elsewhere."""
    if settings.database is None or settings.migrate_database is None:
        return None
    addresses, project = settings.addresses, settings.project
    table = project.version_table.sql
    sql = f"SELECT version_num FROM {table}"
    if len(addresses) > 1:
        sql = f"SELECT version_num, place.* FROM {table}, ({IDENTITY}) AS place"
    asked: list[Question] = []
    answers: list[list[tuple[object, ...]]] = []
    try:
        asked += (Question(address, "start", sql, timeout=_GLANCE) for address in addresses)
        sealed = glance.heads_of(project.manifest, project.versions)  # while the server lets us in
        if sealed:
            answers.extend(question.answer() for question in asked)
    except psycopg2.OperationalError as error:
        from railhead.postgres.failures import cannot_connect, permanent  # only those pay who are not let in

        if not answers and permanent(error):  # the application's role may be one that a revision makes
            raise cannot_connect(error, settings.migrations) from error
        return None
    except psycopg2.Error:
        return None
    finally:
        for question in asked:
            question.close()  # where nobody has waited for the answer
    seen = {tuple(sorted(str(row[0]) for row in rows)) for rows in answers}
    databases = {row[1:] for rows in answers for row in rows}
    if sealed is None or len(seen) != 1 or len(databases) != 1:
        return None
    (versions,), (heads, servable) = seen, sealed
    return (versions, heads) if versions == heads or (len(versions) == 1 and versions[0] in servable) else None
