"""One attempt: revision, ledger and version together, only under the lock, and again only what was rolled back."""

from __future__ import annotations

import pytest

from railhead.dsn import Dsn
from tests.databases import rows_of
from tests.forked_tree import Workshop
from tests.project_tree import MIGRATE

THING = "op.create_table('thing', sa.Column('id', sa.Integer, primary_key=True))"

ONCE = "op.execute(\"SELECT CASE WHEN nextval('tries') = 1 THEN {does} END{of}\")"
"""Does something the first time only: a sequence is not rolled back."""

HOLDER = " FROM pg_locks WHERE locktype = 'advisory' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"


@pytest.fixture
def at_first(bare: Workshop) -> Workshop:
    """A project whose first revision is applied."""
    bare.write("0001_thing", f"{THING}\nop.execute('CREATE SEQUENCE tries')")
    assert bare.migrate().returncode == 0
    return bare


def ledger(database: Dsn) -> list[tuple[object, ...]]:
    """Return what the ledger says of the revisions, in that order."""
    return rows_of(database, "SELECT revision, outcome, attempts FROM migration_ledger ORDER BY id")


def test_revision_that_loses_the_lock_is_rolled_back_and_done_again(at_first: Workshop, database: Dsn) -> None:
    """The fence stops the commit; the story begins again, takes the lock and looks where the database is."""
    at_first.write(
        "0002_more",
        "op.add_column('thing', sa.Column('a', sa.Text))\n"
        + ONCE.format(does="pg_terminate_backend(pid, 5000)", of=HOLDER),
    )
    result = at_first.migrate()
    assert result.returncode == 0, result.stderr
    assert "the migration lock was lost; connecting again" in result.stderr
    assert ledger(database) == [("0001_thing", "applied", 1), ("0002_more", "applied", 1)]


def test_revision_that_loses_its_own_connection_is_done_again(at_first: Workshop, database: Dsn) -> None:
    """What PostgreSQL rolled back as a whole is tried once more on a new connection."""
    at_first.write(
        "0002_more",
        "op.add_column('thing', sa.Column('a', sa.Text))\n"
        + ONCE.format(does="pg_terminate_backend(pg_backend_pid())", of=""),
    )
    result = at_first.migrate()
    assert result.returncode == 0, result.stderr
    assert "connecting again" in result.stderr
    assert rows_of(database, "SELECT last_value FROM tries") == [(2,)]
    assert ledger(database) == [("0001_thing", "applied", 1), ("0002_more", "applied", 1)]


def test_failed_revision_leaves_the_version_and_the_ones_before_it(at_first: Workshop, database: Dsn) -> None:
    """Each revision is a transaction of its own: 0002 stays, 0003 leaves nothing but its failure in the ledger."""
    at_first.write("0002_more", "op.add_column('thing', sa.Column('a', sa.Text))")
    at_first.write("0003_wrong", "op.add_column('thing', sa.Column('b', sa.Text))\nop.execute('SELECT 1 / 0')")
    result = at_first.migrate()
    assert result.returncode == 5, result.stderr
    assert rows_of(database, "SELECT version_num FROM alembic_version") == [("0002_more",)]
    assert rows_of(database, "SELECT a FROM thing") == []
    assert not rows_of(database, "SELECT 1 FROM pg_attribute WHERE attrelid = 'thing'::regclass AND attname = 'b'")
    assert [row[:2] for row in ledger(database)] == [
        ("0001_thing", "applied"),
        ("0002_more", "applied"),
        ("0003_wrong", "failed"),
    ]


def test_revision_that_rolls_back_is_not_recorded_as_applied(at_first: Workshop, database: Dsn) -> None:
    """Alembic would say that it ran, and move the version; not even who accepts that it leaves its transaction wants that."""
    at_first.write(
        "0002_thief",
        "op.add_column('thing', sa.Column('a', sa.Text))\nop.execute('ROLLBACK; BEGIN')",
        extra='accepted_hazards = {"not-repeatable": "tried"}',
    )
    result = at_first.migrate()
    assert result.returncode == 5, result.stderr
    assert "0002_thief rolls back what it has done itself" in result.stderr
    assert "[stolen-transaction]" in result.stderr
    assert rows_of(database, "SELECT version_num FROM alembic_version") == [("0001_thing",)]


def test_revision_outside_its_transaction_is_begun_and_ended_in_the_ledger(at_first: Workshop, database: Dsn) -> None:
    """A row says that it started, committed before the first statement that no rollback takes back."""
    at_first.write("0002_index", "op.create_index_concurrently('thing_id', 'thing', ['id'])")
    assert at_first.migrate().returncode == 0
    assert [row[:2] for row in ledger(database)] == [
        ("0001_thing", "applied"),
        ("0002_index", "started"),
        ("0002_index", "applied"),
    ]


def test_second_process_waits_then_finds_nothing_to_do(at_first: Workshop, database: Dsn) -> None:
    """Two that start together: one applies the revision, the other says that there was nothing to do."""
    at_first.write("0002_more", "op.add_column('thing', sa.Column('a', sa.Text))\nop.execute('SELECT pg_sleep(0.5)')")
    both = [at_first.start(*MIGRATE) for _ in range(2)]
    assert [one.wait() for one in both] == [0, 0], both[0].stderr + both[1].stderr
    assert sorted("nothing to do" in one.stdout for one in both) == [False, True]
    assert ledger(database) == [("0001_thing", "applied", 1), ("0002_more", "applied", 1)]


def test_limits_are_set_while_a_migration_runs(at_first: Workshop, database: Dsn) -> None:
    """A short lock timeout, the statement timeout as told, and a server that notices a client that has died, or asks nothing."""
    names = [
        "lock_timeout",
        "statement_timeout",
        "client_connection_check_interval",
        "idle_in_transaction_session_timeout",
    ]
    values = ", ".join(f"current_setting('{name}')" for name in names)
    at_first.write("0002_limits", f'op.execute("CREATE TABLE limits AS SELECT ARRAY[{values}] AS them")')
    assert at_first.migrate(MIGRATE_STATEMENT_TIMEOUT="90s").returncode == 0
    assert rows_of(database, "SELECT them FROM limits") == [(["100ms", "90s", "500ms", "1min"],)]
