"""Do autogenerate, `check` and `drift` say the same, and is what is written right, or told? A few of the kinds; tests/chaos tries all."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import sqlalchemy as sa
from alembic.autogenerate.api import AutogenContext
from alembic.operations import ops
from alembic.runtime.plugins import Plugin
from alembic.util import PriorityDispatchResult

from railhead.autogenerate.statements import Statement
from railhead.dsn import Dsn
from railhead.errors import Stop
from railhead.history.models import joined
from tests import model_types
from tests.change_table import Bench, bench
from tests.databases import Databases
from tests.model_changes import CHANGES, C, x

MEMBERS = [
    "own type over a plain one",
    "a type whose repr is not how it is made",
    "primary key, another column",
    "serial to identity",
    "exclusion changed",
    "computed column changed",
    "check as a column expression, changed",
    "enum that is a text, one more value",
    "default that PostgreSQL cannot read",
    "json of the dialect, another default",
    "numeric with a default, more digits",
    "column type that views of views need",
    "a naming convention for a unique that a foreign key needs",
    "a key that is not the name",
    "two metadatas",
    "model of a view",
    "column dropped with its unique and its checks",
]


@pytest.fixture(scope="module")
def place(templates: Databases, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """A bench for all of them."""
    with bench(templates.new(), tmp_path_factory.mktemp("bench")) as place:
        yield place


@pytest.mark.parametrize("kind", MEMBERS)
def test_change_is_done_or_told(place: Bench, kind: str) -> None:
    """What is written loads, runs up, down and up on rows and leaves nothing over; the three ways of asking agree."""
    verdict = place.judge(kind, CHANGES[kind])
    assert verdict.is_done or verdict.is_told, verdict
    assert verdict.plain != "right" or verdict.is_done, verdict


@pytest.mark.parametrize(
    ("kind", "slugs"),
    [
        ("index becomes unique", ("may-reject-writes",)),
        ("unique, more than once again", ()),
        ("unique, NULL once only afterwards", ("may-reject-writes",)),
    ],
)
def test_a_stricter_unique_may_reject_writes(place: Bench, server: Dsn, kind: str, slugs: tuple[str, ...]) -> None:
    """It has the name of the one before; and it is built beside that, so that no statement blocks."""
    assert place.judge(kind, CHANGES[kind], server).hazards == slugs


def test_a_default_that_cannot_be_read_is_named(place: Bench) -> None:
    """By column and default, in the usual form, from all who compare."""
    kind = "default that PostgreSQL cannot read"
    said = place.judge(kind, CHANGES[kind]).said
    assert "column x.i has a default in models.py that PostgreSQL does not understand: 'zero'" in said
    assert 'invalid input syntax for type integer: "zero"' in said


def test_two_metadatas_may_not_have_the_same_table() -> None:
    """Nobody could tell which of the two is meant."""
    models = [sa.MetaData(), sa.MetaData()]
    for metadata in models:
        x()(metadata)
    with pytest.raises(Stop, match="two of the MetaData that models\\(\\) gives have a table x"):
        joined(models)


def test_what_cannot_be_loaded_is_not_written(place: Bench) -> None:
    """A template that uses a name which it does not import stops the command; no file is there afterwards."""
    template = place.desk.versions.parent / "script.py.mako"
    before = template.read_text()
    models = sa.MetaData()
    sa.Table("page", models, sa.Column("id", sa.Integer, primary_key=True))
    template.write_text(before.replace("def upgrade() -> None:", "def upgrade() -> None:\n    sqlmodel.run()"))
    files = set(place.desk.versions.iterdir())
    try:
        with pytest.raises(Stop, match="cannot be loaded") as stopped:
            place.desk.revision(models, "page")
    finally:
        template.write_text(before)
    assert "NameError: name 'sqlmodel' is not defined" in stopped.value.render("alembic revision")
    assert set(place.desk.versions.iterdir()) == files


def test_drift_asks_who_makes_what_it_compares(place: Bench) -> None:
    """A comparison of another package that makes a view in its transaction works in drift, too, and nothing of it stays."""
    plugin = Plugin("alembic.autogenerate.makes_views")

    def compare(context: AutogenContext, upgrade: ops.UpgradeOps, _schemas: object) -> PriorityDispatchResult:
        assert context.connection is not None
        context.connection.execute(sa.text("CREATE VIEW made_to_compare AS SELECT 1"))
        upgrade.ops.append(
            Statement("view v", "removed", ["CREATE VIEW v AS SELECT 1"], ["DROP VIEW v"], place=(None, "v"))
        )
        return PriorityDispatchResult.CONTINUE

    plugin.add_autogenerate_comparator(compare, "schema", "makes_views")
    try:
        place.judge("nothing", CHANGES["checks of enum and boolean, nothing changed"])
        models = sa.MetaData()
        x(C("m", model_types.Money))(models)
        assert "view v" in [one.object for one in place.drift(models)]
        assert place.rows("SELECT to_regclass('made_to_compare')") == [(None,)]
    finally:
        plugin.remove()
