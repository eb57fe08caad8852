"""A run whose transaction somebody else ends or owns never says that it is done."""

from __future__ import annotations

import sys

import pytest

from railhead.dsn import Dsn
from tests.chaos import server_state
from tests.databases import rows_of
from tests.forked_tree import Workshop
from tests.project_tree import ALEMBIC, MIGRATE, Tree

WAYS = {
    "migrate.py": (*MIGRATE, "upgrade", "head"),
    "alembic": (*ALEMBIC, "upgrade", "head"),
    "factory": (sys.executable, "-c", "import app; app.create_app()"),
}
"""How one gets in; the factory's messages are on standard output, and it always ends with 3, which halts gunicorn."""

BEGUN = "op.add_column('thing', sa.Column('a', sa.Text))"

ROLLBACKS = {
    "in SQL": f"{BEGUN}\nop.execute('ROLLBACK')",
    "and begins in SQL": f"{BEGUN}\nop.execute('ROLLBACK; BEGIN')",
    "SQLAlchemy's connection": f"{BEGUN}\nop.get_bind().rollback()",
    "the driver's connection": f"{BEGUN}\nop.get_bind().connection.dbapi_connection.rollback()",
    "and goes on": f"{BEGUN}\nop.get_bind().rollback()\nop.add_column('thing', sa.Column('b', sa.Text))",
}
"""How a revision may take back its own work."""

UNHEARD = "import psycopg2.extensions as raw\nraw.connection.{does}(op.get_bind().connection.dbapi_connection)"
THIEVES = {
    "rolls back": f"{BEGUN}\n{UNHEARD.format(does='rollback')}",
    "commits": f"{BEGUN}\n{UNHEARD.format(does='commit')}",
    "commits and goes on": f"{BEGUN}\n{UNHEARD.format(does='commit')}\nop.add_column('thing', sa.Column('b', sa.Text))",
}
"""What a revision may do to the transaction that was begun for it so that nobody hears of it beforehand."""

ACCEPTED = 'accepted_hazards = {"not-repeatable": "tried"}'

LISTENER = """
from sqlalchemy import Engine, event, text

@event.listens_for(Engine, {event!r})
def first(connection):
    {does}

"""

STOCK = """
from alembic import context
import os
import psycopg2
from sqlalchemy import create_engine

engine = create_engine("postgresql+psycopg2://", creator=lambda: psycopg2.connect(os.environ["DATABASE_URL"]))
with engine.connect() as connection:
    context.configure(connection=connection)
    with context.begin_transaction():
        context.run_migrations()
"""


@pytest.mark.parametrize("thief", THIEVES)
def test_revision_that_ends_its_transaction_unheard_is_told_so(at_first: Workshop, database: Dsn, thief: str) -> None:
    """It is never recorded as applied, the version does not move, and the message says what may have stayed behind."""
    at_first.write("0002_thief", THIEVES[thief], extra=ACCEPTED)
    result = at_first.migrate()
    assert result.returncode == 6, result.stderr
    assert "0002_thief ended the transaction that was begun for it" in result.stderr
    assert "part of 0002_thief may stay behind" in result.stderr
    assert "[stolen-transaction]" in result.stderr
    assert server_state.versions(database) == ["0001_thing"]
    assert server_state.applied(database) == ["0001_thing"]


@pytest.mark.parametrize("how", ROLLBACKS)
@pytest.mark.parametrize("first", [True, False], ids=["with tables", "from nothing"])
def test_revision_that_takes_back_its_own_work_is_not_applied(
    bare: Workshop, database: Dsn, how: str, first: bool
) -> None:
    """Its work is gone, so it is not recorded, whoever has accepted what; those before it stay, and the message names it."""
    bare.write("0001_thing", "op.create_table('thing', sa.Column('id', sa.Integer, primary_key=True))")
    if first:
        assert bare.migrate().returncode == 0
    bare.write("0002_back", ROLLBACKS[how], extra=ACCEPTED)
    bare.write("0003_last", "op.create_table('last', sa.Column('id', sa.Integer, primary_key=True))")
    result = bare.migrate()
    assert result.returncode == 5, result.stderr
    assert "0002_back rolls back what it has done itself" in result.stderr
    assert server_state.versions(database) == server_state.applied(database) == ["0001_thing"]


@pytest.mark.parametrize("thief", THIEVES)
def test_thief_among_many_on_an_empty_database_is_told_so(bare: Workshop, database: Dsn, thief: str) -> None:
    """Where one transaction holds all revisions, none of them may take it unheard; the next one is not blamed."""
    bare.write("0001_thing", "op.create_table('thing', sa.Column('id', sa.Integer, primary_key=True))")
    bare.write("0002_thief", THIEVES[thief])
    bare.write("0003_last", "op.create_table('last', sa.Column('id', sa.Integer, primary_key=True))")
    result = bare.migrate()
    assert result.returncode == 6, result.stderr
    assert "0002_thief ended the transaction that was begun for it" in result.stderr
    assert "0003_last" not in result.stderr.partition("stopped")[2]
    assert server_state.applied(database) == []


def test_revision_that_moves_the_version_is_told_so(at_first: Workshop, database: Dsn) -> None:
    """Whoever changes alembic_version beside us, nothing is written over it, and nothing stays of the revision."""
    at_first.write("0002_mover", f"{BEGUN}\nop.execute(\"UPDATE alembic_version SET version_num = 'elsewhere'\")")
    result = at_first.migrate()
    assert result.returncode == 5, result.stderr
    assert "something else than Railhead has changed alembic_version meanwhile" in result.stderr
    assert "expected   0001_thing" in result.stderr
    assert "unchanged, at 0001_thing" in result.stderr
    assert "[version-moved]" in result.stderr
    assert server_state.versions(database) == server_state.applied(database) == ["0001_thing"]


def test_thief_is_seen_where_the_ledger_takes_anything(at_first: Workshop, database: Dsn) -> None:
    """What may be committed does not hang on the columns of a table that anybody can alter."""
    columns = ", ".join(f"ALTER {name} DROP NOT NULL" for name in ("run", "action", "outcome"))
    rows_of(database, f"ALTER TABLE migration_ledger {columns}")
    at_first.write("0002_thief", THIEVES["commits and goes on"])
    at_first.write("0003_more", "op.add_column('thing', sa.Column('b', sa.Text))")
    result = at_first.migrate()
    assert result.returncode == 6, result.stderr
    assert "[stolen-transaction]" in result.stderr
    assert server_state.versions(database) == server_state.applied(database) == ["0001_thing"]


ROLE = """cursor = connection.connection.dbapi_connection.cursor()
    cursor.execute("SET LOCAL ROLE pg_monitor")"""
LEVEL = "connection.connection.dbapi_connection.isolation_level = 3"


@pytest.mark.parametrize(
    ("event", "does", "shown", "expected"),
    [
        ("begin", ROLE, "current_user", "pg_monitor"),
        ("engine_connect", LEVEL, "current_setting('transaction_isolation')", "serializable"),
    ],
    ids=["role", "isolation level"],
)
def test_what_env_does_for_each_transaction_holds_in_each(
    at_first: Workshop, database: Dsn, event: str, does: str, shown: str, expected: str
) -> None:
    """A listener for SQLAlchemy's transactions, or a level that the driver was given, is there in every revision's."""
    rows_of(
        database, "CREATE TABLE seen (told text); GRANT ALL ON seen, alembic_version, migration_ledger TO pg_monitor"
    )
    _listen(at_first, event, does)
    for number in range(2, 5):
        at_first.write(f"{number:04}_look", f'op.execute("INSERT INTO seen SELECT {shown}")')
    result = at_first.migrate()
    assert result.returncode == 0, result.stderr
    assert rows_of(database, "SELECT told FROM seen") == [(expected,)] * 3


@pytest.mark.parametrize("way", WAYS)
def test_env_that_executes_something_first_is_told_so(at_first: Workshop, database: Dsn, way: str) -> None:
    """Alembic would take the transaction for somebody else's and commit nothing, and say that all went well."""
    at_first.write("0002_more", BEGUN)
    _listen(at_first, "engine_connect", "connection.execute(text('SELECT 1'))")
    result = at_first.run(*WAYS[way])
    assert result.returncode == 3, result.stderr
    assert "[not-our-transaction]" in (result.stdout if way == "factory" else result.stderr)
    assert server_state.versions(database) == ["0001_thing"]


@pytest.mark.parametrize("way", WAYS)
def test_commit_that_commits_nothing_is_seen_from_outside(at_first: Workshop, database: Dsn, way: str) -> None:
    """Whatever goes wrong without an error: a fresh connection looks whether the version is there."""
    at_first.write("0002_more", BEGUN)
    _listen(at_first, "commit", "connection.connection.dbapi_connection.rollback()")
    result = at_first.run(*WAYS[way])
    assert result.returncode == (3 if way == "factory" else 6), result.stderr
    assert "[not-verified]" in (result.stdout if way == "factory" else result.stderr)
    assert "database is at" not in result.stdout
    assert server_state.versions(database) == ["0001_thing"]


def test_env_that_does_its_own_work_is_told_so(at_first: Workshop, database: Dsn) -> None:
    """A stock env.py gives no account of what it did, so nothing is claimed."""
    at_first.write("0002_more", BEGUN)
    (at_first.root / "migrations" / "env.py").write_text(STOCK)
    result = at_first.migrate()
    assert result.returncode == 6, result.stderr
    assert "[not-entered]" in result.stderr
    assert rows_of(database, "SELECT count(*) FROM migration_ledger") == [(1,)]


def _listen(tree: Tree, event: str, does: str) -> None:
    env = tree.root / "migrations" / "env.py"
    before, hand_over, after = env.read_text().partition("entry.enter(")
    env.write_text(before + LISTENER.format(event=event, does=does) + hand_over + after)
