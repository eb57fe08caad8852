"""What the application does before it serves."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from railhead.dsn import Dsn
from tests.chaos.ports import free_ports
from tests.chaos.proxy import Proxy
from tests.databases import Databases, rows_of, url_of
from tests.forked_tree import Workshop
from tests.processes import eventually
from tests.project_tree import ALEMBIC, MIGRATE

START = (sys.executable, "-c", "from app import create_app; create_app()")

SESSIONS = """
import json, os, psycopg2
from app import create_app
app = create_app()
connection = psycopg2.connect(os.environ["DATABASE_URL"])
cursor = connection.cursor()
cursor.execute("SELECT application_name FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
               " AND backend_type = 'client backend'")
print(json.dumps(cursor.fetchall()))
connection.close()
"""

LOGGERS = """
import json, logging
from logging.config import dictConfig
dictConfig({"version": 1, "loggers": {"gunicorn.error": {"level": "INFO"}, "app": {"level": "INFO"}, "theirs": {}}})
class Kept(logging.Handler):
    said = []
    def emit(self, record):
        self.said.append(f"{record.name}: {record.getMessage()}")
logging.getLogger().addHandler(Kept())
from app import create_app
app = create_app()
app.logger.info("a request")
for name in ("gunicorn.error", "theirs"):
    logging.getLogger(name).warning("still here")
print(json.dumps(Kept.said))
"""

FLASK = "import sys; from flask.cli import main; sys.argv[0] = 'flask'; main()"

BROKEN = "raise RuntimeError('broken')"
SLOW = "op.execute('SELECT pg_sleep(1.5)')"


def head(database: Dsn) -> list[tuple[object, ...]]:
    """Return what alembic_version holds."""
    return rows_of(database, "SELECT version_num FROM alembic_version")


TABLES = "SELECT oid, relname FROM pg_class WHERE relnamespace = 'public'::regnamespace ORDER BY 1"
HEAD = [("0002_add_task_due_on",)]


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({}, "start: development, because the database is on this machine (DATABASE_URL)"),
        ({"DYNO": "web.1"}, "start: production, because DYNO is set (Heroku, Dokku)"),
        ({"APP_ENV": "staging"}, "start: production, because APP_ENV is staging"),
    ],
    ids=["development", "platform", "APP_ENV"],
)
def test_a_start_says_whether_this_is_production(at_head: Workshop, variables: dict[str, str], said: str) -> None:
    """In one line, with the reason: for development too."""
    lines = at_head.run(*START, LOG_FORMAT="text", **variables).stdout.splitlines()
    assert sum(said in line for line in lines) == 1, lines


def test_a_value_that_says_nothing_is_told_and_stops_nobody(at_head: Workshop) -> None:
    """What cannot hurt is a warning, for the application and for whoever types a command."""
    doubtful = {"LOG_LEVEL": "loud", "WEB_CONCURRENCY": "many", "PORT": "tcp://10.0.0.1:8000"}
    started = at_head.run(*START, **doubtful)
    typed = at_head.migrate("status", "--exit-code", **doubtful)
    assert (started.returncode, typed.returncode) == (0, 0)
    for said in (started.stdout, typed.stderr):
        assert [name for name in doubtful if f"warning: {name} is '{doubtful[name]}'" in said] == [*doubtful]


def test_an_empty_database_is_migrated(workshop: Workshop, database: Dsn) -> None:
    """The first start brings an empty database to head and logs in one line what it did."""
    ended = workshop.run(*START)
    assert (ended.returncode, head(database)) == (0, HEAD)
    assert "upgrade: 2 revisions, the database is at 0002_add_task_due_on (" in ended.stdout


def test_a_database_behind_is_migrated(workshop: Workshop, database: Dsn) -> None:
    """A start does what is pending, and only that."""
    workshop.migrate("upgrade", "0001")
    assert workshop.run(*START).returncode == 0
    rows = rows_of(database, "SELECT revision FROM migration_ledger ORDER BY id")
    assert (head(database), rows) == (HEAD, [("0001_baseline",), ("0002_add_task_due_on",)])


def test_a_database_at_head_is_served(at_head: Workshop, database: Dsn) -> None:
    """With nothing to do a start says so and writes nothing."""
    ended = at_head.run(*START)
    assert ended.stdout.endswith("start: the database is at head, 0002_add_task_due_on\n")
    assert rows_of(database, "SELECT count(*) FROM migration_ledger") == [(2,)]


@pytest.mark.parametrize("before", ["base", "head"])
def test_no_connection_is_open_when_the_application_is_made(workshop: Workshop, before: str) -> None:
    """Workers are forked next: a connection that they shared would mix up their answers."""
    workshop.migrate("upgrade", before)
    ended = workshop.run(sys.executable, "-c", SESSIONS)
    assert json.loads(ended.stdout.splitlines()[-1]) == []


@pytest.mark.parametrize("before", ["base", "head"])
def test_everybodys_loggers_still_log(workshop: Workshop, before: str) -> None:
    """After a migration in the same process the application's, gunicorn's and other people's loggers speak as before."""
    workshop.migrate("upgrade", before)
    ended = workshop.run(sys.executable, "-c", LOGGERS)
    said = json.loads(ended.stdout.splitlines()[-1])
    assert said == ["app: a request", "gunicorn.error: still here", "theirs: still here"]


def test_check_serves_at_head_and_migrates_nothing(workshop: Workshop, database: Dsn) -> None:
    """MIGRATE_ON_START=check refuses a database behind, changes nothing, and serves one at head."""
    ended = workshop.run(*START, MIGRATE_ON_START="check")
    assert ended.returncode == 3
    assert ended.stdout.partition("error: ")[2] == (
        """\
start stopped: the database lacks 2 revisions

  setting    MIGRATE_ON_START=check: this process does not migrate
  database   unchanged, without a version

  next       let the pre-deploy command migrate:
             python utils/migrate.py upgrade                       [not-at-head]
"""
    )
    assert rows_of(database, "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace") == []
    workshop.migrate()
    assert workshop.run(*START, MIGRATE_ON_START="check").returncode == 0


def test_who_does_not_migrate_waits_for_the_database_too(at_head: Workshop, database: Dsn, tmp_path: Path) -> None:
    """MIGRATE_ON_START=check and `wait` outlast a server that is not there yet, as a start that migrates does."""
    late, host = tmp_path / "late", database.parameters()["host"]
    port = free_ports(1)[0]
    url = url_of(database.with_(host=str(late)) if host.startswith("/") else database.with_(port=str(port)))
    checking = at_head.start(*START, MIGRATE_ON_START="check", DATABASE_URL=url)
    waiting = at_head.start(*MIGRATE, "wait", DATABASE_URL=url)
    for one in (checking, waiting):
        eventually(lambda one=one: "the database does not answer" in one.stdout + one.stderr, within=30)  # type: ignore[misc]
    late.symlink_to(host) if host.startswith("/") else Proxy(database, port)
    assert [one.wait() for one in (checking, waiting)] == [0, 0]


def test_off_does_not_even_look(workshop: Workshop) -> None:
    """MIGRATE_ON_START=off needs no server to start."""
    ended = workshop.run(*START, MIGRATE_ON_START="off", DATABASE_URL="postgresql://nobody@127.0.0.1:1/nowhere")
    assert (ended.returncode, "the schema is not looked at" in ended.stdout) == (0, True)


def test_development_may_go_on_without_a_migration_that_fails(workshop: Workshop, database: Dsn) -> None:
    """With DEV_CREATE_TABLES a start whose migration fails makes the tables of models.py, and says so loudly."""
    workshop.write("0003_broken", BROKEN, after="0002_add_task_due_on")
    ended = workshop.run(*START, DEV_CREATE_TABLES="true")
    assert ended.returncode == 0
    assert "error: start stopped: 0003_broken failed and was rolled back" in ended.stdout
    assert (
        "warning: DEV_CREATE_TABLES: migrating failed, so the tables that were missing were made from models.py"
        in ended.stdout
    )
    assert rows_of(database, "SELECT count(due_on) FROM task") == [(0,)]
    assert rows_of(database, "SELECT action, outcome FROM migration_ledger ORDER BY id DESC LIMIT 1") == [
        ("create_all", "applied")
    ]
    assert json.loads(workshop.migrate("status", "--json").stdout)["state"] == "behind", "what came before it is there"


def test_development_can_start_again_on_tables_that_it_made(workshop: Workshop) -> None:
    """A second start after the fallback works too, while the migration is still broken."""
    workshop.write("0003_broken", BROKEN, after="0002_add_task_due_on")
    workshop.run(*START, DEV_CREATE_TABLES="true")
    assert workshop.run(*START, DEV_CREATE_TABLES="true").returncode == 0


def test_production_never_makes_tables_without_migrations(workshop: Workshop, database: Dsn) -> None:
    """On Railway DEV_CREATE_TABLES is ignored with a warning, and the start fails as without it."""
    workshop.write("0003_broken", BROKEN, after="0002_add_task_due_on")
    ended = workshop.run(*START, DEV_CREATE_TABLES="true", RAILWAY_ENVIRONMENT_NAME="production", LOG_FORMAT="text")
    assert ended.returncode == 3
    assert "warning: DEV_CREATE_TABLES is ignored: this is production" in ended.stdout
    assert ended.stdout.rstrip().endswith("[migration-failed]")
    assert rows_of(database, "SELECT count(*) FROM migration_ledger WHERE action = 'create_all'") == [(0,)]


@pytest.mark.parametrize("command", [("routes",), ("--help",), ("frobnicate",), ("shell",)])
def test_the_hook_is_silent_where_nothing_is_served(workshop: Workshop, command: tuple[str, ...]) -> None:
    """Flask's other commands make the application without touching a database."""
    ended = workshop.run(
        sys.executable,
        "-c",
        FLASK,
        *command,
        text="print(app.name)\n",
        DATABASE_URL="postgresql://nobody@127.0.0.1:1/nowhere",
    )
    said = ended.stdout + ended.stderr
    assert ended.returncode == (2 if command == ("frobnicate",) else 0), said
    assert "stopped" not in said
    assert "upgrade" not in said.replace("upgrade-insecure-requests", "")


def test_flask_run_migrates(workshop: Workshop, database: Dsn) -> None:
    """`flask run` is a way to serve, so it migrates first."""
    program = os.path.join(os.path.dirname(sys.executable), "flask")
    running = workshop.start(program, "run", "--port", "0")
    eventually(lambda: "Running on" in running.stdout + running.stderr or running.process.poll() is not None)
    assert running.process.poll() is None, running.stderr
    assert head(database) == HEAD


def pg_variables(database: Dsn) -> dict[str, str]:
    """Return what the five variables of libpq say to reach `database`."""
    names = {"host": "PGHOST", "port": "PGPORT", "dbname": "PGDATABASE", "user": "PGUSER", "password": "PGPASSWORD"}
    return {names[key]: value for key, value in database.parameters().items() if key in names}


def addresses(database: Dsn) -> dict[str, dict[str, str]]:
    """Return the ways to name a database."""
    url = url_of(database)
    return {
        "PG variables alone": pg_variables(database),
        "postgres": {"DATABASE_URL": url.replace("postgresql://", "postgres://")},
        "psycopg2": {"DATABASE_URL": url.replace("postgresql://", "postgresql+psycopg2://")},
        "psycopg": {"DATABASE_URL": url.replace("postgresql://", "postgresql+psycopg://")},
    }


@pytest.mark.parametrize("way", ["PG variables alone", "postgres", "psycopg2", "psycopg"])
def test_every_way_to_name_a_database_works_for_every_entrance(workshop: Workshop, database: Dsn, way: str) -> None:
    """The hook, the command line and Alembic find the database, however it is named."""
    variables = addresses(database)[way]
    workshop.database = None
    assert workshop.run(*START, **variables).returncode == 0
    assert workshop.alembic("current", **variables).stdout == "0002_add_task_due_on (head)\n"
    assert workshop.migrate("status", "--exit-code", **variables).returncode == 0
    assert head(database) == HEAD


def test_every_entrance_reads_dotenv(workshop: Workshop, database: Dsn) -> None:
    """What .env names is found by all of them, and the real environment goes first."""
    workshop.database = None
    (workshop.root / ".env").write_text(f"DATABASE_URL={url_of(database)}\n")
    assert workshop.run(*START).returncode == 0
    assert workshop.alembic("current").stdout == "0002_add_task_due_on (head)\n"
    assert workshop.migrate("status", "--exit-code").returncode == 0
    ended = workshop.migrate("status", DATABASE_URL="sqlite:///no")
    assert (ended.returncode, "names sqlite" in ended.stderr) == (3, True)


def test_two_urls_that_name_two_databases(workshop: Workshop, database: Dsn, databases: Databases) -> None:
    """When migrations would go elsewhere than the application looks, the start says so instead of serving nothing."""
    other = databases.new()
    ended = workshop.run(*START, MIGRATE_DATABASE_URL=url_of(other))
    assert (ended.returncode, "[two-databases]" in ended.stdout) == (3, True)
    assert rows_of(database, TABLES) == []


def test_nothing_is_adopted_where_the_application_does_not_look(
    workshop: Workshop, databases: Databases, head: str
) -> None:
    """A database with tables and no version, which migrations alone would see, stays as it is."""
    ours, theirs = databases.new(head), databases.new(head)
    rows_of(theirs, "DROP TABLE alembic_version, migration_ledger")
    ended = workshop.migrate("upgrade", "0001", DATABASE_URL=url_of(ours), MIGRATE_DATABASE_URL=url_of(theirs))
    assert (ended.returncode, "[two-databases]" in ended.stderr) == (3, True), ended.stderr
    assert rows_of(theirs, "SELECT to_regclass('alembic_version'), to_regclass('migration_ledger')") == [(None, None)]


@pytest.mark.parametrize(
    "command",
    [
        ("start",),
        ("start", "MIGRATE_ON_START=check"),
        ("start", "DEV_CREATE_TABLES=true"),
        ("wait",),
        ("upgrade", "0001"),
        ("plan",),
        ("drift",),
        ("log",),
        ("status", "--exit-code", "--json"),
        ("adopt",),
        ("downgrade", "base", "--yes"),
        ("reset", "--yes=whatever"),
    ],
    ids=" ".join,
)
def test_no_command_takes_two_databases_for_one(
    at_head: Workshop, database: Dsn, databases: Databases, command: tuple[str, ...]
) -> None:
    """Whichever of the two is at head: nothing is served, answered with yes, dropped or made; the message names both URLs."""
    other = databases.new()
    ours, theirs = (other, database) if command[0] in {"downgrade", "reset"} else (database, other)
    if "DEV_CREATE_TABLES=true" in command:
        at_head.write("0003_broken", BROKEN, after="0002_add_task_due_on")
    urls = {"DATABASE_URL": url_of(ours), "MIGRATE_DATABASE_URL": url_of(theirs)}
    before = rows_of(database, TABLES)
    if command[0] == "start":
        ended = at_head.run(*START, **urls, **dict(word.split("=") for word in command[1:]))
    else:
        ended = at_head.migrate(*command, **urls)
    assert ended.returncode == 3, ended.stdout
    said = ended.stdout if command[0] == "start" else ended.stderr
    assert re.search(
        r"MIGRATE_DATABASE_URL and DATABASE_URL name two different databases[^$]*\[two-databases\]\n$", said
    )
    assert (rows_of(database, TABLES), rows_of(other, "SELECT to_regclass('project')")) == (before, [(None,)])


@pytest.fixture
def reader(database: Dsn, server: Dsn) -> Iterator[Dsn]:
    """The database as an application role sees it that owns nothing."""
    name = f"{database.parameters()['dbname']}_reader"
    rows_of(server, f"CREATE ROLE {name} LOGIN PASSWORD 'p'")
    yield database.with_(user=name, password="p")
    rows_of(database, f"DROP OWNED BY {name}")
    rows_of(server, f"DROP ROLE {name}")


def test_the_owner_migrates_and_another_role_serves(workshop: Workshop, database: Dsn, reader: Dsn) -> None:
    """With two roles the application's own must be able to read the version; the message says which grant is missing."""
    urls = {"MIGRATE_DATABASE_URL": url_of(database), "DATABASE_URL": url_of(reader)}
    role = reader.parameters()["user"]
    ended = workshop.run(*START, **urls)
    assert ended.returncode == 3
    assert "ON alembic_version TO " + role in ended.stdout
    rows_of(database, f"GRANT SELECT ON alembic_version, migration_ledger TO {role}")
    assert workshop.run(*START, **urls).returncode == 0


def test_a_command_typed_while_the_application_starts(workshop: Workshop, database: Dsn) -> None:
    """`alembic upgrade head` beside a start: one of them migrates, the other waits, and both end well."""
    workshop.write("0003_slow", SLOW, after="0002_add_task_due_on")
    both = workshop.start(*START), workshop.start(*ALEMBIC, "upgrade", "head")
    assert [running.wait() for running in both] == [0, 0]
    said = [running.stdout + running.stderr for running in both]
    assert sum("waiting for the migration lock, held by pid" in text for text in said) == 1, said
    assert sum("nothing to do" in text or "the database is at head" in text for text in said) == 1, said
    assert head(database) == [("0003_slow",)]
    assert rows_of(database, "SELECT revision, count(*) FROM migration_ledger GROUP BY 1 ORDER BY 1") == [
        ("0001_baseline", 1),
        ("0002_add_task_due_on", 1),
        ("0003_slow", 1),
    ]
