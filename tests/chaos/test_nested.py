"""Revisions make applications, and start programs that do: they get them, and nobody waits for the lock that they are part of."""

from __future__ import annotations

import sys
import time

import pytest

from railhead.dsn import Dsn
from tests.chaos import server_state
from tests.chaos.ports import free_ports
from tests.databases import rows_of
from tests.processes import eventually
from tests.project_tree import ALEMBIC, GUNICORN, MIGRATE, Tree

WITHIN = 15.0
"""Seconds for a run, the start of two Pythons on a busy machine included; MIGRATE_WAIT_LOCK is 240."""

TABLE = "op.create_table('thing', sa.Column('id', sa.Integer, primary_key=True))"
CHANGE = "op.execute('ALTER TABLE thing ADD COLUMN a int')\n"
MADE = "from app import create_app\napplication = create_app()\nassert application.test_client().get('/healthz').status_code == 200"
INDENTED = MADE.replace("\n", "\n    ")
FACTORY = (sys.executable, "-c", "import app; app.create_app()")

PLACES = {
    "in upgrade": {"upgrade": f"{CHANGE}{MADE}"},
    "at the top": {"upgrade": CHANGE, "extra": MADE},
    "in a thread": {
        "upgrade": f"{CHANGE}from concurrent.futures import ThreadPoolExecutor\nfrom app import create_app\n"
        "ThreadPoolExecutor(1).submit(create_app).result()"
    },
    "in a child": {
        "upgrade": f"{CHANGE}from app import create_app\nimport multiprocessing\n"
        "child = multiprocessing.get_context('fork').Process(target=create_app)\nchild.start()\nchild.join()\nassert child.exitcode == 0"
    },
    "in a program": {
        "upgrade": f"{CHANGE}import subprocess, sys\n"
        "subprocess.run([sys.executable, '-c', 'import app; app.create_app()'], check=True)"
    },
    "for its models": {"upgrade": f"{CHANGE}{MADE}\nwith application.app_context():\n    from models import Task"},
}
WAYS = {
    "upgrade": MIGRATE,
    "alembic": (*ALEMBIC, "upgrade", "head"),
    "factory": FACTORY,
}


@pytest.fixture
def begun(tree: Tree) -> Tree:
    """A project at its first revision."""
    tree.write("0001_thing", TABLE, "op.drop_table('thing')")
    assert tree.migrate().returncode == 0
    return tree


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
def test_a_revision_gets_its_application(
    begun: Tree, database: Dsn, place: dict[str, str], way: tuple[str, ...]
) -> None:
    """At once, without a second migration; what follows it in the history runs as ever."""
    begun.write("0002_app", **place)
    begun.write("0003_more", "op.execute('ALTER TABLE thing ADD COLUMN b int')")
    began = time.monotonic()
    ended = begun.run(*way)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert time.monotonic() - began < WITHIN
    assert server_state.applied(database) == ["0001_thing", "0002_app", "0003_more"]
    told = ended.stdout + ended.stderr
    assert "waiting for the migration lock" not in told
    if place["upgrade"].endswith(MADE):
        assert "start: called by migrations/versions/0002_app.py, line 1" in told


@pytest.mark.parametrize(
    "command",
    [
        (*MIGRATE, "status", "--json"),
        (*MIGRATE, "plan"),
        (*ALEMBIC, "history"),
        (*ALEMBIC, "check"),
        (*ALEMBIC, "current"),
        (*ALEMBIC, "revision", "--autogenerate", "-m", "more"),
        (*ALEMBIC, "upgrade", "head", "--sql"),
        (*MIGRATE, "seal", "--no-replay"),
    ],
    ids=lambda command: " ".join(command[1:3]),
)
def test_commands_that_only_load_revisions_migrate_nothing(
    begun: Tree, database: Dsn, command: tuple[str, ...]
) -> None:
    """A revision, or env.py, that makes an application at its top does not bring the database anywhere by that."""
    env = begun.root / "migrations" / "env.py"
    env.write_text(env.read_text().replace("entry.enter(", f"{MADE}\nentry.enter("))
    begun.write("0002_app", CHANGE, extra=MADE)
    ended = begun.run(*command, within=30)
    assert "Traceback" not in ended.stderr, ended.stderr
    assert "waiting for the migration lock" not in ended.stdout + ended.stderr
    assert server_state.versions(database) == ["0001_thing"]


def test_a_replay_gives_the_application_its_own_database(begun: Tree, database: Dsn) -> None:
    """What a revision asks through the application is asked where it is tried; the database of the settings is left alone."""
    begun.write(
        "0002_app",
        f"{MADE}\nsettings = application.config['SETTINGS']\nimport psycopg2\n"
        "own = psycopg2.connect(settings.database)\nown.autocommit = True\n"
        "own.cursor().execute('CREATE TABLE IF NOT EXISTS written (id int)')\n"
        "import subprocess, sys\nsubprocess.run([sys.executable, '-c', 'import app; app.create_app()'], check=True)",
        "op.execute('DROP TABLE written')",
    )
    ended = begun.run(*MIGRATE, "seal", within=60)
    assert ended.returncode == 0, ended.stderr
    assert server_state.versions(database) == ["0001_thing"]
    assert rows_of(database, "SELECT to_regclass('written')") == [(None,)]


NESTED = {
    "alembic": "from alembic import command\nfrom alembic.config import Config\ncommand.upgrade(Config('alembic.ini'), 'head')",
    "stamp": "from alembic import command\nfrom alembic.config import Config\ncommand.stamp(Config('alembic.ini'), 'head')",
    "a program": "import subprocess, sys\nsubprocess.run([sys.executable, 'utils/migrate.py', 'upgrade'], check=True)",
    "alembic as a program": f"import subprocess\nsubprocess.run([{ALEMBIC[0]!r}, 'upgrade', 'head'], check=True)",
}


@pytest.mark.parametrize("call", NESTED.values(), ids=NESTED)
def test_a_revision_that_migrates_is_refused_at_once(begun: Tree, database: Dsn, call: str) -> None:
    """With its file and line, in the usual form, rolled back; nobody waits for the lock of the run that he is part of."""
    begun.write("0002_nested", f"{CHANGE}{call}")
    began = time.monotonic()
    ended = begun.run(*MIGRATE)
    assert ended.returncode == 5, ended.stderr
    assert time.monotonic() - began < WITHIN
    assert "[nested-run]" in ended.stderr
    assert "migrations/versions/0002_nested.py, line " in ended.stderr
    assert "Traceback" not in ended.stderr
    assert server_state.versions(database) == ["0001_thing"]
    assert rows_of(database, "SELECT outcome FROM migration_ledger WHERE revision = '0002_nested'") == [("failed",)]


def test_gunicorn_with_preload_serves_what_a_revision_made_its_application_for(begun: Tree, database: Dsn) -> None:
    """The application that gunicorn loads is the outer one, and its workers are not told that they migrate."""
    begun.write("0002_app", f"{CHANGE}{MADE}")
    [port] = free_ports(1)
    master = begun.start(*GUNICORN, "app:create_app()", PORT=str(port), APP_ENV="development")
    eventually(lambda: "Listening at" in master.stdout + master.stderr or master.process.poll() is not None, within=30)
    assert master.process.poll() is None, master.stdout + master.stderr
    assert server_state.applied(database) == ["0001_thing", "0002_app"]
