"""An empty database gets everything in one transaction, where that is possible, and never fails where one by one would do."""

from __future__ import annotations

import psycopg2
import pytest
import sqlalchemy as sa
from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.script import ScriptDirectory

from railhead.dsn import Dsn
from tests.ground import Databases, rows_of
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


def test_a_revision_that_asks_for_the_version_gets_it(bare: Workshop) -> None:
    """Whoever reads alembic_version on the way finds there what is applied, though nobody else could see it yet."""
    bare.write("0001_first", 'op.execute("CREATE TABLE seen (asked text, version text)")')
    bare.write("0002_second", 'op.execute("CREATE TABLE task ()")')
    bare.write(
        "0003_third",
        "current = op.get_context().get_current_revision()\n"
        "op.execute(\"INSERT INTO seen SELECT 'Alembic', '\" + current + \"'\")\n"
        "op.execute(\"INSERT INTO seen SELECT 'SQL', version_num FROM alembic_version\")",
    )
    bare.write("0004_fourth", 'op.execute("DROP TABLE task")')
    ended = bare.migrate()
    assert ended.returncode == 0, ended.stderr
    assert bare.database
    assert rows_of(bare.database, "SELECT * FROM seen") == [("Alembic", "0002_second"), ("SQL", "0002_second")]
    assert rows_of(bare.database, "SELECT version_num FROM alembic_version") == [("0004_fourth",)]


HISTORY = {
    "0001_root": ((), None),
    "0002_left": (("0001_root",), None),
    "0003_right": (("0001_root",), "0002_left"),
    "0004_left": (("0002_left",), None),
    "0005_middle": (("0001_root",), None),
    "0006_merge": (("0004_left", "0003_right", "0005_middle"), None),
    "0007_left": (("0006_merge",), None),
    "0008_right": (("0006_merge",), "0007_left"),
    "0009_merge": (("0008_right", "0007_left"), None),
}
"""Revisions with their parents, and with what else has to be there before."""

SEEN = """
CREATE TABLE IF NOT EXISTS seen (number serial, revision text, versions text[]);
INSERT INTO seen (revision, versions) SELECT '{}', array_agg(version_num ORDER BY version_num) FROM alembic_version
"""


@pytest.mark.parametrize("target", ["0003_right", "0004_left", "0006_merge", "0008_right", "head"])
def test_versions_of_branches_are_those_that_alembic_writes_step_by_step(
    bare: Workshop, databases: Databases, target: str
) -> None:
    """With branches, merges and dependencies each revision finds in alembic_version what it finds with plain Alembic."""
    for revision, (parents, needs) in HISTORY.items():
        (bare.versions / f"{revision}.py").write_text(
            f"from alembic import op\n\nrevision = {revision!r}\ndown_revision = {parents or None!r}\n"
            f"depends_on = {needs!r}\n\n\ndef upgrade() -> None:\n    op.execute({SEEN.format(revision)!r})\n\n\n"
            "def downgrade() -> None:\n    pass\n"
        )
    ended = bare.alembic("upgrade", target)
    assert ended.returncode == 0, ended.stderr
    plain = _plainly_upgraded(bare, databases.new(), target)
    assert bare.database
    for question in ("SELECT * FROM seen ORDER BY number", "SELECT version_num FROM alembic_version"):
        assert rows_of(bare.database, question) == rows_of(plain, question)


def _plainly_upgraded(tree: Workshop, database: Dsn, target: str) -> Dsn:
    config = Config()
    config.set_main_option("script_location", str(tree.root / "migrations"))
    script = ScriptDirectory.from_config(config)
    engine = sa.create_engine(
        "postgresql+psycopg2://", creator=lambda: psycopg2.connect(database), poolclass=sa.NullPool
    )
    with (
        engine.connect() as connection,
        EnvironmentContext(config, script, fn=lambda at, _: script._upgrade_revs(target, at)) as environment,
    ):
        environment.configure(connection=connection)
        with environment.begin_transaction():
            environment.run_migrations()
    return database


def test_a_mistake_still_leaves_an_empty_database_empty(bare: Workshop) -> None:
    """When a later revision fails on an empty database, nothing of the earlier ones stays."""
    bare.write("0001_first", 'op.execute("CREATE TABLE task ()")')
    bare.write("0002_second", 'op.execute("CREATE TABLE task ()")')
    assert bare.migrate().returncode == 5
    assert bare.database
    assert rows_of(bare.database, "SELECT to_regclass('task')") == [(None,)]
