"""How long does it take to seal a hundred revisions, and to see that they are sealed?"""

from __future__ import annotations

import sys
import time

import pytest

from tests.chaos.histories import HUNDRED, write_hundred
from tests.project_tree import MIGRATE, Tree

pytestmark = pytest.mark.alone

SEALED_WITHIN, CHECKED_WITHIN = 10.0, 2.0
"""Seconds, the whole process included."""


def test_hundred_revisions_are_sealed_in_seconds(tree: Tree) -> None:
    """Each of a hundred revisions is replayed up, down and up within 10 s in all, and `seal --check` takes less than 2 s."""
    write_hundred(tree)
    seconds = timed(tree, "seal")
    text = (tree.root / "migrations" / "manifest.txt").read_text()
    lines = [line.split() for line in text.splitlines() if not line.startswith("#")]
    assert [line[1] for line in lines] == HUNDRED
    assert all(line[4] != "-" for line in lines)  # each has been replayed
    assert "not-reversible" not in text
    checked = timed(tree, "seal", "--check")
    print(f"seal of 100 revisions: {seconds:.1f} s; seal --check: {checked:.2f} s", file=sys.stderr)
    assert seconds < SEALED_WITHIN
    assert checked < CHECKED_WITHIN


def test_hundred_revisions_without_a_way_back_take_no_longer(tree: Tree) -> None:
    """Downgrades that do nothing, as most old histories have some, spoil no scratch database: the same 10 s are enough."""
    write_hundred(tree, goes_back=False)
    assert timed(tree, "seal") < SEALED_WITHIN
    text = (tree.root / "migrations" / "manifest.txt").read_text()
    assert text.count("not-reversible") == 100


def timed(tree: Tree, *arguments: str) -> float:
    """Return the seconds that a command of its own process takes; it must end well."""
    began = time.monotonic()
    ended = tree.run(*MIGRATE, *arguments)
    seconds = time.monotonic() - began
    assert ended.returncode == 0, ended.stderr
    return seconds
