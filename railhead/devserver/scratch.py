"""Where can something be tried out?

On an empty database of our own, which is gone afterwards; never on a server in production, nor in a database that is in use.
"""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psycopg2
from psycopg2 import sql
from psycopg2.extensions import connection as Connection

from railhead.devserver import shared
from railhead.dsn import Dsn
from railhead.logs import log
from railhead.postgres import failures
from railhead.postgres.connection import connect, fetch_all, fetch_value
from railhead.settings import Settings

PREFIX = "railhead_scratch_"

EMPTY = "template0"


def server(settings: Settings) -> Dsn:
    """Return where scratch databases may be made: the server that the settings name in development, else the embedded one.

    Starts the embedded one where the named server does not answer or does not let us create databases. Raises Stop.
    """
    named = settings.migrate_database
    if named is None or settings.production:
        return shared.use(settings.project.data)
    try:
        connection = connect(named, "railhead replay")
    except psycopg2.OperationalError as error:
        log.info("scratch databases are made on the embedded server: %s", failures.server_words(error))
        return shared.use(settings.project.data)
    try:
        if fetch_value(connection, "SELECT rolcreatedb OR rolsuper FROM pg_roles WHERE rolname = current_user"):
            return named
    finally:
        connection.close()
    log.info("scratch databases are made on the embedded server: the role may not create any on %s", named.redacted())
    return shared.use(settings.project.data)


@contextmanager
def made_on(server: Dsn, template: str = EMPTY) -> Iterator[Dsn]:
    """Give a database of our own on `server`, empty or like `template`, and drop it afterwards. Raises psycopg2.Error where we may not.

    Nobody waits there for a lock without end: only what waits for itself does.
    """
    name = f"{PREFIX}{int(time.time()):x}_{secrets.token_hex(4)}"
    admin = connect(server, "railhead replay")
    try:
        _sweep(admin)
        with admin.cursor() as cursor:
            cursor.execute(
                sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(template))
            )
            cursor.execute(sql.SQL("ALTER DATABASE {} SET lock_timeout = '10s'").format(sql.Identifier(name)))
        try:
            yield server.with_(dbname=name)
        finally:
            with admin.cursor() as cursor:
                cursor.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))
    finally:
        admin.close()


def _sweep(admin: Connection) -> None:
    """Drop the scratch databases that killed processes left behind: an hour old, and nobody in them."""
    for (name,) in fetch_all(admin, _LEFT_BEHIND, (PREFIX,)):
        born = re.match(rf"{PREFIX}([0-9a-f]+)_", str(name))
        if born and time.time() - int(born[1], 16) > 3600:
            with suppress(psycopg2.Error), admin.cursor() as cursor:
                cursor.execute(sql.SQL("DROP DATABASE {}").format(sql.Identifier(str(name))))


_LEFT_BEHIND = """
SELECT datname FROM pg_database WHERE starts_with(datname, %s)
   AND NOT EXISTS (SELECT FROM pg_stat_activity a WHERE a.datname = pg_database.datname)
"""
