"""How does each test get a database of its own at head? As a copy of a template that was migrated once.

The template is known by what the revision files hold: who changes one gets another. Changes databases whose names begin with
`railhead_test` only.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from urllib.parse import quote, urlencode

from psycopg2 import sql
from psycopg2.extensions import connection as Connection

from railhead.dsn import Dsn, parse_url
from railhead.history.files import revision_files
from railhead.logs import log
from railhead.postgres.connection import connect, fetch_all, fetch_value
from railhead.project import Project
from railhead.settings import Settings

_PREFIX = "railhead_test"
_MAKING = 7_245_301
"""The advisory lock under which one process makes the template, and the others wait."""


class DatabaseUrl(str):
    """What one writes into DATABASE_URL. `sqlalchemy` names the driver, too."""

    __slots__ = ()

    @classmethod
    def of(cls, dsn: Dsn) -> DatabaseUrl:
        """Return the URL of a database, password included: it is for programs."""
        parameters = dsn.parameters()
        user, password = (quote(parameters.pop(key, ""), safe="") for key in ("user", "password"))
        name = quote(parameters.pop("dbname", ""), safe="")
        who = f"{user}{':' + password if password else ''}@" if user else ""
        return cls(f"postgresql://{who}/{name}?{urlencode(parameters)}")

    @property
    def sqlalchemy(self) -> str:
        """The same for SQLAlchemy, whose own choice of a driver may be another one."""
        return "postgresql+psycopg2" + self.removeprefix("postgresql")


def template(server: str, project: Project) -> str:
    """Return the name of a database at head to be copied, migrated now unless that was done before. Raises Stop."""
    name = f"{_prefix(project)}{_key(project)}"
    with _administrator(server) as admin:
        _do(admin, "SELECT pg_advisory_lock(%s)", _MAKING)
        try:
            if not fetch_value(admin, "SELECT EXISTS (SELECT FROM pg_database WHERE datname = %s)", (name,)):
                _sweep(server, project)
                _make(server, admin, name, project)
        finally:
            _do(admin, "SELECT pg_advisory_unlock(%s)", _MAKING)
    return name


@contextmanager
def copied(server: str, name: str) -> Iterator[DatabaseUrl]:
    """Give a copy of a database, and drop it afterwards, whoever still uses it."""
    copy = f"{_PREFIX}_{secrets.token_hex(6)}"
    with _administrator(server) as admin:
        quickly = sql.SQL("STRATEGY file_copy" if admin.info.server_version >= 150000 else "")
        statement = sql.SQL("CREATE DATABASE {} TEMPLATE {} {}")
        _do(admin, statement.format(sql.Identifier(copy), sql.Identifier(name), quickly))
        try:
            yield DatabaseUrl.of(parse_url(server).with_(dbname=copy))
        finally:
            _do(admin, sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(copy)))


def _key(project: Project) -> str:
    """Return what tells two histories apart: the bytes of all revision files, and of the baseline."""
    digest = sha256()
    for name in sorted(revision_files(project.versions)):
        digest.update(f"{name}\0".encode(errors="surrogateescape") + (project.versions / name).read_bytes())
    digest.update(project.baseline.read_bytes() if project.baseline.is_file() else b"")
    return digest.hexdigest()[:16]


def _make(server: str, admin: Connection, name: str, project: Project) -> None:
    from railhead.execution import entry

    making = f"{name}_made"
    _do(admin, sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(making)))
    _do(admin, sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(sql.Identifier(making)))
    dsn = parse_url(server).with_(dbname=making)
    before, log.disabled = log.disabled, True  # that revisions run in a test is no news; a failure is raised
    try:
        entry.migrate("upgrade", "head", Settings(project=project, database=dsn, migrate_database=dsn))
    finally:
        log.disabled = before
    _do(admin, sql.SQL("ALTER DATABASE {} RENAME TO {}").format(sql.Identifier(making), sql.Identifier(name)))


def known(server: str, project: Project) -> list[str]:
    """Return the templates of this project that are on the server."""
    with _administrator(server) as admin:
        return [str(row[0]) for row in fetch_all(admin, _TEMPLATES, (_prefix(project),))]


def _prefix(project: Project) -> str:
    return f"{_PREFIX}_template_{sha256(str(project.root.resolve()).encode()).hexdigest()[:8]}_"


_TEMPLATES = "SELECT datname FROM pg_database WHERE starts_with(datname, %s) ORDER BY datname"


def _sweep(server: str, project: Project) -> None:
    """Drop the templates that this project had before."""
    for name in known(server, project):
        with _administrator(server) as admin:
            _do(admin, sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


@contextmanager
def _administrator(server: str) -> Iterator[Connection]:
    """Give the session that this process keeps on the server: a new one for each statement costs more than most statements."""
    kept = _sessions.get(server)
    if kept is None or kept.closed:
        kept = _sessions[server] = connect(parse_url(server), "railhead testing")
    yield kept


_sessions: dict[str, Connection] = {}


def leave() -> None:
    """Close the sessions of this process."""
    while _sessions:
        _sessions.popitem()[1].close()


def _do(connection: Connection, statement: str | sql.Composable, *values: object) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement, values or None)
