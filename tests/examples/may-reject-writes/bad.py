"""A price is not below zero."""

from alembic import op

revision = "0002_bad"
down_revision = "0001_schema"


def upgrade() -> None:
    op.create_check_constraint_not_valid("ck_task_price", "task", "price >= 0")
    op.validate_constraint("ck_task_price", "task")


def downgrade() -> None:
    op.drop_constraint_if_exists("ck_task_price", "task")
