"""A project at head whose table of tasks counts as large, and revisions that mind that."""

from __future__ import annotations

from railhead.dsn import Dsn
from tests.databases import rows_of
from tests.project_tree import Tree

HEAD = "0002_add_task_due_on"
INDEX = ('op.create_index("ix_task_title", "task", ["title"])', 'op.drop_index("ix_task_title", table_name="task")')
HARMLESS = ('op.create_table("note", sa.Column("id", sa.Integer, primary_key=True))', 'op.drop_table("note")')
PRODUCTION = {"APP_ENV": "production", "MIGRATE_LARGE_TABLE": "1000"}


def filled(tree: Tree) -> None:
    """Bring the database of the tree to head, and write 1,234 tasks."""
    assert tree.migrate().returncode == 0
    assert tree.database
    fill(tree.database)


def fill(database: Dsn) -> None:
    """Write 1,234 tasks, and let PostgreSQL count them."""
    rows_of(database, "INSERT INTO project (name) VALUES ('p')")
    rows_of(database, "INSERT INTO task (project_id, title) SELECT 1, 'task ' || n FROM generate_series(1, 1234) n")
    rows_of(database, "ANALYZE task")
