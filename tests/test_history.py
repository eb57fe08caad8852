"""The migrations of this project: one line, reversible, sealed, without surprises. Keep this file; it knows nothing of the board."""

from __future__ import annotations

from contextlib import closing

import psycopg2
import pytest

from models import Base
from railhead.autogenerate import model_diff
from railhead.commands import seal
from railhead.devserver import scratch
from railhead.dsn import Dsn
from railhead.hazards import course, gate, rules
from railhead.hazards.footprint import Footprint
from railhead.history import loader, manifest
from railhead.history.graph import History
from railhead.history.naming import LONGEST_ID
from utils.migrate import PROJECT


@pytest.fixture(scope="module")
def history() -> History:
    """The revisions in migrations/versions."""
    return loader.history(PROJECT)


@pytest.fixture(scope="module")
def footprints(server: Dsn, history: History) -> dict[str, Footprint]:
    """What each revision does: forwards, backwards, and forwards again."""
    found = course.footprints(server, history, history.by_id, lambda _: None)
    return {footprint.revision: footprint for footprint in found}


def test_history_has_a_single_head(history: History) -> None:
    """The files form one history with one head; if not: python utils/migrate.py rebase REVISION."""
    assert history.problem is None, history.problem and history.problem.render()
    assert len(history.heads) == 1


def test_ids_fit_into_the_version_table(history: History) -> None:
    """No revision id is longer than the column that holds it: it would fail only when it is applied."""
    assert [one for one in history.by_id if len(one) > LONGEST_ID] == []


def test_manifest_is_sealed() -> None:
    """The manifest tells what each revision does; if not: python utils/migrate.py seal."""
    assert seal.differences(PROJECT) == []


def test_every_revision_goes_up_down_and_up(history: History, footprints: dict[str, Footprint]) -> None:
    """Each downgrade gives back the schema before it, and the upgrade after it the same schema again."""
    told = {
        one.revision: one.undone
        for one in footprints.values()
        if one.undone and not history.by_id[one.revision].accepted_hazards.get("not-reversible")
    }
    assert told == {}


def test_no_revision_blocks_a_table_without_saying_why(history: History, footprints: dict[str, Footprint]) -> None:
    """What would block traffic on a large table, or could not be mended after a crash, is written another way or accepted."""
    told = [
        f"{one.revision}: {finding.danger}\n{gate.rewritten(history.by_id[one.revision], history, [finding])}"
        for one in footprints.values()
        for finding in rules.findings(one, history.by_id[one.revision])
        if finding.hazard.blocking or finding.slug == "not-repeatable"
        if rules.accepted(history.by_id[one.revision], finding) is None
    ]
    assert told == [], "\n\n".join(told)


def test_accepted_hazards_exist(history: History) -> None:
    """`accepted_hazards` names hazards that there are: a misspelt one accepts nothing."""
    assert [(one.file, name) for one in history.by_id.values() for name in rules.unknown_slugs(one)] == []


def test_sealed_facts_are_true(history: History, footprints: dict[str, Footprint]) -> None:
    """Fingerprint, previous release and hazards in the manifest are what the revisions show today."""
    sealed = {
        one: (entry.catalog, entry.breaking, set(entry.tokens))
        for one, entry in manifest.entries(PROJECT.manifest).items()
    }
    assert sealed == {
        name: (
            footprint.after.fingerprint,
            rules.is_breaking(footprint, history.by_id[name]),
            {finding.token for finding in rules.findings(footprint, history.by_id[name])},
        )
        for name, footprint in footprints.items()
    }


def test_models_equal_head(server: Dsn, history: History) -> None:
    """The migrations lead to what models.py says; if not: alembic revision --autogenerate."""
    with scratch.made_on(server) as dsn:
        course.build(dsn, history)
        with closing(psycopg2.connect(dsn)) as connection:
            assert [str(one) for one in model_diff.models_ahead(PROJECT, Base.metadata, connection)] == []
