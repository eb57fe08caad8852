"""What a message says to type, typed literally on a database with rows: it does what it promises, and no row is lost."""

from __future__ import annotations

import re
from collections.abc import Iterator

import psycopg2
import pytest
from psycopg2.extensions import connection as Connection

from railhead.dsn import Dsn
from railhead.postgres import blockers
from railhead.postgres.blockers import Blocker
from tests.databases import rows_of
from tests.forked_tree import Workshop
from tests.processes import eventually
from tests.project_tree import MIGRATE

ROWS = "op.create_table('note', sa.Column('id', sa.Integer), sa.Column('words', sa.Text))\nop.execute(\"INSERT INTO note VALUES (1, 'dear'), (2, 'kept')\")"
KEPT = [(1, "dear"), (2, "kept")]


def statements(told: str) -> list[str]:
    """Return the statements that a message says to type: its lines that end in a semicolon, or in a comment behind it."""
    lines = [line.strip() for line in told.splitlines()]
    return [line for line in lines if re.match(r"(?:next\s+)?[A-Z]{4,}\b.*;(?:\s+--.*)?$", line) and "..." not in line]


def failed(workshop: Workshop, upgrade: str) -> str:
    """Return what is told of a second revision that fails on two rows."""
    workshop.write("0001_first", ROWS)
    assert workshop.migrate().returncode == 0
    workshop.write("0002_second", upgrade)
    ended = workshop.migrate()
    assert ended.returncode == 5, ended.stderr
    return ended.stderr


MADE_BY_THE_HISTORY = {
    "a column": "op.add_column('note', sa.Column('words', sa.Text))",
    "a table": "op.create_table('note', sa.Column('id', sa.Integer))",
    "an index": "op.create_index('ix_note', 'note', ['id'])",
    "a type": "op.execute(\"CREATE TYPE mood AS ENUM ('good')\")",
    "a constraint": "op.create_check_constraint('few', 'note', 'id < 9')",
}


@pytest.mark.parametrize("what", MADE_BY_THE_HISTORY)
def test_what_the_history_makes_is_not_moved_out_of_the_way(bare: Workshop, database: Dsn, what: str) -> None:
    """The revision that makes it once more is wrong: without it the history goes on, and every row is where it was."""
    bare.write(
        "0001_first",
        f"{ROWS}\nop.create_index('ix_note', 'note', ['id'])\nop.execute(\"CREATE TYPE mood AS ENUM ('good')\")"
        "\nop.create_check_constraint('few', 'note', 'id < 9')\nop.execute('CREATE TABLE moody (m mood)')",
    )
    assert bare.migrate().returncode == 0
    bare.write("0002_second", MADE_BY_THE_HISTORY[what])
    told = bare.migrate().stderr
    assert "the history makes it already, and 0002_second.py is wrong" in told, told
    assert statements(told) == []
    bare.write("0002_second", "pass", after="0001_first")
    assert bare.migrate().returncode == 0
    assert rows_of(database, "SELECT * FROM note ORDER BY id") == KEPT


BY_HAND = {
    "a column": (
        "ALTER TABLE note ADD COLUMN extra text DEFAULT 'mine'",
        "op.add_column('note', sa.Column('extra', sa.Text))",
        "SELECT extra_old FROM note",
        [("mine",)] * 2,
    ),
    "a table": (
        "CREATE TABLE extra AS SELECT 1 AS n",
        "op.create_table('extra', sa.Column('id', sa.Integer))",
        "SELECT n FROM extra_old",
        [(1,)],
    ),
    "a schema": (
        "CREATE SCHEMA extra; CREATE TABLE extra.thing AS SELECT 1 AS n",
        "op.execute('CREATE SCHEMA extra')",
        "SELECT n FROM extra_old.thing",
        [(1,)],
    ),
    "a constraint": (
        "ALTER TABLE note ADD CONSTRAINT extra CHECK (id < 9)",
        "op.execute('ALTER TABLE note ADD CONSTRAINT extra CHECK (id < 99)')",
        "SELECT count(*) FROM pg_constraint WHERE conname = 'extra_old'",
        [(1,)],
    ),
    "an index": ("CREATE INDEX extra ON note (id)", "op.create_index('extra', 'note', ['words'])", "SELECT 1", [(1,)]),
    "a type": (
        "CREATE TYPE extra AS ENUM ('a')",
        "op.execute(\"CREATE TYPE extra AS ENUM ('b')\")",
        "SELECT 1",
        [(1,)],
    ),
}


@pytest.mark.parametrize("what", BY_HAND)
def test_what_somebody_made_by_hand_keeps_what_it_holds(bare: Workshop, database: Dsn, what: str) -> None:
    """It is put out of the way by the statement of the message, the run ends well, and it still has its rows."""
    by_hand, upgrade, question, answer = BY_HAND[what]
    bare.write("0001_first", ROWS)
    assert bare.migrate().returncode == 0
    rows_of(database, by_hand)
    bare.write("0002_second", upgrade)
    told = bare.migrate().stderr
    assert statements(told), told
    [statement] = statements(told)
    with psycopg2.connect(database) as connection:
        pass
    connection.autocommit = True
    connection.cursor().execute(statement)
    connection.close()
    assert bare.migrate().returncode == 0, told
    assert rows_of(database, question) == answer
    assert rows_of(database, "SELECT id, words FROM note ORDER BY id") == KEPT


ONLY_LOOK = {
    "a unique constraint": "op.execute('INSERT INTO note VALUES (1, NULL)')\nop.create_unique_constraint('uq', 'note', ['id'])",
    "a check": "op.create_check_constraint('few', 'note', 'id > 1')",
    "a foreign key": "op.create_foreign_key('fk', 'note', 'kin', ['id'], ['id'])",
    "not null": "op.execute('INSERT INTO note VALUES (3, NULL)')\nop.alter_column('note', 'words', nullable=False)",
}


@pytest.mark.parametrize("what", ONLY_LOOK)
def test_what_finds_rows_only_looks(bare: Workshop, database: Dsn, what: str) -> None:
    """The query of the message runs, changes nothing, and every row is still there."""
    rows_of(database, "CREATE TABLE kin (id int PRIMARY KEY)")
    told = failed(bare, ONLY_LOOK[what])
    query = re.findall(r"^\s*(?:next\s+)?(SELECT .*?;)\s*(?:\[|$)", told, re.MULTILINE | re.DOTALL)
    for each in query or re.findall(r"(SELECT [^;]*;)", told):
        rows_of(database, f"BEGIN READ ONLY; {each} COMMIT")
    assert rows_of(database, "SELECT id, words FROM note ORDER BY id") == KEPT


def test_a_prepared_transaction_keeps_what_it_has_done() -> None:
    """What ends it, typed literally, commits it; that the other way throws it away stands beside it."""
    end = Blocker(0, "it's mine", "prepared", 1.0, "").end
    assert end.startswith("COMMIT PREPARED 'it''s mine';")
    assert "throws away" in end


@pytest.fixture
def poor(database: Dsn) -> Iterator[Dsn]:
    """The same database for a role that sees nobody else's doing."""
    role = f"poor_{database.parameters()['dbname'][-8:]}"
    rows_of(database, f"CREATE ROLE {role} LOGIN PASSWORD 'narrow'; GRANT ALL ON SCHEMA public TO {role}")
    yield database.with_(user=role, password="narrow")
    rows_of(database, f"REVOKE ALL ON SCHEMA public FROM {role}; DROP OWNED BY {role}; DROP ROLE {role}")


def test_a_session_of_another_role_is_named_by_that(poor: Dsn, other_session: Connection) -> None:
    """Neither is its doing made up, nor is a statement handed out that this role may not say."""
    with other_session.cursor() as cursor:
        cursor.execute("SELECT 1")
    connection = psycopg2.connect(poor)
    pid = other_session.info.backend_pid
    [blocker] = blockers.find_blockers(connection, f"{blockers.SESSIONS} WHERE pid = %s", (pid,))
    connection.close()
    assert (blocker.is_hidden, blocker.may_end) == (True, False)
    assert "insufficient privilege" not in str(blocker)
    assert "for 0 s" not in str(blocker)
    assert f"of the role {other_session.info.user}" in str(blocker)
    assert "this role may not" in blocker.end
    [ours] = blockers.find_blockers(other_session, f"{blockers.SESSIONS} WHERE pid = %s", (pid,))
    assert (ours.is_hidden, ours.may_end) == (False, True)


def test_a_refused_start_is_in_the_ledger_once(at_head: Workshop, database: Dsn) -> None:
    """However often the platform tries it again; and status does not advise what would be refused."""
    rows_of(database, "INSERT INTO project (name) VALUES ('dear')")
    at_head.write(
        "0003_gone",
        "op.drop_table('sign_in_attempt')\nop.execute('DROP TABLE project CASCADE')",
        after="0002_add_task_due_on",
    )
    at_head.migrate("seal")
    for _ in range(2):
        assert "[hazard]" in at_head.migrate().stderr
    rows = rows_of(database, "SELECT action, outcome, error FROM migration_ledger WHERE outcome = 'failed'")
    assert len(rows) == 1
    assert str(rows[0][2]).startswith("refused: ")
    said = at_head.migrate("status").stdout
    assert "an upgrade would be refused, because of destroys-data of project" in said
    assert "python utils/migrate.py plan" in said


def test_status_says_to_wait_for_who_migrates(bare: Workshop, database: Dsn) -> None:
    """While somebody holds the lock another upgrade is no next step."""
    bare.write("0001_first", "op.execute('SELECT pg_sleep(20)')")
    migrator = bare.start(*MIGRATE, "upgrade")
    eventually(
        lambda: rows_of(
            database,
            "SELECT 1 FROM pg_stat_activity WHERE query LIKE '%pg_sleep%' AND datname = current_database() AND pid <> pg_backend_pid()",
        ),
        within=20,
    )
    said = bare.migrate("status").stdout
    migrator.end()
    assert "wait for the run that holds the lock" in said
    assert "python utils/migrate.py wait" in said


@pytest.mark.parametrize(
    ("variable", "words"),
    [
        ("RAILWAY_SERVICE_ID", "railway run railhead upgrade"),
        ("DYNO", "heroku run railhead upgrade"),
        ("KUBERNETES_SERVICE_HOST", "kubectl run"),
        ("VERCEL", "public URL"),
    ],
)
def test_a_failed_deploy_is_told_where_to_type(bare: Workshop, variable: str, words: str) -> None:
    """It has no shell."""
    bare.write("0001_first", "op.execute('SELECT absent')")
    ended = bare.run(
        MIGRATE[0], "-c", "from railhead import migrate_on_startup; migrate_on_startup()", **{variable: "x"}
    )
    assert ended.returncode == 3
    told = ended.stdout + ended.stderr
    assert words in told, told
    assert "a failed deploy has no shell" in told
