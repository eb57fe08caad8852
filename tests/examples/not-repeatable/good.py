"""The board sorts by price and then by title; the columns have been there for long."""

from alembic import op

revision = "0002_good"
down_revision = "0001_schema"


def upgrade() -> None:
    op.create_index_concurrently("ix_task_price", "task", ["price"])
    op.create_index_concurrently("ix_task_title", "task", ["title"])


def downgrade() -> None:
    op.drop_index_concurrently("ix_task_title", table_name="task")
    op.drop_index_concurrently("ix_task_price", table_name="task")
