"""Every task has a title."""

from alembic import op

revision = "0002_good"
down_revision = "0001_schema"
breaking = False  # the release before this one writes a title everywhere


def upgrade() -> None:
    op.set_not_null("task", "title")


def downgrade() -> None:
    op.drop_not_null("task", "title")
