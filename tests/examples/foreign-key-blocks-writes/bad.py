"""The assignee of a task is a member."""

from alembic import op

revision = "0002_bad"
down_revision = "0001_schema"
accepted_hazards = {"may-reject-writes": "the release before this one writes ids of members only"}


def upgrade() -> None:
    op.create_foreign_key("fk_task_assignee_id_member", "task", "member", ["assignee_id"], ["id"])


def downgrade() -> None:
    op.drop_constraint("fk_task_assignee_id_member", "task", type_="foreignkey")
