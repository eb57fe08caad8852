"""Where a database can be: each state is made, named by `status`, and met by the real start of the application."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import NamedTuple

import pytest

from tests.forked_tree import Workshop
from tests.project_tree import MIGRATE, sql

SERVE = (sys.executable, "-c", "from app import create_app; create_app(); print('serving')")
READY = (
    sys.executable,
    "-c",
    """
from app import create_app

answer = create_app().test_client().get("/readyz")
print(answer.status_code, answer.json["state"])
""",
)

CREATE_ALL = (
    sys.executable,
    "-c",
    """
import os, sqlalchemy
from models import Base

url = os.environ["DATABASE_URL"].replace("postgresql://", "postgresql+psycopg2://")
Base.metadata.create_all(sqlalchemy.create_engine(url))
""",
)
FAILS = 'raise ValueError("not yet written")'
NULLABLE = 'op.add_column("task", sa.Column("note", sa.Text(), nullable=True))'


def at_head(tree: Workshop) -> None:
    """Every revision is applied."""
    assert tree.migrate().returncode == 0


def half_way(tree: Workshop) -> None:
    """The first revision is applied, the second is not."""
    assert tree.migrate("upgrade", "0001").returncode == 0


def empty(_tree: Workshop) -> None:
    """Nothing is done to an empty database."""


def back_at_base(tree: Workshop) -> None:
    """Everything was applied, and taken back."""
    at_head(tree)
    assert tree.migrate("downgrade", "base", "--yes").returncode == 0


def one_ahead(tree: Workshop) -> None:
    """A newer release added a column that may stay empty; this one lacks the revision."""
    newer = tree.write("0003_note", NULLABLE, after="0002_add_task_due_on")
    at_head(tree)
    newer.unlink()


def one_ahead_too_far(tree: Workshop) -> None:
    """A newer release dropped a column that this one's models have."""
    newer = tree.write("0003_gone", 'op.drop_column("task", "description")', after="0002_add_task_due_on")
    assert tree.migrate(APP_RELEASE="v3").returncode == 0
    newer.unlink()


def of_another_project(tree: Workshop) -> None:
    """The version is one that nobody here knows."""
    sql(tree, "CREATE TABLE alembic_version (version_num varchar(32)); INSERT INTO alembic_version VALUES ('deadbeef')")


def of_two_ages(tree: Workshop) -> None:
    """At head, and the version before was put back beside it."""
    at_head(tree)
    sql(tree, "INSERT INTO alembic_version VALUES ('0001_baseline')")


def of_nothing(tree: Workshop) -> None:
    """Somebody's alembic_version holds a version that is none."""
    sql(tree, "CREATE TABLE alembic_version (version_num varchar(32)); INSERT INTO alembic_version VALUES (NULL)")


def made_by_create_all(tree: Workshop) -> None:
    """Tables as models.py has them, a row in one, no version."""
    assert tree.run(*CREATE_ALL).returncode == 0
    sql(tree, "INSERT INTO project (name) VALUES ('kept')")


def made_by_hand(tree: Workshop) -> None:
    """The same with one column more."""
    made_by_create_all(tree)
    sql(tree, "ALTER TABLE task ADD note text")


def lost_its_version(tree: Workshop) -> None:
    """One revision was taken back, and then somebody dropped Alembic's table."""
    at_head(tree)
    assert tree.migrate("downgrade", "-1", "--yes").returncode == 0
    sql(tree, "DROP TABLE alembic_version")


def fallen_back(tree: Workshop) -> None:
    """DEV_CREATE_TABLES made the tables when the first revision failed, which works now."""
    works = break_first(tree)
    assert tree.run(*SERVE, DEV_CREATE_TABLES="true").returncode == 0
    (tree.versions / "0001_baseline.py").write_text(works)


def break_first(tree: Workshop) -> str:
    """Let the first revision fail, and return its file as it was."""
    file = tree.versions / "0001_baseline.py"
    works = file.read_text()
    begin = "def upgrade() -> None:\n"
    file.write_text(works.replace(begin, f"{begin}    {FAILS}\n"))
    return works


def still_broken(tree: Workshop) -> None:
    """The same, and it still fails."""
    fallen_back(tree)
    break_first(tree)


def two_heads(tree: Workshop) -> None:
    """Two revisions stand on the same one."""
    at_head(tree)
    tree.write("0003_mine", after="0002_add_task_due_on")
    tree.write("0003_yours", after="0002_add_task_due_on")


def one_id_twice(tree: Workshop) -> None:
    """Two files have the same id."""
    at_head(tree)
    tree.write("0003_mine", after="0002_add_task_due_on", revision="0003")
    tree.write("0003_yours", after="0002_add_task_due_on", revision="0003")


def changed_by_hand(tree: Workshop) -> None:
    """At head, and somebody added a column that nobody needs."""
    at_head(tree)
    sql(tree, "ALTER TABLE task ADD note text")


def applied_and_changed(tree: Workshop) -> None:
    """At head, and the file of an applied revision means something else now."""
    at_head(tree)
    file = tree.versions / "0002_add_task_due_on.py"
    file.write_text(file.read_text().replace("sa.Date()", "sa.DateTime()"))


def applied_unsealed(tree: Workshop) -> None:
    """At head of a history whose newest revision the manifest lacks."""
    tree.write("0003_note", NULLABLE, after="0002_add_task_due_on")
    at_head(tree)


class State(NamedTuple):
    """How a database came there, what that is called, what the start does, and what MIGRATE_ON_START=check does."""

    made: Callable[[Workshop], None]
    state: str
    start: int
    says: tuple[str, ...]
    """Words of what the start says, the slug of its refusal last."""
    check: int
    """The same decides whether `/readyz` answers 200 or 503."""
    flags: tuple[str, ...] = ()


STATES = [
    State(at_head, "current", 0, ("the database is at head, 0002_add_task_due_on",), 0),
    State(changed_by_hand, "current", 0, ("the database is at head",), 0, ("drifted",)),
    State(applied_and_changed, "current", 0, ("the database is at 0002_add_task_due_on",), 0, ("edited",)),
    State(applied_unsealed, "current", 0, ("the database is at 0003_note",), 0, ("unsealed",)),
    State(empty, "behind", 0, ("upgrade: 2 revisions", "0002_add_task_due_on"), 3),
    State(half_way, "behind", 0, ("upgrade: 1 revision,",), 3),
    State(back_at_base, "behind", 0, ("upgrade: 2 revisions",), 3),
    State(one_ahead, "ahead", 0, ("ahead of this release by 0003_note",), 0),
    State(one_ahead_too_far, "ahead", 3, ("0003_gone", "column task.description is gone", "release v3", "[ahead]"), 3),
    State(of_another_project, "unknown", 3, ("deadbeef", "[unknown-version]"), 3),
    State(of_two_ages, "unknown", 3, ("0001_baseline, 0002", "IN ('0001_baseline');", "[unknown-version]"), 3),
    State(of_nothing, "unknown", 3, ("NULL", "[unknown-version]"), 3),
    State(lost_its_version, "unmanaged", 0, ("0001_baseline", "0002_add_task_due_on"), 3),
    State(made_by_create_all, "unmanaged", 0, ("0002_add_task_due_on",), 3),
    State(made_by_hand, "unmanaged", 3, ("column task.note", "0002_add_task_due_on", "adopt", "[unmanaged]"), 3),
    State(fallen_back, "fallback", 0, ("0002_add_task_due_on",), 3),
    State(still_broken, "fallback", 3, ("0001_baseline: not yet written", "migrate.py reset", "[unmanaged]"), 3),
    State(two_heads, "forked", 3, ("0003_mine.py", "0003_yours.py", "migrate.py rebase 0003_yours", "[forked]"), 3),
    State(
        one_id_twice, "forked", 3, ("0003_mine.py", "0003_yours.py", "migrate.py rebase 0003_yours.py", "[forked]"), 3
    ),
]


_HEADLINES = {
    "ahead": "this release is older than the database, and what it needs is gone",
    "unknown": "the database is at a revision that this code does not have",
    "of_two_ages": "alembic_version holds a revision together with one that it builds on",
    "unmanaged": "the database has tables, but no version",
    "fallback": "DEV_CREATE_TABLES made the tables; the database has no version",
    "forked": "migrate.py rebase 0003_yours",
}


@pytest.mark.parametrize("state", STATES, ids=lambda state: state.made.__name__)
def test_a_state_has_one_name_and_one_outcome(workshop: Workshop, state: State) -> None:
    """`status` names it; `/readyz`, a start that only checks, `wait` and a start that migrates answer as the table says."""
    state.made(workshop)
    seen = json.loads(workshop.migrate("status", "--json").stdout)
    assert seen["state"] == state.state
    if state.flags:
        assert seen["flags"] == [*state.flags]
    ready = workshop.run(*READY, MIGRATE_ON_START="off")
    assert ready.stdout.splitlines()[-1] == f"{503 if state.check else 200} {state.state}", ready.stdout + ready.stderr
    checked = workshop.run(*SERVE, MIGRATE_ON_START="check")
    assert (checked.returncode, "serving" in checked.stdout) == (state.check, state.check == 0), checked.stdout
    waited = workshop.migrate("wait", MIGRATE_WAIT_LOCK="0")
    assert waited.returncode == (1 if state.state == "behind" else state.check), waited.stderr
    if waited.returncode == 3:
        assert _HEADLINES.get(state.made.__name__, _HEADLINES[state.state]) in waited.stderr
        assert "found      none" not in waited.stderr
    started = workshop.run(*SERVE)
    assert (started.returncode, "serving" in started.stdout) == (state.start, state.start == 0), started.stdout
    assert [words for words in state.says if words not in started.stdout] == [], started.stdout
    assert "Traceback" not in started.stdout + started.stderr


@pytest.mark.parametrize("made", [of_another_project, two_heads, empty], ids=lambda made: made.__name__)
def test_a_start_that_does_not_look_serves(workshop: Workshop, made: Callable[[Workshop], None]) -> None:
    """With MIGRATE_ON_START=off the application starts whatever the schema is, and leaves it alone."""
    made(workshop)
    started = workshop.run(*SERVE, MIGRATE_ON_START="off")
    assert (started.returncode, "serving" in started.stdout) == (0, True)


@pytest.mark.parametrize(("applied", "moves"), [("0003_mine", "0003_yours"), ("0003_yours", "0003_mine")])
def test_what_the_database_has_keeps_its_name(workshop: Workshop, applied: str, moves: str) -> None:
    """Of two heads, status proposes to move the one that is not applied here."""
    workshop.write(applied, after="0002_add_task_due_on")
    at_head(workshop)
    workshop.write(moves, after="0002_add_task_due_on")
    assert workshop.migrate("status").stdout.endswith(f"next       python utils/migrate.py rebase {moves}\n")


def test_nothing_is_lost_when_create_alls_database_is_adopted(workshop: Workshop) -> None:
    """The rows of a database that create_all made are there after the start has taken it over, and the ledger says adopt."""
    made_by_create_all(workshop)
    assert workshop.run(*SERVE).returncode == 0
    assert sql(workshop, "SELECT name FROM project") == [("kept",)]
    assert sql(workshop, "SELECT revision, action FROM migration_ledger") == [("0002_add_task_due_on", "adopt")]
    assert json.loads(workshop.migrate("status", "--json").stdout)["state"] == "current"


def test_the_fallback_is_ignored_in_production(workshop: Workshop) -> None:
    """DEV_CREATE_TABLES makes no table in production: the failed migration stops the start, and a warning says so."""
    workshop.write("0003_broken", FAILS, after="0002_add_task_due_on")
    started = workshop.run(*SERVE, DEV_CREATE_TABLES="true", APP_ENV="production", LOG_FORMAT="text")
    assert started.returncode == 3
    assert "DEV_CREATE_TABLES is ignored: this is production" in started.stdout
    assert sql(workshop, "SELECT count(*) FROM migration_ledger WHERE action = 'create_all'") == [(0,)]


def test_the_fallback_serves_and_says_how_to_get_out(workshop: Workshop) -> None:
    """In development a failed migration is told in full, the tables are made all the same, and the ledger says create_all."""
    workshop.write("0003_broken", FAILS, after="0002_add_task_due_on")
    started = workshop.run(*SERVE, DEV_CREATE_TABLES="true")
    assert "serving" in started.stdout
    assert "ValueError: not yet written" in started.stdout
    assert "python utils/migrate.py reset" in started.stdout
    assert sql(workshop, "SELECT action FROM migration_ledger WHERE outcome = 'applied'")[-1] == ("create_all",)


def test_status_names_the_file_that_cannot_be_loaded(workshop: Workshop) -> None:
    """A broken revision file is no fork: `status` says which file it is, and ends with 3."""
    (workshop.versions / "0003_bad.py").write_text("def (")
    ended = workshop.run(*MIGRATE, "status")
    assert ended.returncode == 3
    assert "0003_bad.py, line 1" in ended.stderr
    assert "[revision-file]" in ended.stderr
