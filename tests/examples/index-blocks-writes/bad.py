"""The board looks tasks up by title."""

from alembic import op

revision = "0002_bad"
down_revision = "0001_schema"


def upgrade() -> None:
    op.create_index("ix_task_title", "task", ["title"])


def downgrade() -> None:
    op.drop_index("ix_task_title", table_name="task")
