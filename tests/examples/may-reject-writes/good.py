"""A task has an estimate, which is above zero: the rule comes with its column."""

import sqlalchemy as sa
from alembic import op

revision = "0002_good"
down_revision = "0001_schema"


def upgrade() -> None:
    op.add_column("task", sa.Column("estimate", sa.Integer(), nullable=True))
    op.create_check_constraint("ck_task_estimate", "task", "estimate > 0", postgresql_not_valid=True)


def downgrade() -> None:
    op.drop_column("task", "estimate")
