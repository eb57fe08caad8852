"""Each hazard is found in its bad example and in nothing else; what it says is true and told in the reader's names."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import guide
from tests.judging import EXAMPLES, open_findings
from utils.hazards import HAZARDS
from utils.settings import Dsn


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
