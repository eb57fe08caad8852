"""A task knows who reviews it."""

import sqlalchemy as sa
from alembic import op

revision = "0002_bad"
down_revision = "0001_schema"


def upgrade() -> None:
    op.add_column("task", sa.Column("reviewer_id", sa.BigInteger(), nullable=True))
    op.create_foreign_key("fk_task_reviewer_id_member", "task", "member", ["reviewer_id"], ["id"])


def downgrade() -> None:
    op.drop_constraint("fk_task_reviewer_id_member", "task", type_="foreignkey")
    op.drop_column("task", "reviewer_id")
