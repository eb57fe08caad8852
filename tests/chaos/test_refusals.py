"""What could not be mended after a crash is refused before anything is touched."""

from __future__ import annotations

import pytest

from railhead.dsn import Dsn
from tests.chaos import server_state
from tests.databases import rows_of
from tests.forked_tree import Workshop
from tests.project_tree import ALEMBIC, MIGRATE

MIXED = {
    "a verb": "op.add_column('thing', sa.Column('a', sa.Text))\nop.create_index_concurrently('thing_a', 'thing', ['a'])",
    "a block": """
        op.execute("CREATE TYPE mood AS ENUM ('sad')")
        with op.get_context().autocommit_block():
            op.execute("ALTER TYPE mood ADD VALUE 'ok'")
    """,
    "a verb first": "op.drop_index_concurrently('thing_pkey2', 'thing')\nop.add_column('thing', sa.Column('a', sa.Text))",
}

HIDDEN = """
def work():
    op.add_column("thing", sa.Column("a", sa.Text))
    op.create_index_concurrently("thing_a", "thing", ["a"])

"""


@pytest.mark.parametrize("way", [MIGRATE, ALEMBIC], ids=["migrate.py", "alembic"])
@pytest.mark.parametrize("mixed", MIXED)
def test_mixed_revision_is_refused_before_anything_is_touched(
    at_first: Workshop, database: Dsn, mixed: str, way: tuple[str, ...]
) -> None:
    """Exit 3: not even the ordinary revision before it is applied, and the schema is as it was."""
    before = server_state.schema(database)
    at_first.write("0002_ordinary", "op.create_table('other', sa.Column('id', sa.Integer, primary_key=True))")
    at_first.write("0003_mixed", MIXED[mixed])
    result = at_first.run(*way, "upgrade", "head")
    assert result.returncode == 3, result.stderr
    assert "0003_mixed" in result.stderr
    assert "[not-repeatable]" in result.stderr
    assert server_state.versions(database) == ["0001_thing"]
    assert server_state.applied(database) == ["0001_thing"]
    assert server_state.schema(database) == before


def test_mixture_that_only_shows_when_it_runs_is_rolled_back(at_first: Workshop, database: Dsn) -> None:
    """PostgreSQL tells, at the moment when the transaction would be left, that something was changed in it.

    What earlier revisions of that run did is committed by then, and stays.
    """
    at_first.write("0002_ordinary", "op.create_table('other', sa.Column('id', sa.Integer, primary_key=True))")
    at_first.write("0003_hidden", 'globals()["work"]()', extra=HIDDEN)
    result = at_first.migrate()
    assert result.returncode == 3, result.stderr
    assert "[not-repeatable]" in result.stderr
    assert "at 0002_ordinary" in result.stderr
    assert server_state.versions(database) == ["0002_ordinary"]
    assert server_state.applied(database) == ["0001_thing", "0002_ordinary"]
    columns = "SELECT column_name FROM information_schema.columns WHERE table_name IN ('thing', 'other')"
    assert rows_of(database, columns) == [("id",), ("id",)]
