"""What tests of several rooms need."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest

from railhead.dsn import Dsn
from tests.databases import rows_of


@pytest.fixture(scope="module")
def poor(server: Dsn) -> Iterator[Dsn]:
    """A role that owns nothing; gone when all databases of this file are."""
    role = f"railhead_test_poor_{uuid.uuid4().hex[:8]}"
    rows_of(server, f"CREATE ROLE {role} LOGIN PASSWORD 'poor'")
    yield server.with_(user=role, password="poor")
    rows_of(server, f"DROP ROLE {role}")
