"""Tasks without a price cost nothing."""

from alembic import op

revision = "0002_good"
down_revision = "0001_schema"


def upgrade() -> None:
    op.backfill("task", "price = 0", "price IS NULL")


def downgrade() -> None:
    pass
