"""Behind PgBouncer in transaction mode every command answers as it does on a direct connection, and the doctor sees the pooler."""

from __future__ import annotations

import json
from contextlib import ExitStack, closing

import psycopg2

from tests.chaos.pooler import NEEDED, Pooler
from tests.ground import Databases, Tree, rows_of
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


LIMITS = """
op.create_index("ix_task_title", "task", ["title"])
op.execute("CREATE TABLE limits AS SELECT current_setting('lock_timeout') AS l, current_setting('client_connection_check_interval') AS c")
"""


@NEEDED
def test_limits_hold_in_a_revision_and_reach_no_other_client(
    project: Tree, databases: Databases, head: str, pooler: Pooler
) -> None:
    """Behind PgBouncer a revision has its limits, and no server connection keeps them, not even of the look at table sizes."""
    direct = databases.new(head)
    project.write("0003_limits", LIMITS, "pass", after="0002_add_task_due_on")
    project.database = direct
    assert project.migrate("seal").returncode == 0
    project.database = pooler.dsn(direct)
    ended = project.migrate()
    assert ended.returncode == 0, ended.stderr
    assert "unsealed" not in ended.stderr
    assert rows_of(direct, "SELECT l, c FROM limits") == [("100ms", "500ms")]
    with ExitStack() as stack:
        for _ in range(5):  # which is as many as the pool has: each of these has a server connection to itself
            client = stack.enter_context(closing(psycopg2.connect(project.database)))
            cursor = client.cursor()
            cursor.execute(
                "SELECT current_setting('lock_timeout'), current_setting('client_connection_check_interval')"
            )
            assert cursor.fetchone() == ("0", "0")
