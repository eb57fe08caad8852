"""The checks of a history: one line, reversible, sealed, without surprises. `from railhead.testing.history import *` is all of them."""

from __future__ import annotations

from contextlib import closing

import psycopg2

from railhead.autogenerate import model_diff
from railhead.commands import seal
from railhead.hazards import gate, rules
from railhead.hazards.footprint import Footprint
from railhead.history import manifest
from railhead.history.graph import History
from railhead.history.naming import LONGEST_ID
from railhead.project import Project

__all__ = [
    "test_accepted_hazards_exist",
    "test_every_revision_goes_up_down_and_up",
    "test_history_has_a_single_head",
    "test_ids_fit_into_the_version_table",
    "test_manifest_is_sealed",
    "test_models_equal_head",
    "test_no_revision_blocks_a_table_without_saying_why",
    "test_sealed_facts_are_true",
]


def test_history_has_a_single_head(railhead_history: History) -> None:
    """The files form one history with one head; if not: railhead rebase REVISION."""
    problem = railhead_history.problem
    assert problem is None, railhead_history.project.spoken(problem.render())
    assert len(railhead_history.heads) == 1


def test_ids_fit_into_the_version_table(railhead_history: History) -> None:
    """No revision id is longer than the column that holds it: it would fail only when it is applied."""
    assert [revision for revision in railhead_history.by_id if len(revision) > LONGEST_ID] == []


def test_manifest_is_sealed(railhead_project: Project) -> None:
    """The manifest tells what each revision does; if not: railhead seal."""
    assert seal.differences(railhead_project) == []


def test_every_revision_goes_up_down_and_up(
    railhead_history: History, railhead_footprints: dict[str, Footprint]
) -> None:
    """Each downgrade gives back the schema before it, and the upgrade after it the same schema again."""
    undone = {
        footprint.revision: footprint.undone
        for footprint in railhead_footprints.values()
        if footprint.undone and not railhead_history.by_id[footprint.revision].accepted_hazards.get("not-reversible")
    }
    assert undone == {}


def test_no_revision_blocks_a_table_without_saying_why(
    railhead_history: History, railhead_footprints: dict[str, Footprint]
) -> None:
    """What would block traffic on a large table, or could not be mended after a crash, is written another way or accepted."""
    blocking = [
        f"{revision}: {finding.danger}\n{gate.rewritten(railhead_history.by_id[revision], railhead_history, [finding])}"
        for revision, footprint in railhead_footprints.items()
        for finding in rules.findings(footprint, railhead_history.by_id[revision])
        if finding.hazard.blocking or finding.slug == "not-repeatable"
        if rules.accepted(railhead_history.by_id[revision], finding) is None
    ]
    assert blocking == [], "\n\n".join(blocking)


def test_accepted_hazards_exist(railhead_history: History) -> None:
    """`accepted_hazards` names hazards that there are: a misspelt one accepts nothing."""
    revisions = railhead_history.by_id.values()
    assert [(revision.file, name) for revision in revisions for name in rules.unknown_slugs(revision)] == []


def test_sealed_facts_are_true(
    railhead_project: Project, railhead_history: History, railhead_footprints: dict[str, Footprint]
) -> None:
    """Fingerprint, previous release and hazards in the manifest are what the revisions show today."""
    entries = manifest.entries(railhead_project.manifest)
    sealed = {
        revision: (entries[revision].catalog, entries[revision].breaking, set(entries[revision].tokens))
        for revision in railhead_footprints
        if revision in entries
    }
    assert sealed == {
        revision: (
            footprint.after.fingerprint,
            rules.is_breaking(footprint, railhead_history.by_id[revision]),
            {finding.token for finding in rules.findings(footprint, railhead_history.by_id[revision])},
        )
        for revision, footprint in railhead_footprints.items()
    }


def test_models_equal_head(railhead_project: Project, migrated_database: str) -> None:
    """The migrations lead to what the models say; if not: alembic revision --autogenerate."""
    models = railhead_project.models()
    with closing(psycopg2.connect(migrated_database)) as connection:
        ahead = model_diff.models_ahead(railhead_project, models, connection)
        assert [str(difference) for difference in ahead] == []
