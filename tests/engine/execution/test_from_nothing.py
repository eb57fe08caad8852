"""An empty database gets everything in one transaction, where that is possible, and never fails where one by one would do."""

from __future__ import annotations

import psycopg2
import pytest
import sqlalchemy as sa
from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.script import ScriptDirectory

from railhead.dsn import Dsn
from tests.databases import Databases, rows_of
from tests.forked_tree import Workshop

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


def test_a_late_mistake_keeps_what_came_before(bare: Workshop, database: Dsn) -> None:
    """When a later revision fails on an empty database, the earlier ones are there, each in the ledger, and the log says how."""
    bare.write("0001_first", 'op.execute("CREATE TABLE task ()")')
    bare.write("0002_second", 'op.execute("CREATE TABLE other ()")')
    bare.write("0003_third", 'op.execute("CREATE TABLE task ()")')
    ended = bare.migrate()
    assert ended.returncode == 5
    assert rows_of(database, "SELECT version_num FROM alembic_version") == [("0002_second",)]
    assert rows_of(database, "SELECT revision, outcome FROM migration_ledger ORDER BY id") == [
        ("0001_first", "applied"), ("0002_second", "applied"), ("0003_third", "failed"),
    ]  # fmt: skip
    assert (
        'each revision gets a transaction of its own now, because of 0003_third: relation "task" already exists'
        in ended.stderr
    )
    assert "at 0002_second" in ended.stderr


def test_a_mistake_in_the_first_leaves_an_empty_database_empty(bare: Workshop, database: Dsn) -> None:
    """There is nothing to keep, and nothing is tried twice."""
    bare.write("0001_first", 'op.execute("CREATE TABLE task ()")\nop.execute("SELECT 1/0")')
    bare.write("0002_second")
    ended = bare.migrate()
    assert (ended.returncode, "transaction of its own" in ended.stderr) == (5, False)
    assert rows_of(database, "SELECT to_regclass('task')") == [(None,)]


LOOKS = "with op.get_bind().engine.connect() as own:\n    assert own.execute(sa.text('SELECT count(*) FROM task')).scalar() == 0"


@pytest.mark.parametrize(
    ("second", "why"),
    [
        (LOOKS, "it opens a connection of its own"),
        ("op.execute('ROLLBACK')", "it rolls back the transaction that it shares"),
        (
            "try:\n    op.execute('SELECT 1/0')\nexcept sa.exc.DBAPIError:\n    op.get_bind().rollback()",
            "it rolls back the transaction that it shares",
        ),
    ],
    ids=["looks from outside", "rolls back", "rolls back after a failure"],
)
def test_what_cannot_share_its_transaction_does_not_have_to(
    bare: Workshop, database: Dsn, second: str, why: str
) -> None:
    """A revision that works only where those before it are committed finds them so, and the log says why."""
    bare.write("0001_first", 'op.execute("CREATE TABLE task (id int)")')
    bare.write("0002_second", f"{second}\nop.execute('CREATE TABLE other (id int)')")
    bare.write("0003_third", 'op.execute("INSERT INTO task SELECT 1; INSERT INTO other SELECT 1")')
    ended = bare.migrate()
    assert ended.returncode == 0, ended.stderr
    assert f"because of 0002_second: {why}" in ended.stderr
    assert rows_of(database, "SELECT version_num, (SELECT count(*) FROM task) FROM alembic_version") == [
        ("0003_third", 1)
    ]
    assert rows_of(database, "SELECT count(*) FROM migration_ledger WHERE outcome = 'applied'") == [(3,)]


MOOD = "op.execute(\"CREATE TYPE mood AS ENUM ('glad')\")\nop.execute('CREATE TABLE person (id int, mood mood)')"
BLOCK = "with op.get_context().autocommit_block():\n    "
SAD = f"{BLOCK}op.execute(\"ALTER TYPE mood ADD VALUE IF NOT EXISTS 'sad'\")\n"


@pytest.mark.parametrize(
    "leaves",
    [
        f"{SAD}op.execute(\"INSERT INTO person VALUES (1, 'sad')\")",
        f"op.execute('INSERT INTO person VALUES (1)')\n{SAD}",
        f"{BLOCK}op.create_index('person_id', 'person', ['id'], postgresql_concurrently=True)",
        "op.create_index_concurrently('person_id', 'person', ['id'])",
    ],
    ids=["a block, then rows", "rows, then a block", "a block alone", "a verb"],
)
def test_behind_a_revision_that_leaves_each_has_its_own(bare: Workshop, database: Dsn, leaves: str) -> None:
    """A failure behind it takes nothing away, the log says where it changed, and the mended history goes on from there."""
    bare.write("0001_mood", MOOD)
    bare.write("0002_leaves", leaves)
    bare.write("0003_other", "op.execute('CREATE TABLE other (id int)')")
    bare.write("0004_wrong", "op.execute('SELECT 1/0')")
    ended = bare.migrate()
    assert ended.returncode == 5, ended.stderr
    assert "0002_leaves left the transaction for all; those behind it get one each" in ended.stderr
    assert "0004_wrong failed and was rolled back" in ended.stderr
    done = "SELECT revision FROM migration_ledger WHERE outcome = 'applied' ORDER BY id"
    assert rows_of(database, done) == [("0001_mood",), ("0002_leaves",), ("0003_other",)]
    bare.write("0004_wrong", "op.execute('CREATE TABLE right_now (id int)')", after="0003_other")
    ended = bare.migrate()
    assert ended.returncode == 0, ended.stderr
    assert rows_of(database, "SELECT version_num FROM alembic_version") == [("0004_wrong",)]


def test_a_retry_refuses_nothing_that_the_first_run_accepted(bare: Workshop) -> None:
    """As long as no run has ended well the database is as good as empty; once one has, it is judged like any other."""
    bare.write("0001_mood", MOOD)
    bare.write("0002_wrong", "op.execute('SELECT 1/0')")
    bare.write("0003_mixes", f"op.execute('INSERT INTO person VALUES (1)')\n{SAD}")
    assert bare.migrate().returncode == 5
    bare.write("0002_wrong", after="0001_mood")
    ended = bare.migrate()
    assert ended.returncode == 0, ended.stderr
    assert "accepted only because no run has ended well here yet" in ended.stderr
    bare.write("0004_mixes", f"op.execute('INSERT INTO person VALUES (2)')\n{SAD}", after="0003_mixes")
    ended = bare.migrate()
    assert (ended.returncode, "[not-repeatable]" in ended.stderr) == (3, True)
