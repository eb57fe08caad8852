"""Tasks and members can be archived."""

import sqlalchemy as sa
from alembic import op

revision = "0002_bad"
down_revision = "0001_schema"


def upgrade() -> None:
    op.add_column("task", sa.Column("archived_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("member", sa.Column("archived_at", sa.DateTime(timezone=True), nullable=True))


def downgrade() -> None:
    op.drop_column("member", "archived_at")
    op.drop_column("task", "archived_at")
