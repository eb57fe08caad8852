"""What a revision leaves unnamed is named by the convention of the models, as plain Alembic does with `target_metadata`."""

from __future__ import annotations

import json

import pytest

from railhead.dsn import Dsn
from tests.databases import Databases, rows_of
from tests.forked_tree import Workshop
from tests.inherited.project import HARBOUR, Inherited
from tests.inherited.writing import Record

UNNAMED = {
    "a unique constraint of its own": 'op.create_unique_constraint(None, "ship", ["imo"])',
    "a unique constraint in a table": 'op.create_table("a", sa.Column("code", sa.Text), sa.UniqueConstraint("code"))',
    "a unique column": 'op.create_table("a", sa.Column("code", sa.Text, unique=True))',
    "half a name of a check": 'op.create_check_constraint("long", "ship", "length(name) > 1")',
    "half a name of a check in a table": 'op.create_table("a", sa.Column("n", sa.Integer, sa.CheckConstraint("n > 0", name="positive")))',
    "a foreign key of its own": 'op.create_foreign_key(None, "ship", "ship", ["id"], ["id"])',
    "a foreign key in a column": 'op.add_column("ship", sa.Column("of_id", sa.Integer, sa.ForeignKey("ship.id")))',
    "an index of its own": 'op.create_index(None, "ship", ["name"])',
    "an index of a column": 'op.create_table("a", sa.Column("n", sa.Integer, index=True))',
    "a primary key": 'op.create_table("a", sa.Column("n", sa.Integer, primary_key=True))',
    "in a batch": 'with op.batch_alter_table("ship") as batch_op:\n    batch_op.create_unique_constraint(None, ["imo"])',
    "a whole name": 'op.create_unique_constraint(op.f("my_name"), "ship", ["imo"])',
    "a dropped one": 'op.create_check_constraint("long", "ship", "length(name) > 1")\nop.drop_constraint("long", "ship", type_="check")',
    "an enum of text": 'op.create_table("a", sa.Column("n", sa.Enum("x", name="kind", native_enum=False, create_constraint=True)))',
}  # fmt: skip
NAMES = "SELECT conrelid::regclass::text, conname FROM pg_constraint WHERE connamespace = 'public'::regnamespace UNION ALL SELECT tablename, indexname FROM pg_indexes WHERE schemaname = 'public' ORDER BY 1, 2"


def names(database: Dsn) -> list[tuple[object, ...]]:
    """Return the constraints and indexes of a database, without Railhead's own."""
    return [row for row in rows_of(database, NAMES) if row[0] != "migration_ledger"]


@pytest.mark.parametrize("unnamed", UNNAMED.values(), ids=UNNAMED)
def test_what_is_unnamed_gets_the_name_that_plain_alembic_gives(
    workshop: Workshop, databases: Databases, unnamed: str
) -> None:
    """Fresh databases have the names that production has, however a constraint or an index comes about."""
    project = Inherited(workshop, [HARBOUR[0], Record("unnamed", unnamed)])
    plain, ours = databases.new(), databases.new()
    project.plain(plain, "upgrade head")
    ended = project.railhead(ours)
    assert ended.returncode == 0, ended.stderr
    assert names(ours) == names(plain)


@pytest.fixture
def convened(workshop: Workshop) -> Inherited:
    """A project with a convention and a history that relies on it."""
    relied = Record(
        "relied_on",
        'op.create_unique_constraint(None, "ship", ["imo"])\nop.execute("ALTER TABLE ship RENAME CONSTRAINT uq_ship_imo TO imo_once")',
        'op.drop_constraint("imo_once", "ship")',
    )
    return Inherited(workshop, [HARBOUR[0], relied])


def test_a_convention_is_in_force_wherever_revisions_run(convened: Inherited, database: Dsn) -> None:
    """In a replay, in `--sql`, on the way back and at a start by hand: the names are the same."""
    assert convened.railhead(database, "seal", "--all", "--adopted-up-to", "base").returncode == 0
    assert "uq_ship_imo UNIQUE" in convened.tree.alembic("upgrade", "head", "--sql").stdout
    for words in (("upgrade", "head"), ("downgrade", "-1"), ("upgrade", "head")):
        ended = convened.tree.alembic(*words)
        assert ended.returncode == 0, ended.stderr
    assert ("ship", "imo_once") in names(database)


@pytest.mark.parametrize(
    ("upgrade", "warnings"),
    [
        ('op.create_table("note", sa.Column("id", sa.Integer))', 1),
        ('op.execute("CREATE TABLE note (id int)")\nop.add_column("note", sa.Column("n", sa.Integer, unique=True))', 1),
        ('op.execute("CREATE TABLE note (id int)")', 0),
    ],
    ids=["a table", "a column", "raw SQL"],
)
def test_models_that_cannot_be_imported_stop_no_migration(
    convened: Inherited, database: Dsn, upgrade: str, warnings: int
) -> None:
    """What asks for their names runs without, after one warning that says what is missing; what does not ask does not import them."""
    (convened.tree.root / "models.py").write_text("raise ImportError('half a deploy')\n")
    convened.write([Record("first", upgrade), Record("second", upgrade.replace("note", "other"))])
    ended = convened.railhead(database)
    assert ended.returncode == 0, ended.stderr
    warning = (
        "the models cannot be imported, so revisions run without their naming convention: ImportError: half a deploy"
    )
    assert ended.stderr.count(warning) == warnings
    assert rows_of(database, "SELECT to_regclass('note')::text") == [("note",)]


def test_a_start_with_nothing_to_do_does_not_ask_for_the_models(convened: Inherited, database: Dsn) -> None:
    """At head nobody imports them."""
    assert convened.railhead(database, "seal").returncode == 0
    assert convened.railhead(database).returncode == 0
    (convened.tree.root / "models.py").write_text("raise ImportError('not asked for')\n")
    ended = convened.railhead(database)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert json.loads(convened.railhead(database, "status", "--json").stdout)["current"] == [convened.head]
