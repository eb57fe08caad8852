"""Tasks have labels."""

import sqlalchemy as sa
from alembic import op

revision = "0002_good"
down_revision = "0001_schema"


def upgrade() -> None:
    op.create_table(
        "label",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("colour", sa.Enum("red", "green", name="colour"), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_label"),
    )


def downgrade() -> None:
    op.drop_table("label")
    op.execute("DROP TYPE colour")
