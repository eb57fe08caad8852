"""Behind PgBouncer in transaction mode every command answers as it does on a direct connection, and the doctor sees the pooler."""

from __future__ import annotations

import json
import threading
from contextlib import ExitStack, closing, suppress

import psycopg2
from psycopg2.extensions import connection as Connection

from railhead.dsn import Dsn
from railhead.postgres.activity import Monitor
from tests.chaos.pooler import NEEDED, Pooler
from tests.databases import Databases, rows_of
from tests.processes import eventually
from tests.project_tree import Tree


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


SHOWN = "SELECT current_setting('lock_timeout') AS l, current_setting('client_connection_check_interval') AS c"
LIMITS = f"""
op.create_index("ix_task_title", "task", ["title"])
op.execute("CREATE TABLE limits AS {SHOWN}")
"""
AGAIN = f'op.execute("INSERT INTO limits {SHOWN}")'


@NEEDED
def test_limits_hold_in_a_revision_and_reach_no_other_client(
    project: Tree, databases: Databases, head: str, pooler: Pooler
) -> None:
    """Behind PgBouncer a revision has its limits, and no server connection keeps them, not even of the look at table sizes."""
    direct = databases.new(head)
    project.write("0003_limits", LIMITS, "pass", after="0002_add_task_due_on")
    project.write("0004_again", AGAIN, "pass")
    project.database = direct
    assert project.migrate("seal").returncode == 0
    project.database = pooler.dsn(direct)
    ended = project.migrate()
    assert ended.returncode == 0, ended.stderr
    assert "unsealed" not in ended.stderr
    assert rows_of(direct, "SELECT l, c FROM limits") == [("100ms", "500ms")] * 2
    with ExitStack() as stack:
        for _ in range(5):  # which is as many as the pool has: each of these has a server connection to itself
            client = stack.enter_context(closing(psycopg2.connect(project.database)))
            cursor = client.cursor()
            cursor.execute(SHOWN)
            assert cursor.fetchone() == ("0", "0")


@NEEDED
def test_who_is_in_the_way_is_known_whichever_backend_the_pooler_chose(
    database: Dsn, other_session: Connection, pooler: Pooler
) -> None:
    """Outside a transaction each statement may run elsewhere: what has worked for longest under our name is looked at."""
    with other_session.cursor() as cursor:
        cursor.execute("CREATE TABLE thing (id int)")
    through = pooler.dsn(database).with_(application_name="migrating")
    with closing(psycopg2.connect(through)) as idle, closing(psycopg2.connect(through)) as migrating:
        idle.cursor().execute(
            "SELECT 1"
        )  # keeps the transaction, and with it the backend, that the next one does not get
        migrating.autocommit = True
        with Monitor(pooler.dsn(database), "migrating", pooled=True) as monitor:
            monitor.watch(migrating, idle.info.backend_pid, "upgrade")
            waiting = threading.Thread(target=_ignoring, args=(migrating, "CREATE TABLE IF NOT EXISTS thing (id int)"))
            waiting.start()
            eventually(lambda: [one.pid for one in monitor.blockers] == [other_session.info.backend_pid])
            other_session.commit()
            waiting.join()


def _ignoring(connection: Connection, statement: str) -> None:
    """Run it, whatever comes of it."""
    with suppress(psycopg2.Error), connection.cursor() as cursor:
        cursor.execute(statement)
