"""Prices become larger than an integer holds: the first step of three, a column beside the old one."""

import sqlalchemy as sa
from alembic import op

revision = "0002_good"
down_revision = "0001_schema"


def upgrade() -> None:
    op.add_column("task", sa.Column("price_in_cents", sa.BigInteger(), nullable=True))


def downgrade() -> None:
    op.drop_column("task", "price_in_cents")
