"""A start in production that judges what nobody has sealed, on a server of its own beside the application."""

from __future__ import annotations

import pytest

from railhead.dsn import Dsn
from tests.databases import rows_of
from tests.project_tree import Tree

HEAD = "0002_add_task_due_on"
INDEX = ('op.create_index("ix_task_title", "task", ["title"])', 'op.drop_index("ix_task_title")')
HARMLESS = ('op.create_table("note", sa.Column("id", sa.Integer, primary_key=True))', 'op.drop_table("note")')
MIXED = (
    'op.create_table("note", sa.Column("id", sa.Integer))\nop.create_index_concurrently("i", "task", ["title"])',
    'op.drop_index_concurrently("i")\nop.drop_table("note")',
)
PRODUCTION = {"APP_ENV": "production", "MIGRATE_LARGE_TABLE": "1000"}


@pytest.fixture
def busy(project: Tree, database: Dsn) -> Tree:
    """A database at head with 1,234 tasks."""
    assert project.migrate().returncode == 0
    rows_of(database, "INSERT INTO project (name) VALUES ('p')")
    rows_of(database, "INSERT INTO task (project_id, title) SELECT 1, 'task ' || n FROM generate_series(1, 1234) n")
    rows_of(database, "ANALYZE task")
    return project


def version(database: Dsn) -> object:
    """Return where the database is."""
    return rows_of(database, "SELECT version_num FROM alembic_version")[0][0]


@pytest.mark.parametrize(
    ("revision", "code", "slug"),
    [(INDEX, 3, "[hazard]"), (MIXED, 3, "[not-repeatable]"), (HARMLESS, 0, "judged at start")],
)
def test_it_is_judged_at_start_where_it_can_be(
    busy: Tree, database: Dsn, revision: tuple[str, str], code: int, slug: str
) -> None:
    """With the embedded server at hand a start in production knows what an unsealed revision does, and decides as if it were sealed."""
    busy.write("0003_new", *revision, after=HEAD)
    ended = busy.migrate(**PRODUCTION)
    assert (ended.returncode, slug in ended.stderr) == (code, True), ended.stderr
    assert version(database) == ("0003_new" if code == 0 else HEAD)
    assert "embedded PostgreSQL in" in ended.stderr  # and not on the server in production


def test_an_edited_revision_counts_as_unsealed(busy: Tree, database: Dsn) -> None:
    """What was sealed of a file that means something else now is not believed in production."""
    path = busy.write("0003_new", *HARMLESS, after=HEAD)
    assert busy.migrate("seal").returncode == 0
    path.write_text(path.read_text().replace(HARMLESS[0], INDEX[0]))
    ended = busy.migrate(**PRODUCTION)
    assert (ended.returncode, version(database)) == (3, HEAD)
    assert "index-blocks-writes: task" in ended.stderr
