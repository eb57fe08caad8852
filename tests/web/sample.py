"""The sample application in a folder of its own, for tests that serve it: the fixtures that its conftest takes the place of."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from railhead.dsn import Dsn
from railhead.execution import entry
from railhead.settings import Settings
from tests.databases import Databases
from tests.forked_tree import Workshop, opened, renewed
from tests.project_tree import Tree, compiled, copy_sample, planted


@pytest.fixture(scope="session")
def _sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample, compiled; each test's tree is a copy of it."""
    return compiled(tmp_path_factory.mktemp("sample"), copy_sample)


@pytest.fixture
def project(_sample: Path, tmp_path: Path, database: Dsn) -> Iterator[Tree]:
    """A copy of the sample as it is, whose commands are told `database`."""
    yield from planted(_sample, tmp_path / "tree", database)


@pytest.fixture(scope="session")
def _sample_workshop(tmp_path_factory: pytest.TempPathFactory, _sample: Path) -> Iterator[Workshop]:
    """One for each worker; its place stays, its files are put back for each test."""
    yield from opened(tmp_path_factory.mktemp("sample-workshop") / "tree", _sample)


@pytest.fixture
def workshop(_sample_workshop: Workshop, database: Dsn) -> Iterator[Workshop]:
    """A copy of the sample as it is, whose commands are told `database` and start in no time."""
    yield from renewed(_sample_workshop, database)


@pytest.fixture(scope="session")
def head(templates: Databases) -> str:
    """The name of a database at head of the sample's migrations, to be copied."""
    dsn = templates.new()
    entry.migrate("upgrade", "head", Settings(database=dsn, migrate_database=dsn))
    return dsn.parameters()["dbname"]
