"""A task can have a due date.

Why: the board shows what is late and what comes next.
Tables: adds the column due_on to task. Nullable and without a default, so PostgreSQL only notes it in its catalog: no
row is read or written, and the previous release, which does not name the column, keeps working.
Back: drops the column, and with it the dates.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002_add_task_due_on"
down_revision = "0001_baseline"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("task", sa.Column("due_on", sa.Date(), nullable=True))


def downgrade() -> None:
    op.drop_column("task", "due_on")
