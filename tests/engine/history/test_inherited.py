"""A history of public shape: sixty-one revisions that commit, leave their transactions, import, warn, branch and merge."""

from __future__ import annotations

import pytest

from railhead.dsn import Dsn
from tests.databases import Databases, rows_of
from tests.forked_tree import Workshop
from tests.inherited.comparing import OLD_FILE, assert_as_plain, assert_quiet, told
from tests.inherited.habits import HABITS
from tests.inherited.project import HARBOUR, Inherited, contents
from tests.inherited.writing import committing, id_of


@pytest.fixture
def harbour(workshop: Workshop) -> Inherited:
    """A tree with this history."""
    return Inherited(workshop)


def test_an_empty_database_gets_what_plain_alembic_makes(harbour: Inherited, databases: Databases) -> None:
    """From nothing to head in one run, with three lines of warnings and the same schema, the same rows, each revision once."""
    plain, ours = databases.new(), databases.new()
    harbour.plain(plain, "upgrade head")
    ended = harbour.railhead(ours)
    assert ended.returncode == 0, ended.stderr
    assert_as_plain(harbour, ours, contents(plain))
    assert_quiet(ended.stderr, warnings=4)


def test_commits_by_hand_are_understood(workshop: Workshop, databases: Databases) -> None:
    """The same history as it is written for an env.py that begins the transaction: each block with a commit before it."""
    project = Inherited(workshop, committing(HARBOUR))
    plain, ours = databases.new(), databases.new()
    project.plain(plain, "upgrade head", environment="locking")
    ended = project.railhead(ours)
    assert ended.returncode == 0, ended.stderr
    assert_as_plain(project, ours, contents(plain))


def test_a_database_in_the_middle_goes_on_once_the_history_is_adopted(harbour: Inherited, databases: Databases) -> None:
    """Sealing takes a history over as it is: what other databases have had for long is not refused, and told in one line."""
    plain = databases.new()
    harbour.plain(plain, f"upgrade {id_of('cargo')}")
    ours = databases.new(plain.parameters()["dbname"])
    harbour.plain(plain, "upgrade head")
    sealed = harbour.railhead(ours, "seal")
    assert (sealed.returncode, told(sealed.stderr)) == (0, [OLD_FILE])
    ended = harbour.railhead(ours)
    assert ended.returncode == 0, ended.stderr
    assert_as_plain(harbour, ours, contents(plain))
    assert_quiet(ended.stderr, warnings=2)


def test_what_came_before_a_failure_is_not_lost(harbour: Inherited, database: Dsn) -> None:
    """A late revision that fails leaves the others applied and recorded; the run that follows its correction does the rest."""
    *others, last = harbour.records
    harbour.write([*others, last.beginning_with("op.execute('SELECT 1/0')")])
    ended = harbour.railhead(database)
    assert ended.returncode == 5, ended.stderr
    assert rows_of(database, "SELECT version_num FROM alembic_version") == [(others[-1].id,)]
    harbour.write([*others, last])
    ended = harbour.railhead(database)
    assert ended.returncode == 0, ended.stderr
    assert rows_of(database, "SELECT count(DISTINCT revision) FROM migration_ledger WHERE outcome = 'applied'") == [
        (len(HARBOUR),)
    ]


@pytest.mark.parametrize("steps", [("head",), tuple(record.id for record in HABITS)], ids=["at once", "one by one"])
def test_whatever_a_revision_does_with_its_connection(
    workshop: Workshop, databases: Databases, steps: tuple[str, ...]
) -> None:
    """COPY, cursors, sessions, savepoints, locks, temporary tables, settings and questions to the context: all as with plain Alembic."""
    project = Inherited(workshop, HABITS)
    plain, ours = databases.new(), databases.new()
    project.plain(plain, "upgrade head")
    for step in steps:
        ended = project.railhead(ours, "upgrade", step)
        assert ended.returncode == 0, ended.stderr
    assert_as_plain(project, ours, contents(plain))
