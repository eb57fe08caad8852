"""Every task has a title."""

from alembic import op

revision = "0002_bad"
down_revision = "0001_schema"
breaking = False  # the release before this one writes a title everywhere


def upgrade() -> None:
    op.alter_column("task", "title", nullable=False)


def downgrade() -> None:
    op.alter_column("task", "title", nullable=True)
