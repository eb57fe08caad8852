"""An empty database gets everything in one transaction, where that is possible, and never fails where one by one would do."""

from __future__ import annotations

import pytest

from tests.ground import rows_of
from tests.workshop import Workshop

ROWS = (
    'op.execute("CREATE TABLE task (id int PRIMARY KEY, after int REFERENCES task DEFERRABLE INITIALLY DEFERRED)")\n'
    'op.execute("INSERT INTO task VALUES (1, 1)")'
)
VALUE = "op.execute(\"CREATE TYPE old AS ENUM ('todo'); ALTER TYPE old RENAME TO status; ALTER TYPE status ADD VALUE 'done'\")"


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (ROWS, 'op.add_column("task", sa.Column("note", sa.Text()))'),
        (VALUE, "op.execute(\"CREATE TABLE task (state status DEFAULT 'done')\")"),
    ],
    ids=["rows with a deferred constraint, then another column", "an enum value, then its use"],
)
def test_what_needs_two_transactions_gets_them(bare: Workshop, first: str, second: str) -> None:
    """Revisions that cannot share a transaction lead an empty database to head all the same, each recorded once."""
    bare.write("0001_first", first)
    bare.write("0002_second", second)
    ended = bare.migrate()
    assert ended.returncode == 0, ended.stderr
    assert bare.database
    assert rows_of(bare.database, "SELECT revision, outcome FROM migration_ledger ORDER BY id") == [
        ("0001_first", "applied"),
        ("0002_second", "applied"),
    ]


def test_a_mistake_still_leaves_an_empty_database_empty(bare: Workshop) -> None:
    """When a later revision fails on an empty database, nothing of the earlier ones stays."""
    bare.write("0001_first", 'op.execute("CREATE TABLE task ()")')
    bare.write("0002_second", 'op.execute("CREATE TABLE task ()")')
    assert bare.migrate().returncode == 5
    assert bare.database
    assert rows_of(bare.database, "SELECT to_regclass('task')") == [(None,)]
