"""The plugin of pytest: `migrated_database`, `railhead_server`, and what `railhead.testing.history` looks at.

On the server that TEST_DATABASE_URL names, else on an embedded one of this run, which is gone afterwards; without either a test that
asks for a database is red, not skipped.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from railhead import here
from railhead.project import Project

if TYPE_CHECKING:
    from railhead.hazards.footprint import Footprint
    from railhead.history.graph import History
    from railhead.testing.databases import DatabaseUrl

pytest.register_assert_rewrite("railhead.testing.history")

_NOT_SAFE = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "max_connections": "200",
    "shared_buffers": "64MB",
}
"""Fast, and lost with the machine: fit for tests only."""

_ROOM = 1024**3
_FOLDER = pytest.StashKey[Path]()


def pytest_configure(config: pytest.Config) -> None:
    """Agree with the other processes of this run on the folder of the server, which starts when somebody asks for it."""
    given: dict[str, str] = getattr(config, "workerinput", {})
    config.stash[_FOLDER] = Path(given.get("railhead_folder") or _folder())


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: object) -> None:
    """Tell an xdist worker the folder."""
    node.workerinput["railhead_folder"] = str(node.config.stash[_FOLDER])  # type: ignore[attr-defined]  # xdist has no types


def pytest_unconfigure(config: pytest.Config) -> None:
    """Leave the server; who began the run returns when it has gone."""
    folder = config.stash.get(_FOLDER, None)
    if folder is None or not folder.exists():
        return
    from railhead.devserver import shared
    from railhead.testing import databases

    databases.leave()
    shared.leave(folder)
    if not hasattr(config, "workerinput"):
        deadline = time.monotonic() + 30
        while not shared.gone(folder) and time.monotonic() < deadline:
            time.sleep(0.01)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def railhead_project(pytestconfig: pytest.Config) -> Project:
    """The project whose migrations are tested: the one around pytest's root folder."""
    return here.project(pytestconfig.rootpath)


@pytest.fixture(scope="session")
def railhead_server(pytestconfig: pytest.Config) -> DatabaseUrl:
    """The address of a PostgreSQL server on which tests may make databases."""
    from railhead.devserver import shared
    from railhead.dsn import parse_url
    from railhead.settings import test_database
    from railhead.testing.databases import DatabaseUrl

    named = test_database()
    dsn = parse_url(named) if named else shared.use(pytestconfig.stash[_FOLDER], _NOT_SAFE, linger=0)
    return DatabaseUrl.of(dsn if dsn.parameters().get("dbname") else dsn.with_(dbname="postgres"))


@pytest.fixture(scope="session")
def _railhead_template(railhead_server: DatabaseUrl, railhead_project: Project) -> str:
    from railhead.testing import databases

    return databases.template(railhead_server, railhead_project)


@pytest.fixture
def migrated_database(railhead_server: DatabaseUrl, _railhead_template: str) -> Iterator[DatabaseUrl]:
    """The URL of a database at head that belongs to this test alone."""
    from railhead.testing import databases

    with databases.copied(railhead_server, _railhead_template) as url:
        yield url


@pytest.fixture(scope="session")
def railhead_history(railhead_project: Project) -> History:
    """The revisions of the project."""
    from railhead.history import loader

    return loader.history(railhead_project)


@pytest.fixture(scope="session")
def railhead_footprints(railhead_server: DatabaseUrl, railhead_history: History) -> dict[str, Footprint]:
    """What each revision does that is not older than the first seal: forwards, backwards, and forwards again."""
    from railhead.dsn import parse_url
    from railhead.hazards import history_replay

    wanted = [revision.id for revision in railhead_history.behind_baseline if not revision.adopted]
    seen = (
        history_replay.footprints(parse_url(railhead_server), railhead_history, wanted, lambda _: None)
        if wanted
        else ()
    )
    return {footprint.revision: footprint for footprint in seen}


def _folder() -> str:
    """Return a name in memory where there is room: a database is copied there in 15 ms, on a disk in 200. Makes nothing."""
    memory = Path("/dev/shm")  # noqa: S108  the folder itself is made for us alone
    roomy = memory.is_dir() and shutil.disk_usage(memory).free > _ROOM
    place = memory if roomy else Path(tempfile.gettempdir())
    return str(place / f"railhead-tests-{next(tempfile._get_candidate_names())}")  # type: ignore[attr-defined]  # noqa: SLF001
