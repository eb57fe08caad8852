"""Prices become larger than an integer holds."""

import sqlalchemy as sa
from alembic import op

revision = "0002_bad"
down_revision = "0001_schema"


def upgrade() -> None:
    op.alter_column("task", "price", type_=sa.BigInteger())


def downgrade() -> None:
    op.alter_column("task", "price", type_=sa.Integer())
