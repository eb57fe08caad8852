"""What is installed is what was tested."""

from __future__ import annotations

import re

import pytest

from tests.project_tree import ROOT


def lines_of(name: str) -> list[str]:
    """Return the lines of a requirements file that say something."""
    return [line for line in (ROOT / name).read_text().splitlines() if line and not line.startswith("#")]


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-dev.txt", "requirements-browser.txt"])
def test_every_requirement_is_pinned(name: str) -> None:
    """Each line names one exact version."""
    for line in lines_of(name):
        assert re.fullmatch(r"-r requirements\.txt|[a-z0-9-]+==[0-9][0-9a-z.]*", line), line


def test_production_requirements_stand_alone() -> None:
    """Platforms that copy this one file to install it can do without the others: nothing in it refers to a file."""
    assert not [line for line in lines_of("requirements.txt") if line.startswith("-")]


def test_development_installs_what_production_runs() -> None:
    """The development requirements begin with production's."""
    assert lines_of("requirements-dev.txt")[0] == "-r requirements.txt"
