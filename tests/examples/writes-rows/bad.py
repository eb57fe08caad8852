"""Tasks without a price cost nothing."""

from alembic import op

revision = "0002_bad"
down_revision = "0001_schema"


def upgrade() -> None:
    op.execute("UPDATE task SET price = 0 WHERE price IS NULL")


def downgrade() -> None:
    pass
