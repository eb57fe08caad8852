"""What autogenerate writes, judged as `seal` judges it: by its footprint, on a server that says what it does."""

from __future__ import annotations

import re

import pytest

from railhead.dsn import Dsn
from railhead.hazards import rules
from tests.desk import Desk
from tests.engine.autogenerate.test_autogenerate import CASES, create, desk, edited, engine, metadata, partitions
from tests.footprints import footprints_of

assert desk, engine  # the fixtures

BEFORE = """\
from alembic import op

revision = "0000_before"
down_revision = None


def upgrade():
    for statement in {statements!r}:
        op.get_bind().exec_driver_sql(statement)


def downgrade():
    pass
"""


@pytest.mark.parametrize("name", CASES)
def test_footprint_of_a_change_blocks_nobody(desk: Desk, server: Dsn, name: str) -> None:
    """No blocking hazard on a table that was there before, but where the case says why there must be one."""
    case = CASES[name]
    before = metadata(case.before, named=case.named)
    create(desk, before)
    made = [one.removeprefix("> ").strip() for one in desk.said if re.match(r"> \s*(CREATE|ALTER|COMMENT)", one)]
    made += partitions(before)
    files = desk.revision(metadata(case.after, named=case.named), name)
    if case.edit:
        edited(desk, files, *case.edit)
    (desk.versions / "0000_before.py").write_text(BEFORE.format(statements=made))
    first = desk.versions / f"{files[0]}.py"
    first.write_text(re.sub(r"(?m)^(down_revision.*= )None", r'\1"0000_before"', first.read_text()))

    history, footprints = footprints_of(server, desk.versions, files)

    found = [
        f"{footprint.revision}: {finding}"
        for footprint in footprints
        for finding in rules.findings(footprint, history.by_id[footprint.revision])
        if finding.hazard.blocking
    ]
    assert len(footprints) == len(files)
    assert bool(found) == bool(case.unavoidable), found
