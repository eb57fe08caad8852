"""What do tests stand on? A copy of the project to run commands in, the processes, and patience.

Never guesses how long something takes: `eventually` asks until it is so.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from urllib.parse import quote, urlencode

import psycopg2
from psycopg2 import sql
from psycopg2.extensions import connection as Connection

from railhead.dsn import Dsn

_KEPT = {"HOME", "LANG", "LC_ALL", "PATH", "TMPDIR"}
"""What a process started by a test sees of our environment; all else is what the test says."""

ROOT = Path(__file__).resolve().parent.parent
"""The folder of the project."""

_COPIED = ("railhead", "utils", "app", "migrations", "models.py", "alembic.ini", "gunicorn.conf.py", "Procfile")

_REVISION = '''\
"""{message}"""

import sqlalchemy as sa
from alembic import op

revision = {revision!r}
down_revision = {parent!r}
{extra}

def upgrade() -> None:
{upgrade}


def downgrade() -> None:
{downgrade}
'''


def eventually(question: Callable[[], object], within: float = 10.0, what: str = "") -> None:
    """Return as soon as `question` is answered with something true; fail when it is not `within` seconds."""
    deadline = time.monotonic() + within
    while not question():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {within:g} s: {what or getattr(question, '__name__', question)}")
        time.sleep(0.01)


def memory() -> str | None:
    """Return a folder in memory where there is room: a database is made there in 15 ms, on a disk in 200."""
    place = "/dev/shm"
    roomy = os.access(place, os.W_OK) and shutil.disk_usage(place).free > 2 * 1024**3
    return place if roomy else None


def url_of(dsn: Dsn) -> str:
    """Return what one writes into DATABASE_URL to reach `dsn`, password included."""
    parameters = dsn.parameters()
    user, password = (quote(parameters.pop(key, ""), safe="") for key in ("user", "password"))
    dbname = quote(parameters.pop("dbname", ""), safe="")
    return f"postgresql://{user}{':' + password if password else ''}@/{dbname}?{urlencode(parameters)}"


def named(database: Dsn) -> str:
    """Return the argument with which `reset` is allowed to empty this database."""
    return f"--yes={database.parameters()['dbname']}"


def environment(database: Dsn | None = None, **variables: str) -> dict[str, str]:
    """Return a clean environment: no PG*, no RAILWAY_*, nothing of ours but what is given."""
    kept = {name: value for name, value in os.environ.items() if name in _KEPT}
    return {**kept, **({"DATABASE_URL": url_of(database)} if database else {}), **variables}


class Databases:
    """Databases of one test, each fresh and empty, all gone afterwards."""

    def __init__(self, server: Dsn, prefix: str) -> None:
        """Make them on `server`, with names that begin with `prefix`."""
        self.server = server
        self.prefix = prefix
        self.made: list[str] = []

    def new(self, template: str = "template0") -> Dsn:
        """Return a database of its own, a copy of `template`."""
        name = f"{self.prefix}_{len(self.made)}"
        self._on_server(f"CREATE DATABASE {{}} TEMPLATE {{}} {self._strategy()}", name, template)
        self.made.append(name)
        return self.server.with_(dbname=name)

    def _strategy(self) -> str:
        """Return what makes a copy quickest: of files, which PostgreSQL 14 always did. The default writes it all to the WAL too."""
        return "STRATEGY file_copy" if self._administrator().info.server_version >= 150000 else ""

    def drop(self) -> None:
        """Drop them all. Fails, after dropping them, when somebody still uses one."""
        left = self._left_behind()
        for name in self.made:
            self._on_server("DROP DATABASE IF EXISTS {} WITH (FORCE)", name)
        assert not left, "left behind by the test: " + "; ".join(left)

    def _left_behind(self) -> list[str]:
        """Return the sessions and advisory locks in these databases that do not end within two seconds."""
        question = """
            SELECT datname || ': session ' || pid || ' ' || coalesce(state, '') || ' ' || left(query, 100)
            FROM pg_stat_activity WHERE datname = ANY (%(names)s) AND backend_type = 'client backend'
            UNION ALL
            SELECT datname || ': advisory lock of ' || coalesce(pid::text, 'a prepared transaction')
            FROM pg_locks JOIN pg_database ON pg_database.oid = pg_locks.database
            WHERE locktype = 'advisory' AND datname = ANY (%(names)s)
        """
        deadline = time.monotonic() + 2
        while left := _rows(self._administrator(), question, {"names": self.made}):
            if time.monotonic() > deadline:
                break
            time.sleep(0.01)
        return [str(row[0]) for row in left]

    def _on_server(self, statement: str, *names: str) -> None:
        _rows(self._administrator(), sql.SQL(statement).format(*map(sql.Identifier, names)))

    def _administrator(self) -> Connection:
        """Return the one session that this process keeps on the server: a new one for each statement costs more than most statements."""
        key = (os.getpid(), self.server)
        if key not in _administrators or _administrators[key].closed:
            _administrators[key] = psycopg2.connect(self.server)
            _administrators[key].autocommit = True
        return _administrators[key]


_administrators: dict[tuple[int, Dsn], Connection] = {}


def rows_of(dsn: Dsn, statement: str | sql.Composed, parameters: object = None) -> list[tuple[object, ...]]:
    """Return the rows of one statement, run and committed on a connection of its own."""
    connection = psycopg2.connect(dsn)
    try:
        connection.autocommit = True
        return _rows(connection, statement, parameters)
    finally:
        connection.close()


def _rows(connection: Connection, statement: str | sql.Composed, parameters: object = None) -> list[tuple[object, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        return cursor.fetchall() if cursor.description else []


class Running:
    """A process that a test started and does not wait for; what it says goes to files, so it never blocks on a pipe."""

    def __init__(self, command: Iterable[str], cwd: Path, env: dict[str, str], place: Path) -> None:
        """Start it, as the leader of a process group of its own."""
        self._files = place.with_suffix(".out"), place.with_suffix(".err")
        with self._files[0].open("wb") as stdout, self._files[1].open("wb") as stderr:
            self.process = subprocess.Popen(
                [*command],
                cwd=cwd,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                start_new_session=True,
            )

    @property
    def stdout(self) -> str:
        """What it wrote so far."""
        return self._files[0].read_text(errors="replace")

    @property
    def stderr(self) -> str:
        """What it complained of so far."""
        return self._files[1].read_text(errors="replace")

    @property
    def pid(self) -> int:
        """Its process id, which is its group's too."""
        return self.process.pid

    def wait(self, within: float = 60.0) -> int:
        """Return its exit code; fail with what it said when it does not end `within` seconds."""
        try:
            return self.process.wait(within)
        except subprocess.TimeoutExpired:
            said = self.stdout + self.stderr
            raise AssertionError(f"still running after {within:g} s: {self.process.args}\n{said}") from None

    def send(self, number: int) -> None:
        """Send it a signal, and not its children."""
        self.process.send_signal(number)

    def end(self) -> None:
        """Kill it and all that it started in its group."""
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()


class Tree:
    """A copy of the project in a folder of its own, in which commands run as real processes."""

    def __init__(self, root: Path, database: Dsn | None = None) -> None:
        """Take `root`, a copy made by `copy_project`, and the database that its commands are told."""
        self.root = root
        self.database = database
        self.versions = root / "migrations" / "versions"
        self._last: str | None = None
        self._started: list[Running] = []

    def write(
        self,
        name: str,
        upgrade: str = "pass",
        downgrade: str = "pass",
        *,
        after: str | tuple[str, ...] | None = None,
        revision: str | None = None,
        extra: str = "",
    ) -> Path:
        """Write the revision file `name`.py, which follows the one written before it unless `after` names another."""
        revision = revision or name
        path = self.versions / f"{name}.py"
        path.write_text(
            _REVISION.format(
                message=name.replace("_", " "),
                revision=revision,
                parent=after or self._last,
                extra=extra,
                upgrade=textwrap.indent(textwrap.dedent(upgrade).strip(), "    "),
                downgrade=textwrap.indent(textwrap.dedent(downgrade).strip(), "    "),
            )
        )
        self._last = revision
        return path

    def run(
        self, *command: str, within: float = 60.0, text: str = "", **variables: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in the tree and return how it ended; `variables` add to its clean environment."""
        return subprocess.run(
            [*command],
            cwd=self.root,
            env=environment(self.database, **variables),
            input=text,
            capture_output=True,
            text=True,
            timeout=within,
            check=False,
        )

    def start(self, *command: str, **variables: str) -> Running:
        """Start a command in the tree and go on; what still runs when the test ends is killed."""
        place = self.root / f"process-{len(self._started)}"
        running = Running(command, self.root, environment(self.database, **variables), place)
        self._started.append(running)
        return running

    def migrate(self, *arguments: str, text: str = "", **variables: str) -> subprocess.CompletedProcess[str]:
        """Run `python utils/migrate.py` with these arguments."""
        return self.run(*MIGRATE, *arguments, text=text, **variables)

    def alembic(self, *arguments: str, text: str = "", **variables: str) -> subprocess.CompletedProcess[str]:
        """Run `alembic`, as one types it."""
        return self.run(*ALEMBIC, *arguments, text=text, **variables)

    def end(self) -> None:
        """Kill what still runs."""
        for running in self._started:
            running.end()


MIGRATE = (sys.executable, "utils/migrate.py")
ALEMBIC = (str(Path(sys.executable).with_name("alembic")),)
GUNICORN = (str(Path(sys.executable).with_name("gunicorn")),)


def copy_project(target: Path, source: Path = ROOT) -> None:
    """Copy what the application is made of; byte code that goes with it saves every process its compiling."""
    for name in _COPIED:
        if (source / name).is_dir():
            shutil.copytree(source / name, target / name, copy_function=shutil.copy2)
        elif (source / name).exists():
            shutil.copy2(source / name, target / name)
