"""The safe verbs keep their promise on every major version of PostgreSQL that this machine has."""

from __future__ import annotations

import pytest

from railhead.dsn import Dsn
from tests.chaos.test_catalog_versions import elder
from tests.databases import rows_of
from tests.verbs import TABLES, VERBS, answer, is_ended, run

assert elder  # the fixture


@pytest.mark.parametrize("name", VERBS)
def test_verb_does_what_it_says_and_does_it_again(elder: Dsn, name: str) -> None:
    """A verb that runs a second time finds its work done, and one whose session was killed half way completes it."""
    verb = VERBS[name]
    for killed_before in (None, 4, 8):
        rows_of(elder, TABLES + verb.before)
        if killed_before:
            is_ended(elder, verb.call, killed_before)
        for _ in range(2):
            run(elder, verb.call)
            assert answer(elder, verb) == verb.answer
