"""Hazards are the same on every major version of PostgreSQL that this machine has."""

from __future__ import annotations

from pathlib import Path

import pytest

from railhead.dsn import Dsn
from railhead.hazards.rules import HAZARDS
from tests.chaos.test_catalog_versions import elder
from tests.footprints import EXAMPLES, open_findings

assert elder  # the fixture


@pytest.mark.parametrize("slug", HAZARDS)
def test_bad_example_shows_exactly_its_hazard(elder: Dsn, tmp_path: Path, slug: str) -> None:
    """The bad example of a hazard shows that hazard and no other."""
    found = open_findings(elder, tmp_path, EXAMPLES / slug / "bad.py")
    assert [finding.slug for finding in found] == [slug]


@pytest.mark.parametrize("slug", HAZARDS)
def test_good_example_shows_none(elder: Dsn, tmp_path: Path, slug: str) -> None:
    """The good example of a hazard shows no hazard at all."""
    assert open_findings(elder, tmp_path, EXAMPLES / slug / "good.py") == []
