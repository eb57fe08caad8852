"""`plan` shows what an upgrade would do to this database, and does nothing."""

from __future__ import annotations

import json
from typing import Any

import pytest

from railhead.dsn import Dsn
from tests.databases import rows_of
from tests.forked_tree import Workshop
from tests.large_table import filled

HEAD = "0002_add_task_due_on"

TOLD = """\
plan: 1 revision from 0002_add_task_due_on

0003_search  (migrations/versions/0003_search.py)
  sql        CREATE INDEX ix_task_title ON task (title)
               -- SHARE on task, builds the index ix_task_title on task
  hazard     index-blocks-writes: task, about 1,200 rows (large)
             Building the index ix_task_title blocks every write to task until it is finished.
  refused    write it so:

             in migrations/versions/0003_search.py:
             def upgrade() -> None:
                 op.create_index_concurrently("ix_task_title", "task", ["title"])


             def downgrade() -> None:
                 op.drop_index_concurrently("ix_task_title", table_name="task")
  previous   the release before this one keeps working
  back       its downgrade gives back the schema before it
"""


@pytest.fixture
def busy(workshop: Workshop) -> Workshop:
    """A database at head with 1,234 tasks, and a pending revision that builds an index on them."""
    filled(workshop)
    workshop.write(
        "0003_search",
        'op.create_index("ix_task_title", "task", ["title"])',
        'op.drop_index("ix_task_title", table_name="task")',
        after=HEAD,
    )
    return workshop


def planned(tree: Workshop, **variables: str) -> dict[str, Any]:
    """Return the JSON of a plan."""
    ended = tree.migrate("plan", "--json", **variables)
    assert ended.returncode == 0, ended.stderr
    found: dict[str, Any] = json.loads(ended.stdout)
    return found


def test_plan_tells_all(busy: Workshop, database: Dsn) -> None:
    """SQL, locks, hazards against the live sizes with what to write instead, the previous release, the way back."""
    ended = busy.migrate("plan", MIGRATE_LARGE_TABLE="1000")
    assert (ended.returncode, ended.stdout) == (0, TOLD)
    assert rows_of(database, "SELECT version_num FROM alembic_version") == [(HEAD,)]


def test_dry_run_shows_the_same(busy: Workshop, database: Dsn) -> None:
    """`upgrade --dry-run` is the plan."""
    ended = busy.migrate("upgrade", "--dry-run", MIGRATE_LARGE_TABLE="1000")
    assert (ended.returncode, ended.stdout) == (0, TOLD)
    assert rows_of(database, "SELECT version_num FROM alembic_version") == [(HEAD,)]


def test_json_is_the_same_record(busy: Workshop) -> None:
    """The JSON has every fact of the text under a name."""
    [step] = planned(busy, MIGRATE_LARGE_TABLE="1000")["pending"]
    [hazard] = step["hazards"]
    assert (step["revision"], step["source"], step["previous_release"]) == ("0003_search", "replay", "works")
    assert step["can_be_undone"] is True
    assert step["sql"] == ["CREATE INDEX ix_task_title ON task (title)"]
    assert step["footprint"][0]["does"] == ["SHARE on task", "builds the index ix_task_title on task"]
    assert (hazard["slug"], hazard["table"], hazard["rows"]) == ("index-blocks-writes", "task", 1234)
    assert (hazard["large"], hazard["refused"], hazard["accepted"]) == (True, True, None)


def test_small_table_is_told_and_not_refused(busy: Workshop) -> None:
    """Below MIGRATE_LARGE_TABLE the hazard is shown with its rows."""
    [step] = planned(busy)["pending"]
    assert (step["hazards"][0]["large"], step["hazards"][0]["refused"], step["instead"]) == (False, False, None)


def test_production_tries_nothing(busy: Workshop) -> None:
    """In production the plan is made from what was sealed and from `--sql`; no scratch database is made."""
    assert busy.migrate("seal").returncode == 0
    found = planned(busy, APP_ENV="production", MIGRATE_LARGE_TABLE="1000")
    [step] = found["pending"]
    assert found["note"] == "this is production: what is shown was sealed, nothing was tried"
    assert (step["source"], step["previous_release"]) == ("manifest", "works")
    assert step["sql"] == ["CREATE INDEX ix_task_title ON task (title)"]
    assert [one["slug"] for one in step["hazards"]] == ["index-blocks-writes"]


def test_unsealed_in_production_nobody_knows(busy: Workshop) -> None:
    """Where nothing was sealed and nothing may be tried, the plan says so and shows the SQL."""
    ended = busy.migrate("plan", APP_ENV="production")
    assert "nobody has looked at what this blocks:  python utils/migrate.py seal" in ended.stdout
    assert "nobody knows whether it keeps working" in ended.stdout
    assert "CREATE INDEX ix_task_title ON task (title)" in ended.stdout


def test_what_breaks_and_what_cannot_be_undone_is_told(at_head: Workshop) -> None:
    """The previous release's losses and the reason why there is no way back are named."""
    at_head.write("0003_drop", 'op.drop_column("task", "due_on")', "raise NotImplementedError('gone')", after=HEAD)
    [step] = planned(at_head)["pending"]
    assert (step["previous_release"], step["breaks"]) == ("breaks", ["column task.due_on is gone"])
    assert (step["can_be_undone"], step["back"]) == (False, "its downgrade fails: gone")


def test_accepted_hazard_is_told_with_its_reason(busy: Workshop) -> None:
    """What the file accepts is not refused, and the reason is shown."""
    path = busy.versions / "0003_search.py"
    reason = 'accepted_hazards = {"index-blocks-writes": "at night"}'
    path.write_text(path.read_text().replace("def upgrade", f"{reason}\n\n\ndef upgrade"))
    ended = busy.migrate("plan", MIGRATE_LARGE_TABLE="1000")
    assert "accepted: at night" in ended.stdout
    assert "refused" not in ended.stdout


def test_revision_that_does_not_run_from_empty(at_head: Workshop) -> None:
    """The plan says which revision could not be tried, and shows what it can."""
    at_head.write("0003_lost", 'op.execute("ALTER TABLE nowhere ADD x int")', after=HEAD)
    found = planned(at_head)
    assert found["note"] == '0003_lost does not run on an empty database: relation "nowhere" does not exist'
    assert found["pending"][0]["source"] == "nothing"
    assert found["pending"][0]["sql"] == ["ALTER TABLE nowhere ADD x int"]


def test_verb_is_told_by_what_it_does(at_head: Workshop) -> None:
    """Of a verb the statements that change something are shown, and not what it asks in between."""
    at_head.write("0003_verb", 'op.set_not_null("task", "due_on")', 'op.drop_not_null("task", "due_on")', after=HEAD)
    [step] = planned(at_head)["pending"]
    assert {sql.split()[0] for sql in step["sql"]} == {"ALTER"}
    assert any("outside the transaction" in one["does"] for one in step["footprint"])


def test_target_ends_the_plan(busy: Workshop) -> None:
    """A plan may end before head; at its end there is nothing to plan."""
    busy.write("0004_more")
    assert [step["revision"] for step in planned(busy)["pending"]] == ["0003_search", "0004_more"]
    ended = busy.migrate("plan", "0003")
    assert ended.stdout.startswith("plan: 1 revision from")
    assert busy.migrate("plan", HEAD).stdout.startswith("plan: nothing to do")


def test_backfill_is_told_by_its_update(at_head: Workshop) -> None:
    """Not by the statements with which it does its work, one batch after the other."""
    at_head.write("0003_fill", "op.backfill('task', \"title = '100 %: a'\", \"title = ''\")", after=HEAD)
    [step] = planned(at_head)["pending"]
    assert step["sql"] == ["UPDATE task SET title = '100 %: a' WHERE title = '', 5000 rows at a time"]


def test_backfill_of_partitions_is_told_once(at_head: Workshop) -> None:
    """However many there are, and whatever else the revision does."""
    parts = [f"CREATE TABLE event_{number} PARTITION OF event FOR VALUES IN ({number})" for number in range(3)]
    table = "CREATE TABLE event (kind int NOT NULL, note text) PARTITION BY LIST (kind)"
    at_head.write("0003_event", "\n".join(f"op.execute({line!r})" for line in (table, *parts)), after=HEAD)
    at_head.write("0004_fill", "op.backfill('event', \"note = ''\", 'note IS NULL')", after="0003_event")
    _, step = planned(at_head)["pending"]
    assert step["sql"] == ["UPDATE event SET note = '' WHERE note IS NULL, 5000 rows at a time"]


def test_plan_of_a_database_without_a_version_says_so(at_head: Workshop, database: Dsn) -> None:
    """All revisions are pending there, and an upgrade would run none of them."""
    rows_of(database, "DROP TABLE alembic_version, migration_ledger")
    found = planned(at_head)
    assert found["at"] == "without a version"
    assert found["note"].startswith("the database has tables but no version")
