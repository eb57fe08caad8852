"""A start in production that judges what nobody has sealed, on a server of its own beside the application."""

from __future__ import annotations

import pytest

from railhead.dsn import Dsn
from tests.databases import version_of
from tests.large_table import HARMLESS, HEAD, INDEX, PRODUCTION, filled
from tests.project_tree import Tree

MIXED = (
    'op.create_table("note", sa.Column("id", sa.Integer))\nop.create_index_concurrently("i", "task", ["title"])',
    'op.drop_index_concurrently("i")\nop.drop_table("note")',
)


@pytest.fixture
def busy(project: Tree) -> Tree:
    """A database at head with 1,234 tasks."""
    filled(project)
    return project


@pytest.mark.parametrize(
    ("revision", "code", "slug"),
    [(INDEX, 3, "[hazard]"), (MIXED, 3, "[not-repeatable]"), (HARMLESS, 0, "judged at start")],
)
def test_it_is_judged_at_start_where_it_can_be(
    busy: Tree, database: Dsn, revision: tuple[str, str], code: int, slug: str
) -> None:
    """With the embedded server at hand a start in production knows what an unsealed revision does, and decides as if it were sealed."""
    busy.write("0003_new", *revision, after=HEAD)
    ended = busy.migrate(**PRODUCTION)
    assert (ended.returncode, slug in ended.stderr) == (code, True), ended.stderr
    assert version_of(database) == ("0003_new" if code == 0 else HEAD)
    assert "embedded PostgreSQL in" in ended.stderr  # and not on the server in production


def test_an_edited_revision_counts_as_unsealed(busy: Tree, database: Dsn) -> None:
    """What was sealed of a file that means something else now is not believed in production."""
    path = busy.write("0003_new", *HARMLESS, after=HEAD)
    assert busy.migrate("seal").returncode == 0
    path.write_text(path.read_text().replace(HARMLESS[0], INDEX[0]))
    ended = busy.migrate(**PRODUCTION)
    assert (ended.returncode, version_of(database)) == (3, HEAD)
    assert "index-blocks-writes: task" in ended.stderr
