"""Tasks can be archived; members follow in the next revision."""

import sqlalchemy as sa
from alembic import op

revision = "0002_good"
down_revision = "0001_schema"


def upgrade() -> None:
    op.add_column("task", sa.Column("archived_at", sa.DateTime(timezone=True), nullable=True))


def downgrade() -> None:
    op.drop_column("task", "archived_at")
