<%
    upgrade, downgrade = body(upgrades or ""), body(downgrades or "")  # `alembic merge` gives none, and no imports
    modules = needed(upgrade + downgrade, imports or "")
%>\
"""${headline(message or "Merge two branches")}

Why: (what needs this change?)
Tables: ${tables.get(up_revision, "(which ones, and how large are they in production?)")}
Back: (what does downgrade lose?)
"""
% if modules:

${modules}
% endif

# The same as this file's name without .py: rename both or neither (at most 32 characters).
revision = "${up_revision}"
down_revision = ${value(repr(down_revision))}
branch_labels = ${value(repr(branch_labels))}
depends_on = ${value(repr(depends_on))}

# What no release waits for (an index, a validation, a backfill, what is dropped) may run once the application serves:
# phase = "post-deploy"

# To accept what `python utils/migrate.py plan` calls a hazard, give the reason:
# accepted_hazards = {"rewrites-table": "the table has a few hundred rows"}


def upgrade() -> None:
% if not upgrade:
    # `from alembic import op`, then: op.add_column(...), op.create_index_concurrently(...), op.backfill(...), op.execute(...)
% endif
    ${upgrade or "pass"}


def downgrade() -> None:
    ${downgrade or "pass"}
