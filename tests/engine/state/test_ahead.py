"""A release that was rolled back, on a database that a newer one has migrated: it serves when all that its models need is there.

The newer revisions are written, applied, and taken out of the tree again: what is left is the older release.
"""

from __future__ import annotations

import json
import sys
from typing import NamedTuple

import psycopg2
import pytest

from tests.databases import rows_of
from tests.forked_tree import Workshop
from tests.processes import eventually
from tests.project_tree import MIGRATE, Tree

SERVE = (sys.executable, "-c", "from app import create_app; create_app(); print('serving')")
HEAD = "0002_add_task_due_on"

ADD_NOTE = 'op.add_column("task", sa.Column("note", sa.Text()))'
DROP_DESCRIPTION = 'op.drop_column("task", "description")'
FEWER_VALUES = r"""
    ALTER TABLE task ALTER status DROP DEFAULT; ALTER TYPE task_status RENAME TO old_status;
    CREATE TYPE task_status AS ENUM ('todo', 'done');
    ALTER TABLE task ALTER status TYPE task_status USING status::text::task_status;
    ALTER TABLE task ALTER status SET DEFAULT 'todo'; DROP TYPE old_status
"""
NEW_TABLE = 'op.create_table("tag", sa.Column("id", sa.BigInteger(), primary_key=True))'


def rolled_back(tree: Tree, *upgrades: str, release: str = "", after: str = HEAD) -> list[str]:
    """Apply these as revisions of a newer release, then take their files away. Returns their ids."""
    files = []
    for number, upgrade in enumerate(upgrades, 3):
        files.append(tree.write(f"{number:04d}_newer", upgrade, after=after))
        after = files[-1].stem
    ended = tree.migrate(APP_RELEASE=release)
    assert ended.returncode == 0, ended.stderr
    for file in files:
        file.unlink()
    return [file.stem for file in files]


class Newer(NamedTuple):
    """What the newer release did, and what the older one misses; nothing when it can serve."""

    upgrades: tuple[str, ...]
    missing: tuple[str, ...] = ()


NEWER = {
    "only adds a column": Newer((ADD_NOTE,)),
    "adds a table, an index and a value": Newer(
        (NEW_TABLE, 'op.create_index("ix_task_title", "task", ["title"])', "op.execute(\"ALTER TYPE task_status ADD VALUE 'late'\")")
    ),
    "adds a column with a default": Newer(
        ('op.add_column("task", sa.Column("rank", sa.Integer(), nullable=False, server_default="0"))',)
    ),
    "widens types": Newer(('op.alter_column("project", "name", type_=sa.Text())',)),
    "loosens NOT NULL": Newer(('op.alter_column("task", "title", nullable=True)',)),
    "drops what models.py does not name": Newer(
        ('op.add_column("task", sa.Column("old", sa.Text()))', 'op.drop_column("task", "old")', 'op.drop_index("ix_task_status", "task")')
    ),
    "drops a column": Newer((DROP_DESCRIPTION,), ("column task.description is gone",)),
    "drops a table": Newer(('op.drop_table("sign_in_attempt")',), ("table sign_in_attempt is gone",)),
    "renames a column": Newer(
        ('op.alter_column("task", "due_on", new_column_name="due")',), ("column task.due_on is gone",)
    ),
    "breaks in the middle of two": Newer((DROP_DESCRIPTION, ADD_NOTE), ("column task.description is gone",)),
    "breaks in the middle of three": Newer((ADD_NOTE, DROP_DESCRIPTION, NEW_TABLE), ("column task.description is gone",)),
    "narrows a type": Newer(
        ('op.alter_column("task", "title", type_=sa.String(20))',), ("column task.title is VARCHAR(20) now, not VARCHAR(200)",)
    ),
    "changes a type": Newer(
        ('op.alter_column("task", "due_on", type_=sa.Text())',), ("column task.due_on is TEXT now, not DATE",)
    ),
    "takes a value away": Newer((f"op.execute('''{FEWER_VALUES}''')",), ("value 'doing' of the enum task_status is gone",)),
    "wants a value for a new column": Newer(
        ('op.add_column("task", sa.Column("rank", sa.Integer(), nullable=False))',),
        ("column task.rank is new and must be given a value",),
    ),
    "wants a value where none was needed": Newer(
        ('op.alter_column("task", "due_on", nullable=False)',), ("column task.due_on must be given a value now",)
    ),
    "takes a default away": Newer(
        ('op.alter_column("task", "created_at", server_default=None)',), ("column task.created_at has lost its default",)
    ),
}  # fmt: skip


@pytest.mark.parametrize("newer", NEWER.values(), ids=NEWER.keys())
def test_an_older_release_serves_unless_something_that_it_needs_is_gone(workshop: Workshop, newer: Newer) -> None:
    """It serves on what was only added or loosened; else it ends with 3, and names what is gone and the release to deploy."""
    ids = rolled_back(workshop, *newer.upgrades, release="v3")
    started = workshop.run(*SERVE)
    if not newer.missing:
        assert started.returncode == 0, started.stdout
        assert f"ahead of this release by {', '.join(ids)}" in started.stdout
        return
    assert started.returncode == 3
    assert "serving" not in started.stdout
    newest = "\n             ".join(ids)
    missing = "\n             ".join(newer.missing)
    assert started.stdout.split("start stopped: ")[1].rstrip() == (
        "this release is older than the database, and what it needs is gone\n\n"
        f"  newer      {newest}\n"
        f"  missing    {missing}\n"
        f"  database   unchanged, at {ids[-1]}\n\n"
        "  next       deploy release v3 or a newer one; that is the release whose migrations made this schema  [ahead]"
    )


def test_status_tells_the_chain_and_what_is_missing(workshop: Workshop) -> None:
    """`status` names the state, the revisions on top of ours, oldest first, and what the models miss."""
    ids = rolled_back(workshop, ADD_NOTE, DROP_DESCRIPTION)
    seen = json.loads(workshop.migrate("status", "--json").stdout)
    assert (seen["state"], seen["unknown"], seen["current"]) == ("ahead", ids, ids[-1:])
    assert "missing    column task.description is gone" in workshop.migrate("status").stdout


def test_without_the_name_of_a_release_the_revision_is_what_to_deploy(workshop: Workshop) -> None:
    """When nobody said APP_RELEASE, the refusal says which revision the release to deploy must have."""
    rolled_back(workshop, DROP_DESCRIPTION)
    assert "deploy a release that has 0003_newer" in workshop.run(*SERVE).stdout


@pytest.mark.parametrize("upgrade", [ADD_NOTE, DROP_DESCRIPTION], ids=["serves", "refuses"])
def test_a_start_that_only_checks_decides_the_same(workshop: Workshop, upgrade: str) -> None:
    """MIGRATE_ON_START=check serves on a newer database that has everything, and refuses one that has not."""
    rolled_back(workshop, upgrade, release="v3")
    started = workshop.run(*SERVE, MIGRATE_ON_START="check")
    assert started.returncode == (0 if upgrade == ADD_NOTE else 3)
    assert ("column task.description is gone" in started.stdout) == (upgrade == DROP_DESCRIPTION)


@pytest.mark.parametrize("upgrade", [ADD_NOTE, DROP_DESCRIPTION], ids=["serves", "refuses"])
def test_a_waiter_of_an_older_release_decides_the_same(workshop: Workshop, upgrade: str) -> None:
    """While a newer release migrates, an older one waits for the lock; when the lock is free it serves or refuses."""
    assert workshop.database
    rows_of(
        workshop.database, "CREATE SCHEMA beside CREATE TABLE gate (id int)"
    )  # the empty rest gets one transaction for all
    file = workshop.write("0003_newer", f'op.execute("LOCK TABLE beside.gate")\n{upgrade}', after=HEAD)
    keeper = psycopg2.connect(workshop.database)
    keeper.cursor().execute("LOCK TABLE beside.gate")
    newer = workshop.start(*MIGRATE)
    eventually(lambda: _waits_for_gate(workshop), within=30)
    file.unlink()
    older = workshop.start(*SERVE)
    eventually(lambda: "waiting for the migration lock" in older.stdout, within=30)
    keeper.close()
    assert newer.wait() == 0
    assert older.wait() == (0 if upgrade == ADD_NOTE else 3)
    assert ("column task.description is gone" in older.stdout) == (upgrade == DROP_DESCRIPTION)


@pytest.mark.parametrize("command", [("downgrade", "0001", "--yes"), ("wait",)], ids=lambda command: command[0])
def test_nothing_else_is_done_to_a_newer_database(workshop: Workshop, command: tuple[str, ...]) -> None:
    """An older release neither takes back nor waits for what it does not know: it says why and leaves the database alone."""
    assert workshop.database
    rolled_back(workshop, DROP_DESCRIPTION, release="v3")
    ended = workshop.migrate(*command)
    assert ended.returncode == 3
    assert "Traceback" not in ended.stderr
    if command == ("wait",):
        assert "  missing    column task.description is gone\n" in ended.stderr
        assert ended.stderr.endswith(
            "deploy release v3 or a newer one; that is the release whose migrations made this schema  [ahead]\n"
        )
    assert rows_of(workshop.database, "SELECT version_num FROM alembic_version") == [("0003_newer",)]


def test_what_a_newer_release_has_adopted_is_on_top_of_ours(workshop: Workshop) -> None:
    """A database that a newer release took over, rather than made, is ahead of the older one, and served."""
    assert workshop.database
    newer = workshop.write("0003_newer", ADD_NOTE, 'op.drop_column("task", "note")', after=HEAD)
    assert workshop.migrate().returncode == 0
    rows_of(workshop.database, "DROP TABLE alembic_version, migration_ledger")
    assert workshop.migrate("adopt").stdout == "adopt: the database is at 0003_newer\n"
    newer.unlink()
    started = workshop.run(*SERVE)
    assert (started.returncode, "ahead of this release by 0003_newer" in started.stdout) == (0, True)


def test_a_gap_in_the_ledger_is_not_guessed_over(workshop: Workshop) -> None:
    """When the ledger does not lead from the database's revision back to ours, the state is unknown and the start refuses."""
    assert workshop.database
    rolled_back(workshop, ADD_NOTE, NEW_TABLE)
    rows_of(workshop.database, "DELETE FROM migration_ledger WHERE revision = '0003_newer'")
    started = workshop.run(*SERVE)
    assert started.returncode == 3
    assert "[unknown-version]" in started.stdout


def test_a_branch_beside_our_head_is_not_on_top_of_it(workshop: Workshop) -> None:
    """A database that took another way from below our head lacks ours: unknown, and refused."""
    assert workshop.database
    head = workshop.versions / f"{HEAD}.py"
    text = head.read_text()
    head.unlink()
    rolled_back(workshop, ADD_NOTE, after="0001_baseline")
    head.write_text(text)
    started = workshop.run(*SERVE)
    assert started.returncode == 3
    assert "[unknown-version]" in started.stdout


def _waits_for_gate(tree: Tree) -> bool:
    assert tree.database
    return bool(
        rows_of(
            tree.database,
            "SELECT 1 FROM pg_locks WHERE relation = 'beside.gate'::regclass AND NOT granted"
            " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
        )
    )
