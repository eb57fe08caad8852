"""Which PostgreSQL do the tests use? TEST_DATABASE_URL's, else one of our own for this run; without either the run is red."""

from __future__ import annotations

import gc
import os
import shutil
import signal
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import psycopg2
import pytest
from psycopg2.extensions import connection as Connection

from railhead.devserver import shared
from railhead.dsn import Dsn, parse_url
from railhead.errors import Stop
from railhead.platforms import platform
from railhead.settings import Settings
from railhead.testing.databases import DatabaseUrl
from tests import long
from tests.databases import Databases, memory, rows_of
from tests.forked_tree import Workshop, database_at_head, opened, renewed
from tests.processes import eventually
from tests.project_tree import PROJECT, Tree, compiled, copy_project, planted

pytest_plugins = ["railhead.testing.plugin"]

_NOT_SAFE = {
    "autovacuum": "off",  # it comes when a test does not expect it, and takes locks
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "max_connections": "300",
    "max_prepared_transactions": "10",
    "shared_buffers": "64MB",
    "max_wal_size": "4GB",
}
"""Fast, and lost with the machine: fit for tests only."""

_ABOUT_OTHERS = (
    "about root",
    "the server of this run is older",
    "the tests' own role is no superuser",
    "this server allows no prepared transactions",
)
"""Why a test may be skipped even where RAILHEAD_NO_SKIPS says that everything is installed: it is about another server, or user."""

_OURS = ("PG", "RAILWAY_", "MIGRATE_", "DATABASE_")
_OURS_IN_FULL = {*Settings.__annotations__, "APP_ENV", "DEV_CREATE_TABLES", "SECRET_KEY", "ADMIN_PASSWORD", "PORT"}

os.environ["TZ"] = "Asia/Kathmandu"  # 5:45 ahead, so that no test passes because the machine is in UTC
time.tzset()
for _name in [name for name in os.environ if name.startswith(_OURS) or name in _OURS_IN_FULL]:
    del os.environ[_name]  # a developer's shell decides nothing here
while _said := platform(os.environ.items()):
    del os.environ[_said[0]]  # nor does the cluster in which the tests run
signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job ignores it, and so would its processes


class Ground:
    """What all processes of one run share: the server, and a name that no other run has."""

    def __init__(self, server: Dsn, run: str) -> None:
        """Take what the controller found."""
        self.server = server
        self.run = run


_GROUND = pytest.StashKey[Ground]()
_FOLDER = pytest.StashKey[Path]()


def pytest_configure(config: pytest.Config) -> None:
    """Find the server, once for all xdist workers."""
    given: dict[str, str] | None = getattr(config, "workerinput", None)
    if given is not None:
        config.stash[_GROUND] = Ground(Dsn(given["server"]), given["run"])
    elif not config.option.collectonly:
        try:
            config.stash[_GROUND] = Ground(_server(config), uuid.uuid4().hex[:8])
        except (Stop, psycopg2.Error, ValueError) as error:
            facts = " ".join(text for _, text in error.facts) if isinstance(error, Stop) else ""
            pytest.exit(f"no PostgreSQL for the tests: {error} {facts} (TEST_DATABASE_URL names another server)", 1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what takes long."""
    long.mark(items)


def pytest_collection_finish() -> None:
    """Spare the collector of garbage what lives for as long as the run: some thousand tests, and all that they import."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: object) -> None:
    """Tell an xdist worker what the controller found."""
    ground = node.config.stash[_GROUND]  # type: ignore[attr-defined]  # xdist has no types
    node.workerinput.update(server=ground.server[:], run=ground.run)  # type: ignore[attr-defined]


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> Iterator[None]:
    """Fail the run when it leaves a database behind, and when it skips what continuous integration has installed."""
    result = yield
    skipped = _skipped(session.config) if os.environ.get("RAILHEAD_NO_SKIPS") else []
    if skipped:
        print("\nskipped, although RAILHEAD_NO_SKIPS is set:", *skipped, sep="\n")
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
    ground = session.config.stash.get(_GROUND, None)
    if ground and not hasattr(session.config, "workerinput"):
        stray = rows_of(
            ground.server, "SELECT datname FROM pg_database WHERE starts_with(datname, %s)", [_prefix(ground)]
        )
        if stray:
            print(f"\ndatabases left behind: {stray}")
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
    return result


def pytest_unconfigure(config: pytest.Config) -> None:
    """Return when our server has gone."""
    folder = config.stash.get(_FOLDER, None)
    if folder:
        shared.leave(folder)
        eventually(lambda: shared.gone(folder), within=30, what="the server of the tests ends")
        shutil.rmtree(folder)


def _server(config: pytest.Config) -> Dsn:
    named = os.environ.get("TEST_DATABASE_URL")
    if named:
        dsn = parse_url(named)
        rows_of(dsn, "SELECT 1")
        return dsn
    folder = config.stash[_FOLDER] = Path(tempfile.mkdtemp(prefix="railhead-tests-", dir=memory()))
    return shared.use(folder, _NOT_SAFE, linger=0).with_(dbname="postgres")


def _skipped(config: pytest.Config) -> list[str]:
    """Return which tests were skipped for want of something, each with its reason."""
    terminal = config.pluginmanager.get_plugin("terminalreporter")
    reports = terminal.stats.get("skipped", []) if terminal else []
    told = {report.nodeid: str(report.longrepr[2]).removeprefix("Skipped: ") for report in reports}
    return [f"{test}: {why}" for test, why in told.items() if not why.startswith(_ABOUT_OTHERS)]


def _prefix(ground: Ground) -> str:
    return f"railhead_test_{ground.run}"


@pytest.fixture(scope="session")
def server(pytestconfig: pytest.Config) -> Dsn:
    """The server that all tests share, as its administrator; no test changes its settings."""
    return pytestconfig.stash[_GROUND].server


@pytest.fixture(scope="session")
def railhead_server(server: Dsn) -> DatabaseUrl:
    """The same for the plugin of `railhead.testing`."""
    return DatabaseUrl.of(server)


@pytest.fixture
def databases(pytestconfig: pytest.Config) -> Iterator[Databases]:
    """For a test that needs several: `databases.new()`; the test fails when it leaves a session or an advisory lock."""
    ground = pytestconfig.stash[_GROUND]
    made = Databases(ground.server, f"{_prefix(ground)}_{uuid.uuid4().hex[:8]}")
    yield made
    made.drop()


@pytest.fixture(scope="session")
def templates(pytestconfig: pytest.Config) -> Iterator[Databases]:
    """Databases that stay for the whole run, to be copied: nobody uses them, nobody changes them."""
    ground = pytestconfig.stash[_GROUND]
    made = Databases(ground.server, f"{_prefix(ground)}_template_{uuid.uuid4().hex[:8]}")
    yield made
    made.drop()


@pytest.fixture(scope="session")
def head(templates: Databases, _workshop: Workshop) -> str:
    """The name of a database at head of the migrations of the tests' own project, to be copied."""
    return database_at_head(templates, _workshop)


@pytest.fixture
def database(databases: Databases, request: pytest.FixtureRequest) -> Dsn:
    """A database of its own: at head for a test that asks for `at_head`, else empty."""
    if "at_head" in request.fixturenames:
        return databases.new(request.getfixturevalue("head"))
    return databases.new()


@pytest.fixture
def settings(database: Dsn) -> Settings:
    """The settings of a development machine whose DATABASE_URL names `database`."""
    return Settings(database=database, migrate_database=database, project=PROJECT)


@pytest.fixture
def connection(database: Dsn) -> Iterator[Connection]:
    """A connection to `database`, in autocommit."""
    yield from _connected(database)


@pytest.fixture
def other_session(database: Dsn) -> Iterator[Connection]:
    """Another connection to `database`, in a transaction once it is used: to hold locks."""
    yield from _connected(database, autocommit=False)


def _connected(dsn: Dsn, *, autocommit: bool = True) -> Iterator[Connection]:
    connection = psycopg2.connect(dsn)
    connection.autocommit = autocommit
    yield connection
    connection.close()


@pytest.fixture(scope="session")
def _pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project of the tests, compiled; each test's tree is a copy of it."""
    return compiled(tmp_path_factory.mktemp("pristine"), copy_project)


@pytest.fixture
def project(_pristine: Path, tmp_path: Path, database: Dsn) -> Iterator[Tree]:
    """A copy of the project of the tests as it is, whose commands are told `database`."""
    yield from planted(_pristine, tmp_path / "tree", database)


@pytest.fixture
def tree(project: Tree) -> Tree:
    """The same with an empty revision folder, to be filled by `tree.write`."""
    project.clear()
    return project


@pytest.fixture(scope="session")
def _workshop(tmp_path_factory: pytest.TempPathFactory, _pristine: Path) -> Iterator[Workshop]:
    """One for each worker; its place stays, its files are put back for each test."""
    yield from opened(tmp_path_factory.mktemp("workshop") / "tree", _pristine)


@pytest.fixture
def workshop(_workshop: Workshop, database: Dsn) -> Iterator[Workshop]:
    """A copy of the project of the tests as it is, whose commands are told `database` and start in no time."""
    yield from renewed(_workshop, database)


@pytest.fixture
def at_head(workshop: Workshop) -> Workshop:
    """The same, with a database at head."""
    return workshop


@pytest.fixture
def bare(workshop: Workshop) -> Workshop:
    """The same with an empty revision folder, to be filled by `bare.write`."""
    workshop.clear()
    return workshop


@pytest.fixture
def room() -> Iterator[Path]:
    """A folder for servers, in memory where that is possible."""
    with tempfile.TemporaryDirectory(dir=memory(), ignore_cleanup_errors=True) as place:
        yield Path(place)
