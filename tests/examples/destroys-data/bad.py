"""Nobody writes notes any more."""

import sqlalchemy as sa
from alembic import op

revision = "0002_bad"
down_revision = "0001_schema"
breaking = False  # since release 41 nothing reads or writes notes


def upgrade() -> None:
    op.drop_column("task", "note")


def downgrade() -> None:
    op.add_column("task", sa.Column("note", sa.Text(), nullable=True))
