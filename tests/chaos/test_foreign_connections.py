"""A revision asks other servers, and this one through connections of its own: what becomes of those is no news of ours."""

from __future__ import annotations

import time

import pytest

from railhead.dsn import Dsn
from tests.chaos import server_state
from tests.chaos.ports import free_ports
from tests.databases import rows_of
from tests.project_tree import Tree

WITHIN = 8.0
"""Seconds for a run that fails at once, the start of Python on a busy machine included."""

OWN = "import os, psycopg2\nown = psycopg2.connect(os.environ['DATABASE_URL'])\ncursor = own.cursor()"
TOUCH = "op.execute('CREATE TABLE touched (id int)')\nopen('attempts', 'a').write('x')\n"

FAILURES = {
    "a server that is away": "import psycopg2\npsycopg2.connect('postgresql://u:x@127.0.0.1:{port}/db')",
    "an engine of another server": "sa.create_engine('postgresql+psycopg2://u:x@127.0.0.1:{port}/db').connect()",
    "ended by its server": f"{OWN}\ncursor.execute('SELECT pg_terminate_backend(pg_backend_pid())')",
    "ended in an engine": "with op.get_bind().engine.connect() as own:\n"
    "    own.execute(sa.text('SELECT pg_terminate_backend(pg_backend_pid())'))",
    "closed by itself": f"{OWN}\nown.close()\nown.cursor()",
    "a cursor that is closed": f"{OWN}\ncursor.close()\ncursor.execute('SELECT 1')",
    "a lock that it did not get": f"op.execute('LOCK TABLE held')\n{OWN}\ncursor.execute(\"SET lock_timeout = '50ms'; SELECT count(*) FROM held\")",
    "a server that only reads": f"{OWN}\nown.set_session(readonly=True)\ncursor.execute('CREATE TABLE more (id int)')",
    "a failed commit": f"{OWN}\ncursor.execute('SET CONSTRAINTS ALL DEFERRED; INSERT INTO part VALUES (7)')\nown.commit()",
    "a foreign table": "op.execute('CREATE EXTENSION IF NOT EXISTS postgres_fdw; "
    "CREATE SERVER far FOREIGN DATA WRAPPER postgres_fdw OPTIONS (port $${port}$$); CREATE USER MAPPING FOR CURRENT_USER SERVER far; "
    "CREATE FOREIGN TABLE away (id int) SERVER far')\nop.execute('SELECT count(*) FROM away')",
    "dblink": "op.execute('CREATE EXTENSION IF NOT EXISTS dblink')\n"
    "op.execute('SELECT FROM dblink($$port={port}$$, $$SELECT 1$$) AS t (n int)')",
    "another protocol": "import urllib.request\nurllib.request.urlopen('http://127.0.0.1:{port}/')",
}


@pytest.fixture
def begun(tree: Tree) -> Tree:
    """A project at its first revision."""
    tree.write(
        "0001_thing",
        "op.create_table('thing', sa.Column('id', sa.Integer, primary_key=True))\n"
        "op.execute('CREATE TABLE held (id int)')\n"
        "op.execute('CREATE TABLE part (thing int REFERENCES thing DEFERRABLE)')",
    )
    assert tree.migrate().returncode == 0
    return tree


@pytest.mark.parametrize("failure", FAILURES.values(), ids=FAILURES)
def test_a_connection_of_its_own_that_fails_is_the_revisions_fault(begun: Tree, database: Dsn, failure: str) -> None:
    """It runs once, ends with 5 and its file and line, and no word of the database being away."""
    [port] = free_ports(1)
    written = begun.write("0002_own", TOUCH + failure.format(port=port))
    began = time.monotonic()
    ended = begun.migrate()
    assert ended.returncode == 5, ended.stderr
    assert time.monotonic() - began < WITHIN
    assert (begun.root / "attempts").read_text() == "x"
    assert "[migration-failed]" in ended.stderr
    line = written.read_text().splitlines().index(f"    {failure.format(port=port).splitlines()[-1]}") + 1
    assert f"migrations/versions/0002_own.py, line {line}\n" in ended.stderr
    assert "nobody answers" not in ended.stderr
    assert server_state.versions(database) == ["0001_thing"]
    assert rows_of(database, "SELECT outcome FROM migration_ledger WHERE revision = '0002_own'") == [("failed",)]


@pytest.mark.parametrize(
    "inside",
    [
        "op.backfill('thing', 'a = 1', 'a IS NULL')",
        "op.create_index_concurrently('ix', 'thing', ['id'])",
    ],
    ids=["backfill", "index"],
)
def test_a_connection_that_fails_beside_a_verb(begun: Tree, database: Dsn, inside: str) -> None:
    """The verb is done and is not done twice; that its file has left its transaction is told."""
    rows_of(database, "ALTER TABLE thing ADD COLUMN a int; INSERT INTO thing VALUES (1)")
    [port] = free_ports(1)
    begun.write("0002_own", f"{inside}\n{FAILURES['a server that is away'].format(port=port)}")
    ended = begun.migrate()
    assert ended.returncode == 6, ended.stderr
    assert "[migration-half-done]" in ended.stderr
    assert rows_of(database, "SELECT outcome FROM migration_ledger WHERE revision = '0002_own' ORDER BY id") == [
        ("started",),
        ("failed",),
    ]


def test_both_connections_lost_is_the_servers_affair(begun: Tree, database: Dsn) -> None:
    """What takes our own connection, too, is tried again as ever, whichever of them noticed it first."""
    [port] = free_ports(1)
    away = FAILURES["a server that is away"].format(port=port).replace("\n", "\n    ")
    begun.write(
        "0002_own",
        f"{TOUCH}{OWN}\nours = op.get_bind().scalar(sa.text('SELECT pg_backend_pid()'))\n"
        f"if open('attempts').read() == 'x':\n    cursor.execute('SELECT pg_terminate_backend(%s, 5000)', (ours,))\n    {away}",
    )
    ended = begun.migrate()
    assert ended.returncode == 0, ended.stderr
    assert "connecting again" in ended.stderr
    assert (begun.root / "attempts").read_text() == "xx"
    assert server_state.versions(database) == ["0002_own"]


HOOK = "import psycopg2\nfrom sqlalchemy import event\nfrom sqlalchemy.engine import Engine\n@event.listens_for(Engine, '{}')\ndef hook(*_):\n    {}\n"


@pytest.mark.parametrize("event", ["connect", "begin", "before_cursor_execute", "commit", None])
def test_a_hook_that_connects_elsewhere(begun: Tree, database: Dsn, event: str | None) -> None:
    """What migrations/env.py listens to, or does itself, is told with that file and its line, and is not tried again."""
    [port] = free_ports(1)
    away = f"psycopg2.connect('postgresql://u:x@127.0.0.1:{port}/db')"
    env = begun.root / "migrations" / "env.py"
    code = HOOK.format(event, away) if event else f"import psycopg2\n{away}"
    env.write_text(env.read_text().replace("entry.enter(", f"{code}\nentry.enter("))
    begun.write("0002_more", "op.add_column('thing', sa.Column('a', sa.Text))")
    began = time.monotonic()
    ended = begun.migrate()
    assert ended.returncode == 5, ended.stderr
    assert time.monotonic() - began < WITHIN
    line = next(number for number, text in enumerate(env.read_text().splitlines(), 1) if away in text)
    assert f"migrations/env.py, line {line}\n" in ended.stderr
    assert "[migration-failed]" in ended.stderr
    assert server_state.versions(database) == ["0001_thing"]
