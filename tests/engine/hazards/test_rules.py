"""Each hazard is found in its bad example and in nothing else; what it says is true and told in the reader's names."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from railhead.dsn import Dsn
from railhead.hazards.rules import HAZARDS
from tests import guide
from tests.databases import rows_of
from tests.footprints import EXAMPLES, open_findings


def test_examples_run_on_the_newest_server(server: Dsn) -> None:
    """Unless TEST_DATABASE_URL names another server, the examples are judged by PostgreSQL 18; the long tests take an older one."""
    [(version,)] = rows_of(server, "SELECT current_setting('server_version_num')::int / 10000")
    assert version == 18 or "TEST_DATABASE_URL" in os.environ


@pytest.mark.parametrize("slug", HAZARDS)
def test_bad_example_shows_exactly_its_hazard(server: Dsn, tmp_path: Path, slug: str) -> None:
    """The bad example of a hazard shows that hazard and no other."""
    found = open_findings(server, tmp_path, EXAMPLES / slug / "bad.py")
    assert [finding.slug for finding in found] == [slug]


@pytest.mark.parametrize("slug", HAZARDS)
def test_good_example_shows_none(server: Dsn, tmp_path: Path, slug: str) -> None:
    """The good example of a hazard shows no hazard at all."""
    assert open_findings(server, tmp_path, EXAMPLES / slug / "good.py") == []


def test_every_hazard_has_its_examples_and_every_example_its_hazard() -> None:
    """Adding a hazard is one record, one bad file and one good file."""
    found = {str(file.relative_to(EXAMPLES)) for file in EXAMPLES.glob("*/*.py")}
    assert found == {f"{slug}/{name}.py" for slug in HAZARDS for name in ("bad", "good")}


def test_guide_is_current() -> None:
    """docs/writing-migrations.md says what the records say; if not: python -m tests.guide."""
    assert guide.PLACE.read_text(encoding="utf-8") == guide.render()
