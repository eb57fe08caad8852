"""Behind PgBouncer in transaction mode every command answers as it does on a direct connection, and the doctor sees the pooler."""

from __future__ import annotations

import json

from tests.chaos.pooler import NEEDED, Pooler
from tests.ground import Tree
from utils.settings import Dsn


@NEEDED
def test_every_command_answers_behind_pgbouncer(project: Tree, database: Dsn, pooler: Pooler) -> None:
    """Upgrade, status, drift, log and downgrade end with 0; the doctor names the pooler and the way around it, and nothing else."""
    project.database = pooler.dsn(database)
    for command in (
        ("upgrade",),
        ("status",),
        ("drift",),
        ("log",),
        ("plan",),
        ("downgrade", "-1", "--yes"),
        ("upgrade",),
    ):
        ended = project.migrate(*command)
        assert ended.returncode == 0, ended.stderr
    told = json.loads(project.migrate("doctor", "--json").stdout)
    assert [(one["slug"], one["next"]) for one in told] == [
        ("pooler", "set MIGRATE_DATABASE_URL to a direct connection; Railway has it in DATABASE_UNPOOLED_URL")
    ]
