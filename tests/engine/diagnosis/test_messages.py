"""Why a migration failed: each kind of failure is provoked on a real server, and its whole message compared.

What fails and what is said stand side by side in `failures.txt`.
"""

from __future__ import annotations

import re
import textwrap
from pathlib import Path
from typing import NamedTuple

import pytest

from railhead.diagnosis.sqlstates import CASES
from railhead.dsn import Dsn
from tests.databases import rows_of
from tests.forked_tree import Workshop

FAILURES = Path(__file__).with_name("failures.txt")

BASE = """
    CREATE TABLE alembic_version (version_num varchar(32) PRIMARY KEY); INSERT INTO alembic_version VALUES ('0001_base');
    CREATE TYPE status AS ENUM ('todo', 'done'); CREATE TYPE left_behind AS ENUM ('x');
    CREATE TABLE member (id int PRIMARY KEY, name text, email text, "Shoe Size" int);
    CREATE TABLE task (id int PRIMARY KEY, member_id int, n int, state status);
    CREATE SCHEMA archive; CREATE TABLE archive.note (id int PRIMARY KEY, words text); INSERT INTO archive.note VALUES (1);
    CREATE TYPE archive."Mood" AS ENUM ('a'); CREATE INDEX ix_words ON archive.note (words);
    CREATE INDEX ix_task_n ON task (n);
    CREATE VIEW names AS SELECT name FROM member;
    CREATE FUNCTION half(int) RETURNS int LANGUAGE sql AS 'SELECT $1 / 2';
    INSERT INTO member VALUES (1, 'Ada', 'ada@example.org'), (2, 'Ada', NULL);
    INSERT INTO task VALUES (1, 1, 5), (2, 7, -1);
    ALTER TABLE task ADD CONSTRAINT positive CHECK (n > 0) NOT VALID;
    ALTER TABLE task ADD CONSTRAINT of_member FOREIGN KEY (member_id) REFERENCES member (id) NOT VALID;
    ALTER TABLE task ADD CONSTRAINT later FOREIGN KEY (member_id) REFERENCES member (id) DEFERRABLE INITIALLY DEFERRED NOT VALID;
    CREATE TABLE measured (n int) PARTITION BY RANGE (n); CREATE TABLE early PARTITION OF measured FOR VALUES FROM (0) TO (10);
    CREATE TABLE late (n int); INSERT INTO late VALUES (5);
    CREATE DOMAIN score AS int; CREATE DOMAIN given AS int NOT NULL CONSTRAINT small CHECK (VALUE < 9);
    GRANT USAGE ON SCHEMA archive TO PUBLIC; CREATE SEQUENCE ticket; REVOKE EXECUTE ON FUNCTION half(int) FROM PUBLIC;
    CREATE TABLE archive.secret (id int); ALTER TABLE archive.secret ENABLE ROW LEVEL SECURITY; GRANT INSERT ON archive.secret TO PUBLIC;
    CREATE TABLE game (points score, "Bonus" score); INSERT INTO game VALUES (-1, NULL)
"""


_NEWER_WORDS = "  detail     Only roles with the CREATEROLE attribute may create roles.\n"
"""What only PostgreSQL 16 and newer add."""


class Failing(NamedTuple):
    """What a second revision does, what the process is told, and how it ends."""

    upgrade: str
    as_poor: bool
    code: int
    message: str

    @property
    def slug(self) -> str:
        """What the message ends with."""
        return re.findall(r"\[([\w-]+)\]$", self.message)[-1]


def failures() -> list[Failing]:
    """Return what failures.txt holds: blocks of code, exit code and message."""
    blocks = re.split(r"^=== ?", FAILURES.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    return [_parsed(block) for block in blocks]


def _parsed(block: str) -> Failing:
    upgrade, head, message = re.split(r"^--- (.*)\n", block, flags=re.MULTILINE)
    code, *as_poor = head.split()
    return Failing(upgrade.strip(), bool(as_poor), int(code), message.strip("\n"))


@pytest.mark.parametrize(
    "failing", failures(), ids=lambda failing: f"{failing.slug}: {failing.upgrade.splitlines()[0]}"[:60]
)
def test_a_failure_says_what_happened_and_what_to_do(poor: Dsn, bare: Workshop, failing: Failing) -> None:
    """The message names the rows, the object or the right that is missing, keeps PostgreSQL's words, and ends with what to type."""
    assert bare.database
    _prepare(bare, poor)
    bare.write("0001_base")
    bare.write("0002_change", failing.upgrade, extra='accepted_hazards = {"not-repeatable": "a test"}')
    if failing.as_poor:
        bare.database = poor.with_(dbname=bare.database.parameters()["dbname"])
    ended = bare.migrate(MIGRATE_WAIT_LOCK="200ms", MIGRATE_WAIT_DATABASE="200ms")
    assert message(ended.stderr, poor) == failing.message
    assert ended.returncode == failing.code


def test_every_case_is_provoked() -> None:
    """Each SQLSTATE that has advice stands in failures.txt with it."""
    provoked = set(re.findall(r"\(SQLSTATE (\w+)\)", FAILURES.read_text(encoding="utf-8")))
    assert set(CASES) - provoked == set()


def test_the_ledger_keeps_the_sentence_and_not_what_people_typed(bare: Workshop) -> None:
    """The row of a failure has PostgreSQL's sentence and SQLSTATE; the detail, which holds the values of a row, is not in it."""
    assert bare.database
    rows_of(bare.database, BASE)
    bare.write("0001_base")
    bare.write("0002_change", 'op.create_unique_constraint("uq_member_name", "member", ["name"])')
    assert "(Ada) is duplicated" in bare.migrate().stderr
    kept = rows_of(bare.database, "SELECT error FROM migration_ledger WHERE outcome = 'failed'")
    assert kept == [('could not create unique index "uq_member_name" (SQLSTATE 23505)',)]


def test_the_command_that_is_named_repeats_what_was_asked_for(bare: Workshop) -> None:
    """After a failed downgrade the message says how to go down again, not how to go up."""
    bare.write("0001_base", 'op.execute("CREATE TABLE task ()")', 'op.execute("DROP TABLE tusk")')
    assert bare.migrate().returncode == 0
    ended = bare.migrate("downgrade", "base", "--yes")
    assert "the table tusk does not exist" in ended.stderr
    assert ended.stderr.rstrip().endswith("[undefined-object]")
    assert "python utils/migrate.py downgrade base " in ended.stderr


@pytest.mark.parametrize("command", ["upgrade", "seal"])
def test_a_search_path_that_leads_past_our_tables_is_told_as_such(bare: Workshop, command: str) -> None:
    """The output of pg_dump empties it; what the message says mends that."""
    lines = ["SELECT pg_catalog.set_config('search_path', '', false)", "CREATE TABLE public.dumped (id int)"]
    file = bare.write("0001_dump", "\n".join(f'op.execute("{line}")' for line in lines))
    ended = bare.migrate(command)
    assert ended.returncode == (5 if command == "upgrade" else 3)
    assert "take the line that sets search_path out of 0001_dump.py" in ended.stderr
    file.write_text(file.read_text().replace('(id int)")', '(id int)")\n    op.execute("RESET search_path")'))
    assert bare.migrate(command).returncode == 0


def test_a_server_without_room_is_told_as_such(poor: Dsn, bare: Workshop) -> None:
    """When every connection is taken for as long as we may wait, the message says so, and how to see who has them."""
    assert bare.database
    rows_of(bare.database, f"ALTER ROLE {poor.parameters()['user']} CONNECTION LIMIT 0")
    administrator, bare.database = bare.database, poor.with_(dbname=bare.database.parameters()["dbname"])
    bare.write("0001_base")
    ended = bare.migrate("upgrade", MIGRATE_WAIT_DATABASE="100ms")
    rows_of(administrator, f"ALTER ROLE {poor.parameters()['user']} CONNECTION LIMIT -1")
    told = re.sub(r"postgresql://\S+", "URL", message(ended.stderr, poor))
    told = re.sub(r"connection to server .*: FATAL", "FATAL", told)
    assert told == textwrap.dedent(
        """\
        upgrade stopped: the server has no connection left for us

          server     URL (DATABASE_URL)
          PostgreSQL FATAL:  too many connections for role "POOR"
          waited     0 s (MIGRATE_WAIT_DATABASE)
          database   not touched

          next       see who has them, lower WEB_CONCURRENCY or the number of replicas, or raise max_connections:
                     SELECT usename, application_name, count(*) FROM pg_stat_activity GROUP BY 1, 2 ORDER BY 3 DESC;  [too-many-connections]"""
    )
    assert ended.returncode == 3


def _prepare(tree: Workshop, poor: Dsn) -> None:
    assert tree.database
    role = poor.parameters()["user"]
    rows_of(tree.database, BASE)
    rows_of(
        tree.database,
        f"GRANT SELECT, UPDATE, INSERT, DELETE ON alembic_version TO {role}; GRANT USAGE, CREATE ON SCHEMA public TO {role}",
    )


def message(text: str, poor: Dsn) -> str:
    """Return the last message in `text`, without what differs from run to run."""
    told = text[text.index("upgrade stopped: ") :].rstrip("\n")
    told = told.replace(poor.parameters()["user"], "POOR")
    told = re.sub(r"this database has \d+ kB", "this database has N kB", told)
    told = re.sub(r"\bpid \d+.*", "pid N ...", told)
    told = told.replace(_NEWER_WORDS, "")
    return re.sub(r"railhead_test_\w+", "DATABASE", told)
