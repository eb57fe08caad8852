"""The assignee of a task is a member; an earlier release has added the column."""

from alembic import op

revision = "0002_good"
down_revision = "0001_schema"
accepted_hazards = {"may-reject-writes": "the release before this one writes ids of members only"}


def upgrade() -> None:
    op.create_foreign_key_not_valid("fk_task_assignee_id_member", "task", "member", ["assignee_id"], ["id"])
    op.validate_constraint("fk_task_assignee_id_member", "task")


def downgrade() -> None:
    op.drop_constraint_if_exists("fk_task_assignee_id_member", "task")
