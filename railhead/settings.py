"""What were we told? Sole reader of os.environ, but for the mark of `nesting`.

Reads the environment and `.env` once and gives one frozen `Settings`. Never connects, never prints a password,
never lets `.env` override the real environment.
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Callable, Mapping
from io import StringIO
from pathlib import Path
from typing import NamedTuple, TypeVar

from railhead import masking, platforms
from railhead.dsn import Address, Dsn, checked, parse_url
from railhead.errors import Stop
from railhead.project import HERE, Project, work_on

PG_VARIABLES = {"PGHOST": "host", "PGPORT": "port", "PGDATABASE": "dbname", "PGUSER": "user", "PGPASSWORD": "password"}
_PLACES = {"PGHOSTADDR": "hostaddr", "PGSERVICE": "service"}
"""Further variables that lead libpq to a database, wherever the others point."""

T = TypeVar("T")

_SECONDS = {"ms": 0.001, "s": 1.0, "min": 60.0, "h": 3600.0}
_UNITS = {
    "ms": "ms msec msecs millisecond milliseconds",
    "s": "s sec secs second seconds",
    "min": "min mins m minute minutes",
    "h": "h hr hrs hour hours",
}
_UNIT_OF = {word: _SECONDS[unit] for unit, words in _UNITS.items() for word in words.split()}
_PART_OF_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]+)\s*", re.IGNORECASE)
_LONGEST = 2_147_483.0
"""Seconds that PostgreSQL can count in its milliseconds: 24 days."""

_FLASKS = "SQLALCHEMY_DATABASE_URI"
"""Flask-SQLAlchemy's name for DATABASE_URL."""
_CONFIGURABLE = {
    *("MIGRATE_DATABASE_URL", "MIGRATE_ON_START", "MIGRATE_WAIT_DATABASE", "MIGRATE_WAIT_LOCK", "MIGRATE_LOCK_TIMEOUT"),
    *("MIGRATE_STATEMENT_TIMEOUT", "MIGRATE_IDLE_TIMEOUT", "MIGRATE_HAZARDS", "MIGRATE_LARGE_TABLE"),
    *("APP_ENV", "APP_RELEASE", "ADMIN_PASSWORD", "DEV_CREATE_TABLES"),
}
"""Settings that an application's configuration may give; all but those that describe its server."""

_MOST_WORKERS = 1024
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
        read = _Reader(environ)
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
            log_level=read.harmless("LOG_LEVEL", "info", platforms.level, _listed(*_LOG_LEVELS)),
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


def duration(text: str) -> float:
    """Return the seconds that `500ms`, `2s`, `5 minutes`, `1h30m` or a bare `0` stand for. Raises ValueError."""
    text_left, seconds = text.strip(), 0.0
    while match := _PART_OF_DURATION.match(text_left):
        seconds += float(match[1]) * _UNIT_OF.get(match[2].lower(), float("inf"))
        text_left = text_left[match.end() :]
    if text_left not in {"", "0"} or not text.strip() or seconds > _LONGEST:
        raise ValueError(text)
    return seconds


def _load(dotenv_file: Path) -> None:
    """Put what the file names into os.environ where that is silent. Raises Stop(`settings`) that shows no line of it."""
    from dotenv import load_dotenv, parser  # costs 5 to 23 ms, and production has no .env

    read = _Reader({})
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


class _Reader:
    """Reads one variable at a time and remembers everything that is wrong, so that it can be said at once."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.environ = environ
        self.mistakes: list[tuple[str, str]] = []
        self.doubts: list[str] = []
        self._known: set[str] = set()

    def pg_variables(self) -> dict[str, str]:
        return {key: self.environ.get(variable, "") for variable, key in {**PG_VARIABLES, **_PLACES}.items()}

    def text(self, name: str) -> str | None:
        """Return what is set, without quotes around it: `docker --env-file` and others keep those of the file."""
        text = self.secret(name)
        quoted = re.fullmatch(r"""(["'])(.*)\1""", text or "", re.DOTALL)
        return quoted[2].strip() or None if quoted else text

    def secret(self, name: str) -> str | None:
        """Return what is set, as it is: it may begin and end with a quote."""
        self._known.add(name)
        return self.environ.get(name, "").strip() or None

    def name(self, name: str) -> str | None:
        """Return a text that goes into the ledger."""
        text = self.text(name)
        try:
            (text or "").encode()
        except UnicodeEncodeError:
            self.wrong(name, "is not UTF-8")
            return None
        return text

    def wrong(self, name: str, why: str) -> None:
        self.mistakes.append((name, why))

    def value(self, name: str, default: T, parse: Callable[[str], T], examples: str) -> T:
        return self._understood(name, default, parse, lambda text: self.wrong(name, f"is {text!r}; write {examples}"))

    def harmless(self, name: str, default: T, parse: Callable[[str], T], examples: str) -> T:
        """Return what a variable says that can hurt nobody: what is not understood is a doubt, and the default holds."""
        held = str(default).lower()
        return self._understood(
            name,
            default,
            parse,
            lambda text: self.doubts.append(
                f"{name} is {text!r}, which says nothing here, so it is {held}; write {examples}"
            ),
        )

    def _understood(self, name: str, default: T, parse: Callable[[str], T], otherwise: Callable[[str], None]) -> T:
        """Return what a variable says; the default where it says nothing, or nothing that is understood, which `otherwise` is told."""
        text = self.text(name)
        if text is None:
            return default
        try:
            return parse(text)
        except ValueError:
            otherwise(text)
            return default

    def port(self, name: str, default: int) -> int:
        port = self.harmless(name, default, platforms.port, f"a port from 1 to 65535, for instance {default}")
        if "://" in (text := self.text(name) or "") and text.endswith(str(port)):
            self.doubts.append(f"{name} is {text!r}, the link to a service, and its port is taken: {port}")
        return port

    def workers(self, name: str, default: int) -> int:
        """Return a number of processes; `auto` leaves it to us: in a container the processors counted are the machine's."""

        def parse(text: str) -> int:
            if text.lower() in {"auto", "default"}:
                return default
            if not 1 <= float(text) <= _MOST_WORKERS or not float(text).is_integer():
                raise ValueError(text)
            return int(float(text))

        return self.harmless(name, default, parse, f"a whole number from 1 to {_MOST_WORKERS}, or auto")

    def choice(self, name: str, default: str, *others: str) -> str:
        return self.value(
            name, default, lambda text: _one_of(text.lower(), (default, *others)), _listed(default, *others)
        )

    def duration(self, name: str, default: str, *, positive: bool = False) -> float:
        def parse(text: str) -> float:
            seconds = duration(text)
            if positive and seconds <= 0:
                raise ValueError(text)
            return seconds

        return self.value(name, duration(default), parse, f"a duration such as 500ms, 2s or 5min (default {default})")

    def ratio(self, name: str, default: float) -> float:
        def parse(text: str) -> float:
            if not 0 <= float(text) <= 100:
                raise ValueError(text)
            return float(text)

        return self.value(name, default, parse, f"a number from 0 to 100 (default {default:g})")

    def integer(self, name: str, default: int, least: int, most: int) -> int:
        def parse(text: str) -> int:
            number = int(text)
            if not least <= number <= most:
                raise ValueError(text)
            return number

        return self.value(name, default, parse, f"a whole number from {least} to {most}, for instance {default}")

    def url(self, name: str) -> Dsn | None:
        """What the URL leaves out comes from the PG* variables: libpq does so in any case, and this way we know it."""
        text = self.text(name)
        if text is None:
            return None
        try:
            named = parse_url(text).parameters()
            return checked(Dsn.of(**{**named, **self.pg_variables(), **named}))
        except ValueError as error:
            hint = "write postgresql://user:password@host:5432/name"
            embedded = "or leave it out: development then gets the embedded PostgreSQL in .data/"
            self.wrong(name, f"{error}; {hint}, {embedded}")
            return None

    def refuse_misspelt(self) -> None:
        """Call wrong what is almost one of our names: whoever wrote MIGRATE_ON_STRAT=off must not be migrated."""
        ours = [name for name in self.environ if name.startswith(("MIGRATE_", "DEV_CREATE_"))]
        for name in sorted({*ours} - self._known):
            from difflib import get_close_matches  # 2 ms that only those pay who have such a name

            meant = get_close_matches(name, self._known, 1, 0.9)
            if meant and self.environ[name].strip():
                self.wrong(name, f"is no setting; did you mean {meant[0]}?")

    def finish(self) -> None:
        if self.mistakes:
            count = len(self.mistakes)
            raise Stop(
                "settings",
                "a setting is wrong" if count == 1 else f"{count} settings are wrong",
                facts=[("setting", f"{name} {why}") for name, why in self.mistakes],
                database="not touched",
                next_step="correct the environment (or .env), then start again; .env.example lists every setting",
            )


def _database(read: _Reader) -> tuple[Dsn | None, str]:
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


def _migrate_database(read: _Reader, database: Dsn | None, variable: str) -> tuple[Dsn | None, str]:
    for name in ("MIGRATE_DATABASE_URL", "DATABASE_UNPOOLED_URL"):
        if read.text(name):
            return read.url(name), name
    return database, variable


def _environment(read: _Reader, databases: Mapping[str, Dsn | None]) -> tuple[bool, str]:
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


def _one_of(text: str, choices: tuple[str, ...]) -> str:
    if text not in choices:
        raise ValueError(text)
    return text


def _listed(*words: str) -> str:
    return ", ".join(words[:-1]) + " or " + words[-1] if len(words) > 1 else words[0]
