"""A task can have a due date, and the board sorts by it."""

import sqlalchemy as sa
from alembic import op

revision = "0002_bad"
down_revision = "0001_schema"


def upgrade() -> None:
    op.add_column("task", sa.Column("due_on", sa.Date(), nullable=True))
    op.create_index_concurrently("ix_task_due_on", "task", ["due_on"])


def downgrade() -> None:
    op.drop_column("task", "due_on")
