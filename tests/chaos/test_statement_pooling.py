"""A pooler that knows no transactions: migrations cannot go through it, and that is said."""

from __future__ import annotations

from pathlib import Path

from railhead.dsn import Dsn
from tests.chaos.pooler import NEEDED, Pooler
from tests.databases import url_of
from tests.forked_tree import Workshop

pytestmark = NEEDED


def test_statement_pooling_is_told_as_such(bare: Workshop, server: Dsn, database: Dsn, tmp_path: Path) -> None:
    """Within the first attempts, and not as a server that does not run."""
    pooler = Pooler(server, tmp_path, mode="statement")
    bare.write("0001_first", "op.create_table('note', sa.Column('id', sa.Integer))")
    try:
        ended = bare.migrate(DATABASE_URL=url_of(pooler.dsn(database)), MIGRATE_WAIT_LOCK="20s")
    finally:
        pooler.end()
    assert "pool_mode=statement" in ended.stderr, ended.stderr
    assert "MIGRATE_DATABASE_URL" in ended.stderr
    assert ended.stderr.count("connecting again") < 3
