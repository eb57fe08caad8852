"""Trees in which commands start at once, because a process with everything imported forks them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.workshop import Workshop
from utils.settings import Dsn


@pytest.fixture(scope="session")
def _workshop(tmp_path_factory: pytest.TempPathFactory, _pristine: Path) -> Iterator[Workshop]:
    """One for each worker; its place stays, its files are put back for each test."""
    root = tmp_path_factory.mktemp("workshop") / "tree"
    shutil.copytree(_pristine, root)
    workshop = Workshop(root, _pristine)
    yield workshop
    workshop.close()


@pytest.fixture
def workshop(_workshop: Workshop, database: Dsn) -> Iterator[Workshop]:
    """A copy of the project as it is, whose commands are told `database` and start in no time."""
    _workshop.renew()
    _workshop.database = database
    yield _workshop
    _workshop.end()


@pytest.fixture
def bare(workshop: Workshop) -> Workshop:
    """The same with an empty revision folder, to be filled by `bare.write`."""
    shutil.rmtree(workshop.versions)
    workshop.versions.mkdir()
    (workshop.root / "migrations" / "manifest.txt").unlink(missing_ok=True)
    return workshop
