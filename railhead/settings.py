"""What were we told? Sole reader of os.environ, but for the mark of `nesting`.

Reads the environment and `.env` once and gives one frozen `Settings`. Never connects, never prints a password,
never lets `.env` override the real environment.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Mapping
from io import StringIO
from pathlib import Path
from typing import NamedTuple

from railhead import masking, platforms
from railhead.careful_models import careful
from railhead.dsn import Address, Dsn, checked
from railhead.project import HERE, Project, work_on
from railhead.variables import PG_VARIABLES, Reader, listed

_FLASKS = "SQLALCHEMY_DATABASE_URI"
"""Flask-SQLAlchemy's name for DATABASE_URL."""
_CONFIGURABLE = {
    *("MIGRATE_DATABASE_URL", "MIGRATE_ON_START", "MIGRATE_WAIT_DATABASE", "MIGRATE_WAIT_LOCK", "MIGRATE_LOCK_TIMEOUT"),
    *("MIGRATE_STATEMENT_TIMEOUT", "MIGRATE_IDLE_TIMEOUT", "MIGRATE_HAZARDS", "MIGRATE_LARGE_TABLE"),
    *("MIGRATE_POST_DEPLOY", "MIGRATE_CONTRACT_AFTER", "MIGRATE_BACKFILL_REST"),
    *("APP_ENV", "APP_RELEASE", "ADMIN_PASSWORD", "DEV_CREATE_TABLES"),
}
"""Settings that an application's configuration may give; all but those that describe its server."""

_LOG_LEVELS = ("debug", "info", "warning", "error", "critical")


class Secret(str):
    """A string whose `repr` hides it."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "Secret(***)"


class Settings(NamedTuple):
    """What the operator said, checked and with units resolved. Durations are seconds."""

    project: Project = HERE
    """Whose settings these are."""
    database: Dsn | None = None
    """Where the application reads and writes; None when nobody named a database."""
    migrate_database: Dsn | None = None
    """Where migrations connect; the same unless a variable names another."""
    database_variable: str = "DATABASE_URL"
    migrate_variable: str = "DATABASE_URL"
    production: bool = False
    why: str = "nobody said otherwise"
    """Why this is production, or development; follows on `because`."""
    platform: str = ""
    """The platform that runs this process, by its own variables; empty on a desk."""
    doubts: tuple[str, ...] = ()
    """What was said in words that are not ours, and what it was taken for: warnings for the log."""
    dev_create_tables: bool = False
    migrate_on_start: str = "upgrade"
    post_deploy: str = "auto"
    """Who does post-deploy work: `auto` (a process beside gunicorn in production, else the start), `start` or `later`."""
    backfill_rest: float = 1.0
    """How long a backfill behind the open port rests after each batch, beside the time that the batch took."""
    patient: bool = False
    """Whether nobody waits for what is done: post-deploy work gives way to traffic. No variable says so."""
    listen: str = "on"
    """Whether a start that takes long answers on the application's port: `on` or `off`."""
    contract_after: float = 600.0
    """Seconds for which this release serves before post-deploy work takes away what the previous one uses."""
    wait_database: float = 60.0
    wait_lock: float = 240.0
    lock_timeout: float = 0.9
    statement_timeout: float = 0.0
    idle_timeout: float = 60.0
    hazards: str = "refuse"
    large_table: int = 100_000
    admin_password: Secret | None = None
    secret_key: Secret | None = None
    release: str | None = None
    replica: str = "localhost"
    log_format: str = "text"
    log_level: str = "info"
    port: int = 8000
    web_concurrency: int = 2

    @property
    def application(self) -> Address:
        """Return where the application reads and writes. There must be a database: `embedded.fill` has seen to that."""
        assert self.database is not None
        return Address(self.database, self.database_variable, self.replica)

    @property
    def migrations(self) -> Address:
        """Return where migrations connect. There must be a database."""
        assert self.migrate_database is not None
        return Address(self.migrate_database, self.migrate_variable, self.replica)

    @property
    def short_release(self) -> str | None:
        """Return the release as sessions carry it, of whose name PostgreSQL keeps 63 characters."""
        return self.release and self.release[:12]

    def session_of(self, doing: str) -> str:
        """Return the name in pg_stat_activity of a session of this release: `railhead serve 3f2a @ web-1`."""
        return f"railhead {doing} {self.short_release or '-'} @ {self.replica}"[:63]

    @property
    def addresses(self) -> tuple[Address, ...]:
        """Return every different address of the database, the migrations' first."""
        ours, theirs = self.application, self.migrations
        return (theirs,) if ours.dsn == theirs.dsn else (theirs, ours)

    @classmethod
    def from_env(cls, environ: Mapping[str, str], project: Project = HERE) -> Settings:
        """Return the settings that `environ` gives. Raises Stop(`settings`) that lists every wrong one at once."""
        masking.know(environ)
        read = Reader(environ)
        database, database_variable = _database(read)
        migrate_database, migrate_variable = _migrate_database(read, database, database_variable)
        production, why = _environment(read, {database_variable: database, migrate_variable: migrate_database})
        admin_password = read.secret("ADMIN_PASSWORD")
        secret_key = read.secret("SECRET_KEY")
        settings = cls(
            project=project,
            database=database,
            migrate_database=migrate_database,
            database_variable=database_variable,
            migrate_variable=migrate_variable,
            production=production,
            why=why,
            platform=(platforms.platform(environ.items()) or ("", ""))[1],
            dev_create_tables=read.harmless("DEV_CREATE_TABLES", False, platforms.boolean, "true or false"),
            migrate_on_start=read.choice("MIGRATE_ON_START", "upgrade", "check", "off"),
            post_deploy=read.choice("MIGRATE_POST_DEPLOY", "auto", "start", "later"),
            backfill_rest=read.ratio("MIGRATE_BACKFILL_REST", 1.0),
            listen=read.choice("MIGRATE_LISTEN", "on", "off"),
            contract_after=read.duration("MIGRATE_CONTRACT_AFTER", "10min"),
            wait_database=read.duration("MIGRATE_WAIT_DATABASE", "60s"),
            wait_lock=read.duration("MIGRATE_WAIT_LOCK", "240s"),
            lock_timeout=read.duration("MIGRATE_LOCK_TIMEOUT", "900ms", positive=True),
            statement_timeout=read.duration("MIGRATE_STATEMENT_TIMEOUT", "0s"),
            idle_timeout=read.duration("MIGRATE_IDLE_TIMEOUT", "60s", positive=True),
            hazards=read.choice("MIGRATE_HAZARDS", "refuse", "warn", "ignore"),
            large_table=read.integer("MIGRATE_LARGE_TABLE", 100_000, 0, 10**15),
            admin_password=Secret(admin_password) if admin_password else None,
            secret_key=Secret(secret_key) if secret_key else None,
            release=read.name("APP_RELEASE") or read.name("RAILWAY_GIT_COMMIT_SHA"),
            replica=read.name("RAILWAY_REPLICA_ID") or socket.gethostname(),
            log_format=read.harmless(
                "LOG_FORMAT", "json" if production else "text", platforms.log_format, "json or text"
            ),
            log_level=read.harmless("LOG_LEVEL", "info", platforms.level, listed(*_LOG_LEVELS)),
            port=read.port("PORT", 8000),
            web_concurrency=read.workers("WEB_CONCURRENCY", 2),
        )
        read.refuse_misspelt()
        read.finish()
        return settings._replace(doubts=tuple(read.doubts))


def environment(**added: str) -> dict[str, str]:
    """Return what a program sees that we start: our environment, and what is added."""
    return {**os.environ, **added}


def load(project: Project = HERE) -> Settings:
    """Return the settings of this process: the environment, and the project's `.env` where the environment is silent.

    What `.env` names enters os.environ, because libpq reads further PG* variables from there. Raises Stop(`settings`).
    """
    work_on(project)
    dotenv_file = project.root / ".env"
    if dotenv_file.is_file():
        _load(dotenv_file)
    project = project._replace(models=careful(project.models))
    return Settings.from_env(_configured(project.configuration(), os.environ), project)


def test_database() -> str | None:
    """Return where tests may make databases, if somebody says so: it is no setting of an application."""
    return os.environ.get("TEST_DATABASE_URL", "").strip() or None


def names_a_database() -> bool:
    """Tell whether the environment says where the application's database is."""
    return any(os.environ.get(name, "").strip() for name in ("DATABASE_URL", _FLASKS, *PG_VARIABLES))


def _configured(said: Mapping[str, object], environ: Mapping[str, str]) -> Mapping[str, str]:
    """Return the environment with what an application's configuration adds. The database that it names is the one that it uses."""
    if not said:
        return environ
    ours = {name: str(value) for name, value in said.items() if value is not None and name in _CONFIGURABLE}
    url = said.get("SQLALCHEMY_DATABASE_URI")
    if not url:
        return {**ours, **environ}
    whole: Callable[..., object] = getattr(url, "render_as_string", lambda **_: url)  # an URL object hides its password
    silent = dict.fromkeys(("DATABASE_URL", *PG_VARIABLES), "")
    return {**ours, **environ, **silent, _FLASKS: str(whole(hide_password=False))}


def _load(dotenv_file: Path) -> None:
    """Put what the file names into os.environ where that is silent. Raises Stop(`settings`) that shows no line of it."""
    from dotenv import load_dotenv, parser  # costs 5 to 23 ms, and production has no .env

    read = Reader({})
    try:
        text = dotenv_file.read_text(encoding="utf-8-sig")
    except OSError as error:
        text = ""
        read.wrong(".env", f"cannot be read ({error.strerror})")
    except UnicodeDecodeError:
        text = ""
        read.wrong(".env", "is not UTF-8; save it as UTF-8 (PowerShell's > writes UTF-16)")
    for binding in parser.parse_stream(StringIO(text)):
        if binding.error or "\0" in binding.original.string:
            read.wrong(f".env, line {binding.original.line},", "cannot be read; write NAME=value")
    read.finish()
    load_dotenv(stream=StringIO(text), override=False)


def _database(read: Reader) -> tuple[Dsn | None, str]:
    if read.text("DATABASE_URL"):
        return read.url("DATABASE_URL"), "DATABASE_URL"
    if read.text(_FLASKS):
        return read.url(_FLASKS), _FLASKS
    named = read.pg_variables()
    if not any(value.strip() for value in named.values()):
        return None, "DATABASE_URL"
    try:
        return checked(Dsn.of(**named)), "PGHOST, PGPORT, PGDATABASE, PGUSER, PGPASSWORD"
    except ValueError as error:
        read.wrong("PGHOST, PGPORT, ...", f"{error}")
        return None, "PGHOST"


def _migrate_database(read: Reader, database: Dsn | None, variable: str) -> tuple[Dsn | None, str]:
    for name in ("MIGRATE_DATABASE_URL", "DATABASE_UNPOOLED_URL"):
        if read.text(name):
            return read.url(name), name
    return database, variable


def _environment(read: Reader, databases: Mapping[str, Dsn | None]) -> tuple[bool, str]:
    """Return whether this is production, and why. APP_ENV decides; without it a platform's own variable or a database elsewhere does."""
    text = read.text("APP_ENV")
    deployed = _deployed(read.environ, databases)
    meaning = platforms.environment(text) if text else None
    said = f"APP_ENV is {text}"
    if text is None or (meaning == "test" and deployed):
        return (True, deployed) if deployed else (False, _at_hand(databases))
    if meaning is None:
        read.doubts.append(f"APP_ENV is {text!r}, which is taken for production; write production or development")
    if meaning in {None, "production"}:
        return True, said
    return False, f"{said}, although {deployed}" if deployed else said


def _deployed(environ: Mapping[str, str], databases: Mapping[str, Dsn | None]) -> str | None:
    """Return what shows that the application is deployed somewhere; None when nothing does."""
    platform = platforms.platform(environ.items())
    if platform:
        return f"{platform[0]} is set ({platform[1]})"
    elsewhere = [variable for variable, database in databases.items() if database and not database.is_local()]
    return f"the database is on another machine ({elsewhere[0]})" if elsewhere else None


def _at_hand(databases: Mapping[str, Dsn | None]) -> str:
    named = [variable for variable, database in databases.items() if database]
    place = f"the database is on this machine ({named[0]})" if named else "no database is named"
    return f"{place} and no platform has set a variable of its own; APP_ENV=production says otherwise"
