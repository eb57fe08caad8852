"""The story of a run: one transaction a revision, short waits, the lock, and what is said in the end."""

from __future__ import annotations

import re
import subprocess
import sys
import textwrap
from collections.abc import Iterator

import psycopg2
import pytest
from psycopg2.extensions import connection as Connection

from railhead.commands import create_tables, wait
from railhead.dsn import Dsn
from railhead.errors import Stop
from railhead.execution import entry
from railhead.postgres import advisory_lock
from railhead.settings import Settings
from tests.databases import named, rows_of, url_of
from tests.forked_tree import Workshop
from tests.processes import eventually
from tests.project.models import Base
from tests.project_tree import ALEMBIC

HEAD = "0002_add_task_due_on"
TABLE = "op.create_table('note', sa.Column('id', sa.Integer))"


@pytest.fixture
def held(database: Dsn) -> Iterator[advisory_lock.Lock]:
    """The migration lock, held by somebody else."""
    connection = psycopg2.connect(database.with_(application_name="railhead upgrade @ web-2"))
    connection.autocommit = True
    taken = advisory_lock.Lock(connection)
    assert taken.try_take()
    yield taken
    taken.release()


def told(text: str) -> str:
    """Return a message with its numbers made equal."""
    return re.sub(r"(pid|for|after) \d+", r"\1 N", text)


def test_what_a_run_did_is_what_it_says(settings: Settings) -> None:
    """An outcome tells where the database was, where it is, and the revisions between, in order."""
    first = entry.migrate("upgrade", "head", settings)
    assert (first.before, first.after, first.applied) == ((), (HEAD,), ("0001_baseline", HEAD))
    assert re.fullmatch(rf"upgrade: 2 revisions, the database is at {HEAD} \(\d+\.\d\d s\)", str(first))
    second = entry.migrate("upgrade", "head", settings)
    assert (second.applied, str(second)) == ((), f"upgrade: nothing to do, the database is at {HEAD}")
    back = entry.migrate("downgrade", "base", settings)
    assert (back.after, back.applied) == ((), (HEAD, "0001_baseline"))
    assert str(back).startswith("downgrade: 2 revisions, the database is at base (")


def test_a_plan_is_what_a_run_would_do(settings: Settings, database: Dsn) -> None:
    """`plan` gives the steps in order and touches nothing."""
    steps = entry.plan("upgrade", "head", settings)
    assert [step.revision for step in steps] == ["0001_baseline", HEAD]
    assert rows_of(database, "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace") == []
    entry.migrate("upgrade", "head", settings)
    assert entry.plan("upgrade", "head", settings) == []
    assert [step.revision for step in entry.plan("downgrade", "-1", settings)] == [HEAD]


def test_a_migration_runs_with_short_waits(bare: Workshop, database: Dsn) -> None:
    """On a database in use a migration stands in a lock queue for 100 ms at most, and for a statement as long as it takes."""
    bare.write("0001_first", TABLE)
    bare.migrate()
    limits = "lock_timeout", "statement_timeout", "idle_in_transaction_session_timeout"
    columns = ", ".join(f"current_setting('{name}') AS {name}" for name in limits)
    bare.write("0002_second", f'op.execute("CREATE TABLE seen AS SELECT {columns}")')
    bare.write("0003_third", f'op.execute("INSERT INTO seen SELECT {columns}")')
    assert bare.migrate(MIGRATE_STATEMENT_TIMEOUT="2min").returncode == 0
    assert rows_of(database, "SELECT * FROM seen") == [("100ms", "2min", "1min")] * 2


def test_a_statement_that_takes_too_long_is_ended(bare: Workshop, database: Dsn) -> None:
    """MIGRATE_STATEMENT_TIMEOUT ends a statement, and the run with it."""
    bare.write("0001_first", f"{TABLE}\nop.execute('SELECT pg_sleep(60)')")
    ended = bare.migrate(MIGRATE_STATEMENT_TIMEOUT="100ms")
    assert (ended.returncode, "SQLSTATE 57014" in ended.stderr) == (5, True)
    assert rows_of(database, "SELECT to_regclass('note')") == [(None,)]


def test_an_empty_database_is_filled_at_once(settings: Settings, database: Dsn) -> None:
    """Where there is no table there is no traffic to protect: the first run is one transaction."""
    entry.migrate("upgrade", "head", settings)
    columns = "SELECT xmin FROM pg_attribute WHERE (attrelid = 'project'::regclass AND attname = 'name')"
    columns += " OR (attrelid = 'task'::regclass AND attname = 'due_on')"
    version = rows_of(database, "SELECT xmin FROM alembic_version")
    assert rows_of(database, columns) == version * 2
    assert rows_of(database, "SELECT xmin FROM migration_ledger WHERE revision = '0001_baseline'") == version


def test_a_database_in_use_moves_one_revision_at_a_time(bare: Workshop, database: Dsn) -> None:
    """Where there are tables, each revision is committed before the next begins."""
    bare.write("0001_first", TABLE)
    bare.migrate()
    bare.write("0002_second", extra="breaking = False")  # so that nothing is left to be added to its row afterwards
    bare.write("0003_third", extra="breaking = False")
    assert bare.migrate().returncode == 0
    assert rows_of(database, "SELECT count(DISTINCT xmin::text) FROM migration_ledger") == [(3,)]


@pytest.mark.parametrize("after", [(), ("0004_last",)], ids=["last", "in the middle"])
def test_what_a_commit_refuses_is_told_of_its_revision(bare: Workshop, database: Dsn, after: tuple[str, ...]) -> None:
    """A deferred constraint speaks up at the commit only: the revisions before stay, this one is rolled back and named."""
    reference = "REFERENCES task DEFERRABLE INITIALLY DEFERRED"
    bare.write("0001_first", f'op.execute("CREATE TABLE task (id int PRIMARY KEY, after int {reference})")')
    bare.migrate()
    bare.write("0002_second", TABLE)
    bare.write("0003_orphan", 'op.execute("INSERT INTO task VALUES (1, 7)")')
    for revision in after:
        bare.write(revision)
    ended = bare.migrate()
    assert ended.returncode == 5, ended.stderr
    assert "0003_orphan failed and was rolled back: rows of task point at nothing" in ended.stderr
    assert "database   at 0002_second\n" in ended.stderr
    assert rows_of(database, "SELECT version_num FROM alembic_version") == [("0002_second",)]
    assert rows_of(database, "SELECT revision, outcome FROM migration_ledger ORDER BY id") == [
        ("0001_first", "applied"),
        ("0002_second", "applied"),
        ("0003_orphan", "failed"),
    ]
    assert rows_of(database, "SELECT FROM task") == []


@pytest.mark.parametrize(
    "does",
    ["DEALLOCATE ALL", "ALTER TABLE alembic_version ALTER version_num TYPE varchar(255)"],
    ids=["forgets", "widens"],
)
def test_a_revision_may_tidy_up_around_us(bare: Workshop, database: Dsn, does: str) -> None:
    """What the session keeps for the ledger may go, and our own tables may change: nobody is in the way of that."""
    bare.write("0001_first", TABLE)
    bare.migrate()
    for number in range(2, 5):
        bare.write(f"{number:04}_tidy", f'op.execute("{does}")')
    ended = bare.migrate(MIGRATE_WAIT_LOCK="5s")
    assert ended.returncode == 0, ended.stderr
    assert rows_of(database, "SELECT count(*) FROM migration_ledger") == [(4,)]


def test_the_lock_stays_busy(settings: Settings, database: Dsn, held: advisory_lock.Lock) -> None:
    """Whoever waits in vain is told who holds the lock, and ends with 4."""
    with pytest.raises(Stop) as stopped:
        entry.migrate("upgrade", "head", settings._replace(wait_lock=0.2))
    assert told(stopped.value.render("upgrade")) == (
        """\
upgrade stopped: another process holds the migration lock

  holder     pid N, railhead upgrade @ web-2, for N s
  waited     0 s (MIGRATE_WAIT_LOCK)
  database   unchanged by us, empty

  next       wait for the other deploy, or look at it:
             python utils/migrate.py status                        [lock-busy]"""
    )
    assert stopped.value.exit_code == 4
    assert held.pid
    assert rows_of(database, "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace") == []


def test_a_reset_waits_for_whoever_migrates(workshop: Workshop, database: Dsn, held: advisory_lock.Lock) -> None:
    """Nothing is dropped under another one's hands."""
    rows_of(database, "CREATE TABLE kept ()")
    ended = workshop.migrate("reset", named(database), MIGRATE_WAIT_LOCK="0.2s")
    assert (ended.returncode, "[lock-busy]" in ended.stderr) == (4, True), ended.stderr
    assert rows_of(database, "SELECT to_regclass('kept')::text") == [("kept",)]
    assert held.pid


def test_a_reset_does_not_wait_for_a_table_for_ever(
    workshop: Workshop, database: Dsn, other_session: Connection
) -> None:
    """Whoever holds a table is named, and nothing is dropped."""
    rows_of(database, "CREATE TABLE kept ()")
    other_session.cursor().execute("SET application_name = 'a report'; SELECT FROM kept")
    ended = workshop.migrate("reset", named(database), MIGRATE_WAIT_LOCK="0.2s")
    assert (ended.returncode, "[table-busy]" in ended.stderr, "a report" in ended.stderr) == (4, True, True), (
        ended.stderr
    )
    assert rows_of(database, "SELECT to_regclass('kept')::text") == [("kept",)]


def test_limits_are_those_of_each_revision(bare: Workshop) -> None:
    """What a revision sets for its session, as pg_dump does, is not what the next one runs under."""
    forgets = "op.execute('SET lock_timeout = 0')"
    asks = """
        found = op.get_bind().exec_driver_sql("SHOW lock_timeout").scalar()
        if found != "100ms":
            raise ValueError(found)
    """
    outside = "with op.get_context().autocommit_block():\n"
    bare.write("0001_table", "op.execute('CREATE TABLE somebody_may_be_frozen ()')")
    assert bare.migrate().returncode == 0
    bare.write("0002_dump", forgets)
    bare.write("0003_asks", asks)
    bare.write("0004_outside", f"{outside}    {forgets}")
    bare.write("0005_asks_outside", outside + textwrap.indent(textwrap.dedent(asks), "    "))
    ended = bare.migrate()
    assert (ended.returncode, "0005_asks_outside" in ended.stdout) == (0, True), ended.stderr


def test_a_waiter_finds_the_work_done(workshop: Workshop, database: Dsn, held: advisory_lock.Lock) -> None:
    """Whoever waits asks before each try whether the database is there already, and then goes without the lock."""
    waiting = workshop.start(sys.executable, "utils/migrate.py")
    eventually(lambda: "waiting for the migration lock" in waiting.stderr)
    text = workshop.alembic("upgrade", "head", "--sql").stdout
    rows_of(database, text.replace("BEGIN;", "").replace("COMMIT;", ""))
    assert waiting.wait(20) == 0
    assert waiting.stdout == f"upgrade: nothing to do, the database is at {HEAD}\n"
    assert held.pid


def test_one_step_does_not_become_another(workshop: Workshop, database: Dsn, held: advisory_lock.Lock) -> None:
    """Who typed `+1` and had to wait while the database moved elsewhere is asked again, and changes nothing."""
    waiting = workshop.start(*ALEMBIC, "upgrade", "+1")
    eventually(lambda: "waiting for the migration lock" in waiting.stderr)
    text = workshop.alembic("upgrade", "head", "--sql").stdout
    rows_of(database, text.replace("BEGIN;", "").replace("COMMIT;", ""))
    assert waiting.wait(20) == 3
    assert (
        "alembic upgrade stopped: the database moved while we waited, so +1 would mean something else now"
        in waiting.stderr
    )
    assert held.pid
    assert rows_of(database, "SELECT to_regclass('migration_ledger')") == [(None,)]


def test_a_table_stays_busy(settings: Settings, database: Dsn, other_session: Connection) -> None:
    """A revision that never gets its table lock is rolled back, and the message says who was in the way; exit 4."""
    entry.migrate("upgrade", "0001", settings)
    with other_session.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM task")
    with pytest.raises(Stop) as stopped:
        entry.migrate("upgrade", "head", settings._replace(wait_lock=1.0))
    message = stopped.value.render("upgrade")
    assert (stopped.value.slug, stopped.value.exit_code) == ("table-busy", 4)
    assert f"blocker    pid {other_session.info.backend_pid}, idle in transaction for" in message
    assert "canceling statement due to lock timeout (SQLSTATE 55P03)" in message
    assert f"SELECT pg_terminate_backend({other_session.info.backend_pid});" in message
    other_session.rollback()
    entry.migrate("upgrade", "head", settings)
    assert rows_of(database, "SELECT version_num FROM alembic_version") == [(HEAD,)]


MIXED = "op.create_table('tag', sa.Column('id', sa.Integer))\nop.create_index_concurrently('note_id', 'note', ['id'])"


def test_a_revision_that_cannot_be_mended_is_refused(bare: Workshop, database: Dsn) -> None:
    """Work inside and outside the transaction in one revision is refused before it begins, on a database in use."""
    bare.write("0001_first", TABLE)
    bare.migrate()
    bare.write("0002_mixed", MIXED)
    ended = bare.migrate()
    assert (ended.returncode, "[not-repeatable]" in ended.stderr) == (3, True)
    assert "database   unchanged, at 0001_first" in ended.stderr
    assert rows_of(database, "SELECT to_regclass('tag')") == [(None,)]


def test_a_revision_that_cannot_be_mended_may_be_accepted(bare: Workshop, database: Dsn) -> None:
    """Its author can take the responsibility, with a reason."""
    bare.write("0001_first", TABLE)
    bare.migrate()
    bare.write("0002_mixed", MIXED, extra="accepted_hazards = {'not-repeatable': 'looked at'}")
    ended = bare.migrate()
    assert ended.returncode == 0, ended.stderr
    assert rows_of(database, "SELECT to_regclass('tag') IS NULL, to_regclass('note_id') IS NULL") == [(False, False)]


def test_what_fails_half_way_outside_its_transaction(bare: Workshop, database: Dsn) -> None:
    """When part of a revision stays behind, the message says so, the code is 6, and the same command ends it well."""
    bare.write("0001_first", TABLE)
    bare.migrate()
    index = "op.create_index_concurrently('note_id', 'note', ['id'])"
    place = bare.write("0002_index", f"{index}\nop.create_index_concurrently('note_x', 'note', ['absent'])")
    ended = bare.migrate()
    assert ended.returncode == 6, ended.stderr
    assert "[migration-half-done]" in ended.stderr
    assert "database   at 0001_first; part of 0002_index stays behind" in ended.stderr
    assert rows_of(database, "SELECT to_regclass('note_id') IS NULL") == [(False,)]
    place.write_text(place.read_text().replace("'absent'", "'id'"))
    assert bare.migrate().returncode == 0
    assert rows_of(database, "SELECT version_num FROM alembic_version") == [("0002_index",)]


def test_whoever_locks_another_table_does_not_hold_up_the_end(
    bare: Workshop, database: Dsn, other_session: Connection
) -> None:
    """What was committed is done: the schema is written down if it can be had at once, and the failure in any case."""
    bare.write("0001_first", TABLE)
    bare.migrate()
    rows_of(database, "CREATE TABLE other (id int PRIMARY KEY CHECK (id > 0))")
    with other_session.cursor() as cursor:
        cursor.execute("LOCK TABLE other")
    bare.write("0002_more", "op.add_column('note', sa.Column('a', sa.Text))")
    ended = bare.migrate()
    assert ended.returncode == 0, ended.stderr
    assert "what the schema is now could not be written down (canceling statement due to lock timeout)" in ended.stderr
    bare.write("0003_more", "op.add_column('note', sa.Column('b', sa.Text))")
    bare.write("0004_wrong", "op.execute('SELECT 1 / 0')")
    assert bare.migrate().returncode == 5
    assert rows_of(database, "SELECT revision, outcome, catalog IS NULL FROM migration_ledger ORDER BY id") == [
        ("0001_first", "applied", False),
        ("0002_more", "applied", True),
        ("0003_more", "applied", True),
        ("0004_wrong", "failed", True),
    ]


def test_what_postgresql_refuses_before_a_revision_is_no_lost_connection(bare: Workshop, database: Dsn) -> None:
    """An event trigger that forbids the ledger's table is told in its own words, at once and not after six tries."""
    bare.write("0001_first", TABLE)
    says = "CREATE FUNCTION say() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'not on Fridays'; END $$"
    rows_of(database, f"{says}; CREATE EVENT TRIGGER never ON ddl_command_start EXECUTE FUNCTION say()")
    ended = bare.migrate()
    assert (ended.returncode, "connecting again" in ended.stderr) == (3, False)
    assert "PostgreSQL not on Fridays (SQLSTATE P0001)" in ended.stderr
    assert "[event-trigger]" in ended.stderr


def test_two_urls_that_see_different_tables(bare: Workshop, database: Dsn) -> None:
    """One database is not enough: behind another search_path the application would not find what was made."""
    rows_of(database, "CREATE SCHEMA engine")
    bare.write("0001_first", TABLE)
    ended = bare.migrate(MIGRATE_DATABASE_URL=url_of(database.with_(options="-csearch_path=engine")))
    assert ended.returncode == 3, ended.stderr
    assert "MIGRATE_DATABASE_URL and DATABASE_URL see different tables of one database" in ended.stderr
    assert (
        "found      at 0001_first through MIGRATE_DATABASE_URL\n             empty through DATABASE_URL" in ended.stderr
    )
    assert "[two-databases]" in ended.stderr


def test_a_ledger_that_forgets_is_found_out(bare: Workshop, database: Dsn) -> None:
    """A run whose rows are gone is not called done, though the version is there."""
    bare.write("0001_first", TABLE)
    bare.migrate()
    forget = "CREATE FUNCTION forget() RETURNS trigger LANGUAGE plpgsql AS"
    forget += " $$ BEGIN DELETE FROM migration_ledger WHERE id = NEW.id; RETURN NULL; END $$;"
    rows_of(
        database, f"{forget} CREATE TRIGGER t AFTER INSERT ON migration_ledger FOR EACH ROW EXECUTE FUNCTION forget()"
    )
    bare.write("0002_more", "op.add_column('note', sa.Column('a', sa.Text))")
    ended = bare.migrate()
    assert ended.returncode == 6, ended.stderr
    assert "missing    0002_more" in ended.stderr
    assert "[not-verified]" in ended.stderr


def test_an_env_that_commits_nothing_is_found_out(workshop: Workshop, database: Dsn) -> None:
    """What was rolled back behind the engine's back is noticed from a fresh connection, and never called done."""
    env = workshop.root / "migrations" / "env.py"
    spoilt = (
        "from sqlalchemy import event\nfrom sqlalchemy.engine import Engine\n"
        "event.listen(Engine, 'commit', lambda connection: connection.connection.rollback())\n"
    )
    env.write_text(spoilt + env.read_text())
    ended = workshop.alembic("upgrade", "head")
    assert ended.returncode != 0
    assert "done" not in ended.stderr
    assert rows_of(database, "SELECT to_regclass('task')") == [(None,)]


def test_waiting_for_others_to_migrate(settings: Settings) -> None:
    """`wait` never migrates: it ends when time is up, at head, and at once where head can never be reached."""
    hurried = settings._replace(wait_lock=0.0)
    assert wait.wait(hurried, lambda: Base.metadata).state == "behind"
    entry.migrate("upgrade", "head", settings)
    assert wait.wait(settings, lambda: Base.metadata).can_serve
    assert settings.database is not None
    rows_of(settings.database, "UPDATE alembic_version SET version_num = 'garbage'")
    assert wait.wait(settings, lambda: Base.metadata).state == "unknown"


def test_wait_says_what_it_waits_for(workshop: Workshop, held: advisory_lock.Lock) -> None:
    """At once, and again when another one migrates or nobody any more; not with each look."""
    waiting = workshop.start(sys.executable, "utils/migrate.py", "wait")
    said = "wait: pending revisions: 2; the migration lock is"
    eventually(lambda: f"{said} held by pid {held.pid}, railhead upgrade @ web-2" in waiting.stderr)
    held.release()
    eventually(lambda: f"{said} free" in waiting.stderr)
    assert workshop.migrate().returncode == 0
    assert (waiting.wait(20), waiting.stdout) == (0, "wait: the database is at head\n")
    assert waiting.stderr.count(f"{said} held by pid {held.pid}") == 1


def test_tables_can_be_made_twice(settings: Settings, database: Dsn) -> None:
    """`create_tables` adds what is missing and leaves the rest alone."""
    from tests.project.models import Base

    for _ in range(2):
        create_tables.create_tables(settings, Base.metadata)
    assert rows_of(database, "SELECT count(*) FROM task") == [(0,)]


def test_no_session_is_left_after_a_run(settings: Settings, database: Dsn) -> None:
    """After a success and after a failure nothing of ours is connected."""
    entry.migrate("upgrade", "head", settings)
    with pytest.raises(Stop):
        entry.migrate("upgrade", "0009", settings)
    question = (
        "SELECT application_name FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    eventually(lambda: not rows_of(database, f"{question} AND backend_type = 'client backend'"), within=2)


def test_several_runs_at_once_migrate_once(workshop: Workshop, database: Dsn) -> None:
    """Of six processes that start together one migrates; all end well."""
    started = [workshop.start(sys.executable, "utils/migrate.py") for _ in range(6)]
    assert [running.wait() for running in started] == [0] * 6
    assert rows_of(database, "SELECT revision FROM migration_ledger ORDER BY id") == [("0001_baseline",), (HEAD,)]


def test_it_speaks_to_a_person_in_utf8(bare: Workshop) -> None:
    """A message of PostgreSQL or of a migration in any language reaches the terminal and the ledger."""
    bare.write("0001_first", "raise ValueError('так не пойдёт')")
    ended: subprocess.CompletedProcess[str] = bare.migrate(PYTHONIOENCODING="utf-8")
    assert "ValueError: так не пойдёт" in ended.stderr
    assert "так не пойдёт" in bare.migrate("log", PYTHONIOENCODING="utf-8").stdout
