"""The doctor: each thing that could bite is provoked and found, alone; what is told to mend it makes it go away."""

from __future__ import annotations

import json
import subprocess
import sys
import uuid
from contextlib import closing
from typing import NamedTuple

import psycopg2
import pytest
from sqlalchemy import MetaData

from railhead.commands import doctor
from railhead.commands.doctor_settings import CheckMessage
from railhead.dsn import Dsn
from railhead.settings import Secret, Settings
from tests.databases import Databases, rows_of
from tests.forked_tree import Workshop
from tests.processes import eventually
from tests.project.models import Base
from tests.project_tree import PROJECT


@pytest.fixture
def healthy(databases: Databases, head: str) -> Dsn:
    """A database at head."""
    return databases.new(head)


def metadata() -> MetaData:
    """Return what models.py says."""
    return Base.metadata


def found(dsn: Dsn, **given: object) -> list[CheckMessage]:
    """Return what the doctor finds in a database, without what the files of the day may add."""
    settings = Settings(database=dsn, migrate_database=dsn, project=PROJECT)._replace(**given)  # type: ignore[arg-type]
    return [one for one in doctor.examine(settings, metadata, long=0.05) if one.slug != "stale-manifest"]


def test_a_healthy_project_has_nothing_to_tell(at_head: Workshop) -> None:
    """At head the doctor finds nothing, in words and in JSON, and ends with 0."""
    ended = at_head.migrate("doctor")
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "nothing found\n", "")
    assert json.loads(at_head.migrate("doctor", "--json").stdout) == []


class Ill(NamedTuple):
    """What is done to a database at head, what is found, and what to do about it; SQL is really done, and heals."""

    do: str
    slug: str
    what: str
    next: str
    beside: tuple[str, ...] = ()
    """Slugs of what is rightly found as well."""


ILL = [
    Ill(
        "CREATE INDEX broken ON task (title); UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'broken'::regclass",
        "invalid-index",
        "the index broken on task is INVALID: it is written and never read",
        "REINDEX INDEX CONCURRENTLY broken;",
        ("drifted",),
    ),
    Ill(
        "ALTER TABLE task ADD CONSTRAINT few CHECK (id < 9) NOT VALID",
        "not-validated",
        "the constraint few of task is NOT VALID: older rows were never looked at",
        'op.validate_constraint("few", "task")',
        ("drifted",),
    ),
    Ill(
        "ALTER TYPE task_status ADD VALUE 'late'",
        "enum-differs",
        "enum task_status is todo, doing, done in models.py and todo, doing, done, late in the database",
        'alembic revision --autogenerate -m "..."',
        ("drifted",),
    ),
    Ill(
        "ALTER TABLE task ADD note text",
        "drifted",
        "changed outside the migrations: column task.note added",
        "python utils/migrate.py drift",
    ),
    Ill(
        "DROP INDEX ix_task_status; UPDATE migration_ledger SET catalog = NULL",
        "models-ahead",
        "models.py and the migrations differ: index task.ix_task_status is in models.py only",
        'alembic revision --autogenerate -m "..."',
    ),
    Ill(
        "UPDATE migration_ledger SET checksum = '0123456789abcdef' WHERE revision = '0001_baseline'",
        "edited",
        "0001_baseline.py was applied and means something else now",
        "take the change back (git log -p), and write a new revision for it",
    ),
    Ill(
        "INSERT INTO migration_ledger (run, action, outcome, actor, revision) VALUES ('x', 'upgrade', 'started', 'me', '0002_add_task_due_on')",
        "half-done",
        "0002_add_task_due_on was begun outside a transaction and never finished",
        "python utils/migrate.py upgrade",
    ),
    Ill(
        "UPDATE alembic_version SET version_num = '0001_baseline'; ALTER TABLE alembic_version ALTER version_num TYPE varchar(14)",
        "long-id",
        "alembic_version holds 14 characters, too few for 0002_add_task_due_on",
        "ALTER TABLE alembic_version ALTER COLUMN version_num TYPE varchar(32);",
        ("behind",),
    ),
    Ill(
        "UPDATE alembic_version SET version_num = 'deadbeef'",
        "unknown",
        "the database is unknown: at deadbeef",
        "python utils/migrate.py status",
    ),
    Ill("DELETE FROM alembic_version", "unmanaged", "the database is unmanaged: without a version", "python utils/migrate.py status"),
]  # fmt: skip


@pytest.mark.parametrize("ill", ILL, ids=lambda ill: f"{ill.slug}: {ill.do}"[:50])
def test_what_is_wrong_in_the_database_is_found(healthy: Dsn, ill: Ill) -> None:
    """It is found by its slug, told with its names, and nothing is told beside it that is not so; SQL that mends it does."""
    assert found(healthy) == []
    rows_of(healthy, ill.do)
    told = found(healthy)
    mine = [one for one in told if one.slug == ill.slug]
    assert [(one.what[: len(ill.what)], one.next) for one in mine] == [(ill.what, ill.next)]
    assert {one.slug for one in told} - {ill.slug} == set(ill.beside)
    if ill.next.endswith(";"):
        rows_of(healthy, ill.next)
        assert ill.slug not in {one.slug for one in found(healthy)}


def test_a_transaction_left_open_is_found_and_may_be_ended(healthy: Dsn) -> None:
    """Who sits idle in a transaction is named with pid, application and age; ending him is what mends it."""
    with closing(psycopg2.connect(healthy, application_name="forgotten")) as session, session.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM task")
        eventually(lambda: found(healthy))
        (one,) = found(healthy)
        assert one.slug == "idle-in-transaction"
        assert f"pid {session.info.backend_pid}, forgotten, idle in transaction for " in one.what
        assert one.next == f"SELECT pg_terminate_backend({session.info.backend_pid});"
        rows_of(healthy, one.next)
        eventually(lambda: not found(healthy))


def test_a_statement_that_works_for_long_is_found(healthy: Dsn) -> None:
    """A transaction that is busy is told apart from one that idles."""
    sleeper = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys, psycopg2; psycopg2.connect(sys.argv[1]).cursor().execute('SELECT pg_sleep(60)')",
            healthy[:],
        ]
    )
    try:
        eventually(lambda: [one.slug for one in found(healthy)] == ["long-transaction"])
    finally:
        rows_of(
            healthy,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND query = 'SELECT pg_sleep(60)'",
        )
        sleeper.wait()


def test_a_prepared_transaction_is_found_with_what_it_locks(healthy: Dsn) -> None:
    """A transaction that was prepared and forgotten is named, with the tables that it holds."""
    if rows_of(healthy, "SHOW max_prepared_transactions") == [("0",)]:
        pytest.skip("this server allows no prepared transactions")
    name = f"forgotten {uuid.uuid4().hex}"
    with closing(psycopg2.connect(healthy)) as session, session.cursor() as cursor:
        cursor.execute("LOCK TABLE task IN SHARE MODE")
        cursor.execute(f"PREPARE TRANSACTION '{name}'")
    try:
        (one,) = found(healthy)
    finally:
        rows_of(healthy, f"ROLLBACK PREPARED '{name}'")
    assert one.slug == "prepared-transaction"
    assert f"prepared the transaction {name}" in one.what
    assert one.what.endswith("and holds locks on task")
    assert one.next == f"COMMIT PREPARED '{name}';   or   ROLLBACK PREPARED '{name}';"


PRODUCTION = {"production": True, "secret_key": Secret("x")}
SETTINGS = [
    ({"wait_lock": 300.0}, "wait-lock-long", "MIGRATE_WAIT_LOCK is 300 s, and Railway gives up on a start after 300 s"),
    ({"lock_timeout": 1.0}, "lock-timeout-long", "MIGRATE_LOCK_TIMEOUT is 1000 ms, and deadlock_timeout 1000 ms"),
    ({**PRODUCTION, "wait_database": 5.0}, "wait-database-short", "MIGRATE_WAIT_DATABASE is 5 s"),
    ({**PRODUCTION, "dev_create_tables": True}, "dev-create-tables", "DEV_CREATE_TABLES is set in production"),
    ({**PRODUCTION, "secret_key": None}, "no-secret-key", "SECRET_KEY is not set"),
    ({**PRODUCTION, "hazards": "ignore"}, "hazards-ignored", "MIGRATE_HAZARDS=ignore"),
]


@pytest.mark.parametrize(("given", "slug", "words"), SETTINGS, ids=[slug for _, slug, _ in SETTINGS])
def test_a_setting_that_bites_is_found(healthy: Dsn, given: dict[str, object], slug: str, words: str) -> None:
    """Each is told with its value; in production a superuser's application is told too, and nothing else."""
    told = found(healthy, **given)
    assert [one.what for one in told if one.slug == slug and one.what.startswith(words)]
    assert {one.slug for one in told} - {slug} <= {"superuser"}


def test_a_superuser_serves_in_production_only_with_a_word(healthy: Dsn) -> None:
    """The application's role is looked at, and told when it may do everything."""
    if rows_of(healthy, "SELECT rolsuper FROM pg_roles WHERE rolname = current_user") == [(False,)]:
        pytest.skip("the tests' own role is no superuser")
    assert [one.slug for one in found(healthy, **PRODUCTION)] == ["superuser"]


def test_a_role_without_rights_is_told_what_it_lacks(poor: Dsn, healthy: Dsn) -> None:
    """Rights to read and write, to create, and to alter are each told with the GRANT; after those nothing is missing."""
    role = poor.parameters()["user"]
    mine = poor.with_(dbname=healthy.parameters()["dbname"])
    rows_of(
        healthy,
        f"GRANT SELECT ON alembic_version, migration_ledger TO {role}; REVOKE CREATE ON SCHEMA public FROM PUBLIC",
    )
    told = {one.slug: one for one in found(mine)}
    assert [one.what for one in found(mine) if one.slug == "missing-privilege"] == [
        "the application's role may not read and write member, project, sign_in_attempt, task",
        "the role of migrations may not create anything in public (DATABASE_URL)",
    ]
    assert told["not-owner"].what.startswith(
        "the role of migrations does not own alembic_version, member, migration_ledger, project, sign_in_attempt, task"
    )
    for one in found(mine):
        for statement in one.next.splitlines():
            if statement.startswith(("GRANT SELECT", "GRANT USAGE")):
                rows_of(healthy, statement)
    assert {one.slug for one in found(mine)} == {"not-owner"}


def test_a_version_that_may_not_be_read_is_a_missing_right(poor: Dsn, healthy: Dsn) -> None:
    """Where the application's role may not even read alembic_version, that is told with its GRANT, and the rest is looked at."""
    mine = poor.with_(dbname=healthy.parameters()["dbname"])
    told = found(mine, migrate_database=healthy, migrate_variable="MIGRATE_DATABASE_URL")
    assert [one.slug for one in told] == ["missing-privilege"]
    assert "permission denied for table alembic_version (SQLSTATE 42501)" in told[0].what
    assert f"GRANT SELECT ON alembic_version TO {poor.parameters()['user']};" in told[0].next


def test_a_place_that_cannot_be_written_is_found(healthy: Dsn) -> None:
    """Migrations that would meet a standby, or default_transaction_read_only, are told so; and looking needs no right to write."""
    told = found(healthy.with_(options="-c default_transaction_read_only=on"))
    assert [one.slug for one in told] == ["read-only"]


def test_two_databases_are_found(healthy: Dsn, databases: Databases) -> None:
    """Two URLs that lead to two databases are told with both variables and both addresses, without a password."""
    other = databases.new().with_(password="p@ss/w%rd:é")
    (one,) = [
        one
        for one in found(healthy, migrate_database=other, migrate_variable="MIGRATE_DATABASE_URL")
        if one.slug == "two-databases"
    ]
    assert one.what == "DATABASE_URL and MIGRATE_DATABASE_URL name two different databases"
    assert "***" in one.next
    assert "w%rd" not in one.next


def test_a_database_that_does_not_answer_is_a_finding(healthy: Dsn) -> None:
    """What the settings say is told all the same."""
    gone = healthy.with_(host="127.0.0.1", port="1")
    assert [one.slug for one in found(gone, wait_lock=600.0)] == ["wait-lock-long", "unreachable"]


def test_what_is_wrong_with_the_files_is_found(at_head: Workshop) -> None:
    """A stale manifest, and then a forked history, are told with what mends them; findings end with exit code 1."""
    at_head.write("0003_mine", after="0002_add_task_due_on")
    ended = at_head.migrate("doctor", "--json")
    assert ended.returncode == 1
    told = json.loads(ended.stdout)
    assert [(one["slug"], one["next"]) for one in told] == [
        ("stale-manifest", "python utils/migrate.py seal"),
        ("behind", "python utils/migrate.py status"),
    ]
    at_head.write("0003_yours", after="0002_add_task_due_on")
    told = json.loads(at_head.migrate("doctor", "--json").stdout)
    assert [one["slug"] for one in told] == ["forked"]
    assert "migrate.py rebase 0003_yours" in told[0]["next"]
