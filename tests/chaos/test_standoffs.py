"""A revision waits for itself, or its process is stopped: whoever uses the table gets it back in the time that was promised."""

from __future__ import annotations

import re
import signal
import time

import pytest

from railhead.dsn import Dsn
from tests.chaos import server_state
from tests.chaos.pooler import Pooler
from tests.databases import rows_of
from tests.processes import Running, eventually
from tests.project_tree import MIGRATE, Tree

ENDED_WITHIN = 8.0
"""Seconds for which a process that waits for itself may keep a table: one to be seen idle, three to be sure, the rest for a busy machine."""

SLACK = 4.0
"""Seconds that it takes PostgreSQL and a busy machine to end what has stood still for its time."""

CHANGE = "op.execute('ALTER TABLE thing ADD COLUMN a int')\n"
COUNT = "SELECT count(*) FROM thing"

SERVER = """
import http.server, os, threading, urllib.request
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        connection = psycopg2.connect(os.environ['DATABASE_URL'])
        connection.cursor().execute('{}')
        self.send_response(204); self.end_headers()
server = http.server.HTTPServer(('127.0.0.1', 0), Answer)
threading.Thread(target=server.serve_forever, daemon=True).start()
urllib.request.urlopen(f'http://127.0.0.1:{{server.server_port}}/')
""".strip().format(COUNT)

STANDOFFS = {
    "psycopg2": f"psycopg2.connect(os.environ['DATABASE_URL']).cursor().execute('{COUNT}')",
    "an engine": f"sa.create_engine('postgresql+psycopg2://', creator=lambda: psycopg2.connect(os.environ['DATABASE_URL'])).connect().execute(sa.text('{COUNT}'))",
    "the engine of the migration": f"op.get_bind().engine.connect().execution_options(isolation_level='AUTOCOMMIT').exec_driver_sql(\"SET lock_timeout = 0; {COUNT}\")",
    "a thread": "import threading\nthread = threading.Thread(target=lambda: psycopg2.connect(os.environ['DATABASE_URL']).cursor().execute"
    f"('{COUNT}'))\nthread.start()\nthread.join()",
    "a program": "import subprocess, sys\n"
    f"subprocess.run([sys.executable, '-c', \"import os, psycopg2; psycopg2.connect(os.environ['DATABASE_URL']).cursor().execute('{COUNT}')\"])",
    "a shell with a program": "import sys\nos.system(f'\"{sys.executable}\" visit.py; true')",
    "a request to itself": SERVER,
    "a swallowed error": "try:\n"
    f"    psycopg2.connect(os.environ['DATABASE_URL']).cursor().execute('{COUNT}')\nexcept Exception:\n    pass",
}


@pytest.fixture
def begun(tree: Tree) -> Tree:
    """A project at its first revision."""
    tree.write("0001_thing", "op.create_table('thing', sa.Column('id', sa.Integer, primary_key=True))")
    assert tree.migrate().returncode == 0
    return tree


@pytest.mark.parametrize("standoff", STANDOFFS.values(), ids=STANDOFFS)
def test_a_process_that_waits_for_itself_ends(begun: Tree, database: Dsn, standoff: str) -> None:
    """It says who waits for whom, and where; the table is free within seconds, and nothing is applied."""
    (begun.root / "visit.py").write_text(_VISIT)
    written = begun.write("0002_own", f"import os, psycopg2\n{CHANGE}{standoff}")
    migrator = begun.start(*MIGRATE)
    _is_held(database, migrator)
    began = time.monotonic()
    rows_of(database, COUNT)
    assert time.monotonic() - began < ENDED_WITHIN
    assert migrator.wait(10) == 5, migrator.stderr
    assert "[waits-for-itself]" in migrator.stderr
    lines = [number for number, line in enumerate(written.read_text().splitlines(), 1) if line.strip()]
    first = next(n for n in lines if CHANGE.strip() in written.read_text().splitlines()[n - 1]) + 1
    assert any(f"migrations/versions/0002_own.py, line {line}\n" in migrator.stderr for line in range(first, 60))
    assert COUNT in migrator.stderr
    assert server_state.versions(database) == ["0001_thing"]
    assert rows_of(database, "SELECT outcome FROM migration_ledger WHERE revision = '0002_own'") == [("failed",)]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("INSERT INTO thing VALUES (7)", "INSERT INTO thing VALUES (7)"),
        ("SELECT pg_advisory_lock(7)", "SELECT pg_advisory_xact_lock(7)"),
        ("LOCK TABLE thing", "SELECT count(*) FROM thing"),
    ],
    ids=["row", "advisory", "table"],
)
def test_a_process_that_is_in_its_own_way_does_not_wait_for_its_earlier_attempts(
    begun: Tree, database: Dsn, first: str, second: str
) -> None:
    """What an attempt has opened is given up with it; when the time for locks is spent, the run ends as for any other blocker."""
    own = f"import os, psycopg2\nown = psycopg2.connect(os.environ['DATABASE_URL'])\nown.cursor().execute('{first}')"
    begun.write("0002_own", f"{own}\nop.execute('{second}')")
    ended = begun.run(*MIGRATE, within=30, MIGRATE_WAIT_LOCK="2s")
    assert (ended.returncode, "[table-busy]" in ended.stderr) == (4, True), ended.stderr
    assert ended.stderr.count("\n  blocker ") == 1
    assert server_state.versions(database) == ["0001_thing"]


def test_who_waits_for_a_revision_that_computes_is_told_and_not_ended(begun: Tree, database: Dsn) -> None:
    """Others that wait are no fault of a revision that goes on within its time; who they are stands in the log."""
    begun.write("0002_slow", f"import pathlib, time\n{CHANGE}while not pathlib.Path('go').exists(): time.sleep(0.05)")
    migrator = begun.start(*MIGRATE)
    _is_held(database, migrator)
    visitor = begun.start(*MIGRATE[:1], "-c", _VISIT)
    eventually(lambda: "while others wait for it: pid" in migrator.stderr, within=20)
    assert "visitor" in migrator.stderr
    (begun.root / "go").touch()
    assert migrator.wait() == 0, migrator.stderr
    assert visitor.wait() == 0, visitor.stderr
    assert server_state.versions(database) == ["0002_slow"]


@pytest.mark.parametrize("pooled", [False, True], ids=["direct", "pooled"])
def test_a_revision_that_asks_nothing_for_too_long_is_ended(
    begun: Tree, database: Dsn, request: pytest.FixtureRequest, pooled: bool
) -> None:
    """PostgreSQL gives the table back after MIGRATE_IDLE_TIMEOUT; it is told as the revision's fault, and not tried again."""
    begun.write("0002_slow", f"import time\n{CHANGE}time.sleep(6)\n{CHANGE}")
    tree = begun
    if pooled:
        pooler: Pooler = request.getfixturevalue("pooler")
        tree = Tree(begun.root, pooler.dsn(database))
    migrator = tree.start(*MIGRATE, MIGRATE_IDLE_TIMEOUT="2s")
    try:
        _is_held(database, migrator)
        began = time.monotonic()
        rows_of(database, COUNT)
        assert time.monotonic() - began < 2 + SLACK
        assert migrator.wait(20) == 5, migrator.stderr
    finally:
        migrator.end()
    assert "[idle-in-transaction]" in migrator.stderr
    assert migrator.stderr.count("the session that migrates is gone") <= 1
    assert "allowed are 2 s (MIGRATE_IDLE_TIMEOUT)" in migrator.stderr
    assert "connecting again" not in migrator.stderr
    assert server_state.versions(database) == ["0001_thing"]


@pytest.mark.parametrize(
    "statement", ["SELECT 1", "SELECT pg_sleep(1)"], ids=["between two statements", "in a statement"]
)
@pytest.mark.parametrize("pooled", [False, True], ids=["direct", "pooled"])
def test_a_process_that_is_stopped_gives_its_tables_back(
    begun: Tree, database: Dsn, request: pytest.FixtureRequest, pooled: bool, statement: str
) -> None:
    """PostgreSQL ends its transaction after MIGRATE_IDLE_TIMEOUT; when the process goes on it says so, tries again and is done."""
    begun.write(
        "0002_stopped",
        f"import pathlib, time\n{CHANGE}pathlib.Path('changed').touch()\nop.execute('{statement}')\n"
        "while not pathlib.Path('go').exists(): time.sleep(0.01)\nop.execute('SELECT 2')",
    )
    tree = begun
    if pooled:
        pooler: Pooler = request.getfixturevalue("pooler")
        tree = Tree(begun.root, pooler.dsn(database))
    migrator = tree.start(*MIGRATE, MIGRATE_IDLE_TIMEOUT="3s")
    eventually((begun.root / "changed").exists, within=30)
    migrator.send(signal.SIGSTOP)
    began = time.monotonic()
    rows_of(database, COUNT)
    assert time.monotonic() - began < 1 + 3 + SLACK
    (begun.root / "go").touch()
    migrator.send(signal.SIGCONT)
    assert migrator.wait(30) == 0, migrator.stderr
    assert re.search(r"this process stood still for \d+ s: .*; connecting again", migrator.stderr.replace("\n", " "))
    assert server_state.versions(database) == ["0002_stopped"]
    assert server_state.applied(database) == ["0001_thing", "0002_stopped"]


_VISIT = f"import os, psycopg2; psycopg2.connect(os.environ['DATABASE_URL'], application_name='visitor').cursor().execute('{COUNT}')"


def _is_held(database: Dsn, migrator: Running) -> None:
    """Return once the migrator has the table for itself."""

    def held() -> bool:
        assert migrator.process.poll() is None, migrator.stderr
        return any(mode == "AccessExclusiveLock" and granted for _, _, mode, granted in server_state.locks(database))

    eventually(held, within=30, what="the table is held")
