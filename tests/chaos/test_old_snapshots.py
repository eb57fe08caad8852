"""What is done CONCURRENTLY waits for old transactions, such as a dump's: that counts as waiting, and building does not."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager

import psycopg2
import pytest

from railhead.dsn import Dsn
from tests.chaos import server_state
from tests.chaos.pooler import Pooler
from tests.databases import rows_of
from tests.processes import eventually
from tests.project_tree import MIGRATE, Tree

WAIT = 4
"""Seconds of MIGRATE_WAIT_LOCK."""

SLACK = 6.0
"""Seconds for what tidies up, and for the end of the process, on a busy machine."""

VERBS = {
    "create index": "op.create_index_concurrently('ix', 'thing', ['a'])",
    "unique constraint": "op.create_unique_constraint_concurrently('uq', 'thing', ['a'])",
    "drop index": "op.drop_index_concurrently('old', table_name='thing')",
    "refresh": "with op.get_context().autocommit_block():\n"
    "    op.execute('SET lock_timeout = 0')\n    op.execute('REFRESH MATERIALIZED VIEW CONCURRENTLY seen')",
    "reindex": "with op.get_context().autocommit_block():\n"
    "    op.execute('SET lock_timeout = 0')\n    op.execute('REINDEX INDEX CONCURRENTLY old')",
    "detach": "with op.get_context().autocommit_block():\n"
    "    op.execute('SET lock_timeout = 0')\n    op.execute('ALTER TABLE whole DETACH PARTITION part CONCURRENTLY')",
}

BESIDE = {
    "create index": "SELECT count(*) FROM other",
    "unique constraint": "SELECT count(*) FROM other",
    "refresh": "REFRESH MATERIALIZED VIEW CONCURRENTLY seen",
}
"""What is done beside it; all others wait only for who has used the table."""

SCHEMA = """
CREATE TABLE thing (id int PRIMARY KEY, a int); CREATE INDEX old ON thing (a); CREATE TABLE other (id int);
CREATE MATERIALIZED VIEW seen AS SELECT 1 AS one; CREATE UNIQUE INDEX ON seen (one);
CREATE TABLE whole (id int) PARTITION BY LIST (id); CREATE TABLE part PARTITION OF whole FOR VALUES IN (1)
"""


@pytest.fixture
def begun(tree: Tree) -> Tree:
    """A project at its first revision."""
    tree.write("0001_thing", f"op.execute('''{SCHEMA}''')")
    assert tree.migrate().returncode == 0
    return tree


@contextmanager
def _dumping(database: Dsn, *statements: str) -> Iterator[None]:
    """Inside, a session has an old snapshot, as pg_dump has one, and has done this."""
    with closing(psycopg2.connect(database, application_name="pg_dump")) as dump, dump.cursor() as cursor:
        cursor.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        for statement in statements:
            cursor.execute(statement)
        yield


@pytest.mark.parametrize(
    ("verb", "pooled"), [*((verb, False) for verb in VERBS), ("create index", True), ("drop index", True)]
)
def test_an_old_snapshot_is_waited_for_as_long_as_was_promised(
    begun: Tree, database: Dsn, request: pytest.FixtureRequest, verb: str, pooled: bool
) -> None:
    """Then it is cancelled, and told with the blocker's pid, age and query; what it left is gone where that can be had."""
    begun.write("0002_more", VERBS[verb], extra="accepted_hazards = {'not-repeatable': 'it may be done again'}")
    tree = begun
    if pooled:
        pooler: Pooler = request.getfixturevalue("pooler")
        tree = Tree(begun.root, pooler.dsn(database))
    with _dumping(database, BESIDE.get(verb, "SELECT count(*) FROM thing, whole")):
        ended = tree.start(*MIGRATE, MIGRATE_WAIT_LOCK=f"{WAIT}s")
        eventually(lambda: server_state.running(database, "CONCURRENTLY"), within=30, what="it waits")
        began = time.monotonic()
        assert ended.wait() == 4, ended.stderr
        lasted = time.monotonic() - began
    assert WAIT - 1 < lasted < WAIT + SLACK
    assert "[table-busy]" in ended.stderr
    assert "pg_dump, idle in transaction for" in ended.stderr
    assert BESIDE.get(verb, "SELECT count(*) FROM") in ended.stderr
    assert f"{WAIT} s (MIGRATE_WAIT_LOCK)" in ended.stderr
    assert server_state.invalid_indexes(database) == [] or "INVALID" in ended.stderr
    assert server_state.versions(database) == ["0001_thing"]
    if "autocommit_block" in VERBS[verb]:
        return  # which cannot tell what it has left behind when it runs again
    again = tree.migrate()
    assert again.returncode == 0, again.stderr
    assert server_state.invalid_indexes(database) == []


def test_a_dump_that_ends_in_time_is_waited_for(begun: Tree, database: Dsn) -> None:
    """The index is built, and nothing is told but who was waited for."""
    begun.write("0002_more", VERBS["create index"])
    with _dumping(database, BESIDE["create index"]):
        migrator = begun.start(*MIGRATE)
        eventually(lambda: "pg_dump" in migrator.stderr, within=20, what="it says who is waited for")
    assert migrator.wait() == 0, migrator.stderr
    assert server_state.invalid_indexes(database) == []


def test_what_is_built_takes_as_long_as_it_takes(begun: Tree, database: Dsn) -> None:
    """Only waiting is counted: an index that takes longer than MIGRATE_WAIT_LOCK to build is built."""
    rows_of(
        database,
        "CREATE FUNCTION slow(int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS"
        " $$ BEGIN PERFORM pg_sleep(0.5); RETURN 1; END $$",
    )
    rows_of(database, "INSERT INTO thing SELECT generate_series(1, 8)")
    begun.write("0002_more", "op.create_index_concurrently('ix', 'thing', [sa.text('slow(a)')])")
    ended = begun.migrate(MIGRATE_WAIT_LOCK="2s")
    assert ended.returncode == 0, ended.stderr
    assert server_state.invalid_indexes(database) == []
