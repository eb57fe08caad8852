"""Post-deploy work beside gunicorn: behind the open port, once, whoever is killed meanwhile."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import psycopg2
import pytest

from railhead.dsn import Dsn
from tests.chaos.web.test_gunicorn import SERVE, answer, configuration
from tests.databases import rows_of
from tests.processes import Running, eventually
from tests.project_tree import Tree

PRODUCTION = {"APP_ENV": "production", "WEB_CONCURRENCY": "2", "MIGRATE_CONTRACT_AFTER": "0s"}
HEAD = "0002_add_task_due_on"
INDEX = "op.create_index_concurrently('ix_late', 'task', ['title'])"


@pytest.fixture
def late(project: Tree, database: Dsn) -> Tree:
    """A project whose database is at head, to which a release adds an index behind the open port."""
    assert project.migrate().returncode == 0
    project.write(
        "0003_late", INDEX, "op.drop_index_concurrently('ix_late', 'task')", after=HEAD, extra='phase = "post-deploy"\n'
    )
    assert project.migrate("seal").returncode == 0
    assert rows_of(database, "SELECT version_num FROM alembic_version") == [(HEAD,)]
    return project


@pytest.fixture
def old_snapshot(database: Dsn) -> Iterator[Callable[[], None]]:
    """A transaction for which every concurrent index waits, as a dump would be; the call ends it."""
    with closing(psycopg2.connect(database)) as connection:
        with connection.cursor() as cursor:
            cursor.execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM task")
        yield connection.rollback


def ports(count: int) -> list[int]:
    """Return ports that were free a moment ago."""
    taken = [socket.socket() for _ in range(count)]
    for one in taken:
        one.bind(("127.0.0.1", 0))
    found = [int(one.getsockname()[1]) for one in taken]
    for one in taken:
        one.close()
    return found


def start(project: Tree, port: int, *, preload: bool = True, **variables: str) -> Running:
    """Start a release in production."""
    return project.start(
        *SERVE, *configuration(project, preload=preload), PORT=str(port), **{**PRODUCTION, **variables}
    )


def ready(running: Running, port: int) -> bool:
    """Tell whether it can be served from; fails when the process has ended."""
    assert running.process.poll() is None, running.stdout + running.stderr
    return answer(port, "/readyz") == 200


def is_building(database: Dsn) -> bool:
    """Tell whether somebody builds the index now, or clears away what an attempt before has left of it."""
    sql = """SELECT count(*) FROM pg_stat_activity
        WHERE datname = current_database() AND state = 'active' AND query ~ '^(CREATE|DROP) INDEX CONCURRENTLY'"""
    return rows_of(database, sql) != [(0,)]


def indexes(database: Dsn) -> list[tuple[object, ...]]:
    """Return the indexes of that name and kin, each with whether it is valid."""
    return rows_of(
        database,
        "SELECT relname, indisvalid FROM pg_index JOIN pg_class ON oid = indexrelid WHERE relname LIKE 'ix_late%'",
    )


def beside(running: Running) -> list[int]:
    """Return the processes that finish something beside one master."""
    return [
        int(place.parent.name)
        for place in Path("/proc").glob("[0-9]*/cmdline")
        if _command(place).endswith(f" finish --beside {running.pid} ")
    ]


@pytest.mark.parametrize("preload", [True, False], ids=["preload", "without preload"])
def test_an_index_that_takes_longer_than_any_health_check(
    late: Tree, database: Dsn, old_snapshot: Callable[[], None], preload: bool
) -> None:
    """The application is ready while the index is built; then it is there, valid, built once, and the process beside gunicorn is gone."""
    (port,) = ports(1)
    running = start(late, port, preload=preload)
    eventually(lambda: ready(running, port), within=60, what="/readyz is 200 while the index waits")
    eventually(lambda: is_building(database), within=60, what="somebody builds the index")
    assert rows_of(database, "SELECT version_num FROM alembic_version") == [(HEAD,)]
    old_snapshot()
    eventually(lambda: not beside(running), within=60, what="the process beside gunicorn ends")
    assert indexes(database) == [("ix_late", True)]
    assert rows_of(
        database, "SELECT count(*) FROM migration_ledger WHERE revision = '0003_late' AND outcome = 'applied'"
    ) == [(1,)]
    assert ready(running, port)
    assert running.stdout.count("post-deploy work begins, behind the open port") == 1
    assert running.stdout.count("no post-deploy work is left") == 1
    running.send(signal.SIGTERM)
    assert running.wait() == 0
    assert "Traceback" not in running.stdout + running.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["SIGTERM", "SIGKILL"])
def test_it_ends_with_its_master_and_the_next_start_finishes(
    late: Tree, database: Dsn, old_snapshot: Callable[[], None], number: int
) -> None:
    """However the master ends, nobody goes on building; the next release's start leaves nothing INVALID and nothing twice."""
    first, second = ports(2)
    running = start(late, first)
    eventually(lambda: is_building(database), within=60, what="somebody builds the index")
    running.send(number)
    running.wait()
    eventually(lambda: not beside(running), within=20, what="the process beside it ends, too")
    eventually(lambda: not is_building(database), within=20, what="nobody builds the index any more")
    again = start(late, second)
    eventually(lambda: is_building(database), within=60, what="the next start builds it")
    old_snapshot()
    eventually(lambda: not beside(again), within=60, what="it is finished")
    assert indexes(database) == [("ix_late", True)]


def test_four_replicas_finish_once(late: Tree, database: Dsn) -> None:
    """Started together with pre- and post-deploy work, each revision is applied once."""
    late.write("0004_note", 'op.add_column("task", sa.Column("note", sa.Text()))', after="0003_late")
    late.write(
        "0005_later",
        "op.create_index_concurrently('ix_late_too', 'task', ['note'])",
        after="0004_note",
        extra='phase = "post-deploy"\n',
    )
    assert late.migrate("seal").returncode == 0
    replicas = [(start(late, port, preload=number % 2 == 0), port) for number, port in enumerate(ports(4))]
    for running, port in replicas:
        eventually(lambda running=running, port=port: ready(running, port), within=120, what="each replica is ready")  # type: ignore[misc]
    eventually(lambda: not any(beside(running) for running, _ in replicas), within=120, what="all finishers end")
    applied = (
        "SELECT revision, count(*) FROM migration_ledger WHERE outcome = 'applied' AND id > 2 GROUP BY 1 ORDER BY 1"
    )
    assert rows_of(database, applied) == [("0003_late", 1), ("0004_note", 1), ("0005_later", 1)]
    assert indexes(database) == [("ix_late", True), ("ix_late_too", True)]


def test_a_finisher_that_is_killed_leaves_its_work_to_another(
    late: Tree, database: Dsn, old_snapshot: Callable[[], None]
) -> None:
    """Of two replicas' processes one is killed while it builds: the other one finishes, and gunicorn serves on without a zombie."""
    pair = [(start(late, port), port) for port in ports(2)]
    for running, port in pair:
        eventually(lambda running=running, port=port: ready(running, port), within=60, what="each replica is ready")  # type: ignore[misc]
    eventually(lambda: is_building(database), within=60, what="one of them builds the index")
    for finisher in beside(pair[0][0]):
        os.kill(finisher, signal.SIGKILL)
    eventually(lambda: not beside(pair[0][0]), within=20, what="the killed one is gone, and no zombie")
    old_snapshot()
    eventually(lambda: not beside(pair[1][0]), within=60, what="the other one finishes")
    assert indexes(database) == [("ix_late", True)]
    assert all(ready(running, port) for running, port in pair)


def _command(place: Path) -> str:
    try:
        return place.read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""
