"""Applications that exist get the engine: a wheel, one command, one line, and everything that they had keeps working."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from railhead.dsn import Dsn
from tests.applications import inventory, orders, shop
from tests.databases import Databases, rows_of, url_of
from tests.processes import environment
from tests.wheel import build, install

OLDEST = ("sqlalchemy==2.0.36", "alembic==1.20.0")
NEWEST = ("sqlalchemy", "alembic")

FLASK_LINE = "    from railhead.contrib.flask import Railhead\n\n    Railhead(app, {db})\n    return app\n"
ASK = """
client = application.test_client()
for address in ("/readyz", "/schema", "/schema.json", "/"):
    answer = client.get(address)
    assert answer.status_code == 200, (address, answer.status_code, answer.text)
"""
ASK_ORDERS = """
import main
from fastapi.testclient import TestClient
with TestClient(main.app) as client:
    assert client.get("/health").status_code == 200
"""
TESTED = """
import psycopg2
import pytest
from railhead.testing.history import *


@pytest.mark.parametrize("number", range(3))
def test_database_is_at_head(migrated_database, number):
    connection = psycopg2.connect(migrated_database)
    with connection.cursor() as cursor:
        cursor.execute("SELECT version_num FROM {version_table}")
        assert cursor.fetchall() == [({head!r},)]
    connection.close()
"""


@dataclass(frozen=True)
class Case:
    """An application, and what one does with it."""

    name: str
    requirements: tuple[str, ...]
    write: Callable[[Path, Path], None]
    file: str
    """Where the one line goes."""
    before: str
    after: str
    start: str
    head: str
    middle: str
    pending: int
    """Revisions from the middle to head."""
    alembic: tuple[str, ...]
    """What is typed for Alembic's commands in it."""
    model: tuple[str, str, str]
    """A file of models, and what is changed there."""
    proposed: str
    """What the revision for that must hold."""
    version_table: str = "alembic_version"
    prepare: tuple[str, ...] = ()
    """Statements that its database needs."""
    variables: Mapping[str, str] = field(default_factory=dict)


def _write_shop(root: Path, site: Path) -> None:
    shop.write(root)
    shop.flask_migrates_own(root, site / "flask_migrate" / "templates")


CASES = [
    Case(
        name="shop",
        requirements=("flask-sqlalchemy", "flask-migrate", *OLDEST),
        write=_write_shop,
        file="app/__init__.py",
        before="    return app\n",
        after=FLASK_LINE.format(db="db"),
        start=f"from shop import app as application\n{ASK}",
        head=shop.ids()[-1],
        middle=shop.ids()[11],
        pending=13,
        alembic=("-m", "flask", "db"),
        model=("app/models.py", "note_07 = db.Column(db.String(40))", "note_07 = db.Column(db.String(40), index=True)"),
        proposed="create_index_concurrently",
        variables={"LOG_FORMAT": "%(message)s", "PORT": "tcp://10.0.0.1:80", "ADMIN_PASSWORD": ""},
    ),
    Case(
        name="inventory",
        requirements=("flask", *NEWEST),
        write=lambda root, site: inventory.write(root, site / "alembic" / "templates"),
        file="inventory/__init__.py",
        before="    return app\n",
        after=FLASK_LINE.format(db="Base"),
        start=f"from inventory import create_app\napplication = create_app()\n{ASK}",
        head=inventory.HEAD,
        middle=inventory.MIDDLE,
        pending=1,
        alembic=("-m", "alembic"),
        model=("inventory/models.py", "name: Mapped[str] = mapped_column(String(40))", "name: Mapped[str] = mapped_column(String(40), index=True)"),
        proposed="create_index_concurrently",
        version_table="bookkeeping.alembic_version",
        prepare=("CREATE SCHEMA bookkeeping", "CREATE TABLE robot_arm (id int)"),
        variables={"APP_ENV": "development"},
    ),
    Case(
        name="orders",
        requirements=("fastapi", "sqlmodel", "httpx", *NEWEST),
        write=lambda root, site: orders.write(root, site / "alembic" / "templates"),
        file="main.py",
        before="async def lifespan(app: FastAPI):\n",
        after="async def lifespan(app: FastAPI):\n    import railhead\n\n    railhead.migrate_on_startup()\n",
        start=ASK_ORDERS,
        head=orders.HEAD,
        middle=orders.MIDDLE,
        pending=1,
        alembic=("-m", "alembic"),
        model=("models.py", "paid: bool = False", "paid: bool = Field(default=False, index=True)"),
        proposed="create_index_concurrently",
    ),
]  # fmt: skip


class Home:
    """An application in an environment that has the wheel."""

    def __init__(self, case: Case, root: Path, python: Path) -> None:
        """Write the application."""
        self.case, self.root, self.python = case, root, python
        site = next((python.parent.parent / "lib").glob("python*/site-packages"))
        case.write(root, site)
        self.database: Dsn | None = None

    def run(self, *arguments: str, code: int = 0) -> str:
        """Run Python in the application's folder and return what it said."""
        ended = subprocess.run([self.python, *arguments], capture_output=True, text=True, **self._place())
        assert ended.returncode == code, ended.stdout + ended.stderr
        return ended.stdout + ended.stderr

    def started(self) -> subprocess.Popen[str]:
        """Start the application, and come back at once."""
        return subprocess.Popen(
            [self.python, "-c", self.case.start],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            **self._place(),
        )

    def _place(self) -> dict[str, object]:
        assert self.database
        variables = environment(self.database, PYTHONDONTWRITEBYTECODE="1", **self.case.variables)
        return {"cwd": self.root, "env": variables}

    def snapshot(self) -> dict[str, bytes]:
        """Return every file with its bytes."""
        files = (path for path in self.root.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
        return {path.relative_to(self.root).as_posix(): path.read_bytes() for path in files}

    def replace(self, file: str, before: str, after: str) -> None:
        """Change a file as a person would."""
        text = (self.root / file).read_text()
        assert text.count(before) == 1
        (self.root / file).write_text(text.replace(before, after))

    def versions(self) -> list[str]:
        """Return what the database is at."""
        assert self.database
        return [row[0] for row in rows_of(self.database, f"SELECT version_num FROM {self.case.version_table}")]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel."""
    return build(tmp_path_factory.mktemp("package"))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_application_gets_the_engine(
    case: Case, wheel: Path, tmp_path: Path, databases: Databases, server: Dsn
) -> None:
    """One command and one line: the database comes to head from nothing, from the middle and by adoption, and all can be taken back."""
    python = install(tmp_path / "environment", f"{wheel}[flask,dev]", "pytest", *case.requirements)
    root = tmp_path / "project"
    root.mkdir()
    home = Home(case, root, python)
    home.database = _new(databases, case)
    before = home.snapshot()

    began = time.monotonic()
    said = home.run("-m", "railhead", "init", "--yes")
    home.replace(case.file, case.before, case.after)
    said += home.run("-c", case.start)
    print(f"\n{case.name}: 1 command, 1 line and a start, {time.monotonic() - began:.1f} s")
    assert home.versions() == [case.head]
    written = home.snapshot()
    assert "every file is as it should be" in home.run("-m", "railhead", "init", "--yes")
    assert home.snapshot() == written

    _race(home, _new(databases, case), case)
    _adopts(home, _new(databases, case), case)
    _proposes(home, case)
    _tests_itself(home, case, server)

    home.run("-m", "railhead", "init", "--undo")
    home.replace(case.file, case.after, case.before)
    assert home.snapshot() == before


def _new(databases: Databases, case: Case) -> Dsn:
    database = databases.new()
    for statement in case.prepare:
        rows_of(database, statement)
    return database


def _race(home: Home, database: Dsn, case: Case) -> None:
    """Eight processes start on a database in the middle of the history: each revision runs once."""
    home.database = database
    home.run("-m", "railhead", "upgrade", case.middle)
    assert home.versions() == [case.middle]
    processes = [home.started() for _ in range(8)]
    ended = [(process.communicate()[0], process.returncode) for process in processes]
    assert [code for _, code in ended] == [0] * 8, ended
    assert home.versions() == [case.head]
    applied = "SELECT count(*), count(DISTINCT revision) FROM migration_ledger WHERE action = 'upgrade' AND outcome = 'applied'"
    done = rows_of(database, applied)[0]
    assert done[0] == done[1]


def _adopts(home: Home, database: Dsn, case: Case) -> None:
    """A database that has the tables and no version is taken over at start."""
    home.database = database
    home.run("-m", "railhead", "upgrade")
    rows_of(database, f"DROP TABLE {case.version_table}, migration_ledger")
    home.run("-c", case.start)
    assert home.versions() == [case.head]


def _proposes(home: Home, case: Case) -> None:
    """Unchanged models lead to no revision, a changed one to the safe form; Alembic's own commands work on."""
    files = home.snapshot()
    create = ("migrate",) if "flask" in case.alembic else ("revision", "--autogenerate")
    home.run(*case.alembic, *create, "-m", "nothing")
    assert home.snapshot() == files
    file, was, becomes = case.model
    home.replace(file, was, becomes)
    home.run(*case.alembic, *create, "-m", "an index")
    new = {name for name in home.snapshot() if name not in files}
    assert any(case.proposed in (home.root / name).read_text() for name in new), new
    home.run(*case.alembic, "upgrade", "head")
    assert home.versions() != [case.head]
    home.run(*case.alembic, "downgrade", case.head)
    assert home.versions() == [case.head]
    for name in new:
        (home.root / name).unlink()
    home.replace(file, becomes, was)
    if "flask" in case.alembic:
        rows_of(home.database, f"UPDATE {case.version_table} SET version_num = '{case.middle}'")  # type: ignore[arg-type]
        for command in (("routes",), ("db", "current"), ("shell", "-c", "pass")):
            subprocess.run(
                [home.python, "-m", "flask", *command], input="", text=True, capture_output=True, **home._place()
            )
        assert home.versions() == [case.middle]


def _tests_itself(home: Home, case: Case, server: Dsn) -> None:
    """With the plugin the application's own tests are a file, and each gets its own database."""
    (home.root / "test_it.py").write_text(TESTED.format(version_table=case.version_table, head=case.head))
    for statement in case.prepare:
        if statement.startswith("CREATE SCHEMA"):
            (home.root / "test_it.py").unlink()
            return  # its first revision needs a schema that no revision makes
    variables = {**home._place()["env"], "TEST_DATABASE_URL": url_of(server)}  # type: ignore[dict-item]
    ended = subprocess.run(
        [home.python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_it.py"],
        cwd=home.root,
        env=variables,
        capture_output=True,
        text=True,
    )
    assert " passed" in ended.stdout, ended.stdout + ended.stderr
    assert " failed" not in ended.stdout, ended.stdout + ended.stderr
    for (name,) in rows_of(server, "SELECT datname FROM pg_database WHERE datname LIKE 'railhead_test_template_%'"):
        rows_of(server, f'DROP DATABASE "{name}"')
    (home.root / "test_it.py").unlink()
    assert os.path.isdir(home.root)
