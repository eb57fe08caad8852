"""What only the long tests need."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.pooler import Pooler
from utils.settings import Dsn


@pytest.fixture
def pooler(server: Dsn, tmp_path: Path) -> Iterator[Pooler]:
    """A PgBouncer in transaction mode in front of the server of the tests."""
    made = Pooler(server, tmp_path)
    yield made
    made.end()
