"""The ledger: what happened to this database before, whoever did it and however it ended."""

from __future__ import annotations

import signal
import sys

import psycopg2
import pytest

from railhead.commands import create_tables
from railhead.dsn import Dsn
from railhead.errors import Stop
from railhead.execution.entry import migrate
from railhead.postgres import advisory_lock
from railhead.settings import Settings
from railhead.state import drift, ledger, status
from tests.databases import rows_of
from tests.forked_tree import Workshop
from tests.project_tree import ALEMBIC, MIGRATE, PROJECT

START = (sys.executable, "-c", "from app import create_app; create_app()")
BOTH = [("upgrade", "0001_baseline", None), ("upgrade", "0002_add_task_due_on", "0001_baseline")]
TABLE = "op.create_table('note', sa.Column('name', sa.Text, unique=True))"


def written(database: Dsn) -> list[tuple[object, ...]]:
    """Return what was done, oldest first."""
    return rows_of(
        database, "SELECT action, revision, parent FROM migration_ledger WHERE outcome = 'applied' ORDER BY id"
    )


def relations(database: Dsn) -> list[tuple[object, ...]]:
    """Return the names of everything in `public`."""
    return rows_of(database, "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace")


@pytest.mark.parametrize("entrance", ["hook", "command line", "alembic"])
def test_every_way_in_writes_it(workshop: Workshop, database: Dsn, entrance: str) -> None:
    """The start-up hook, the command line and Alembic leave the same rows, of one run each."""
    if entrance == "hook":
        assert workshop.run(*START).returncode == 0
    elif entrance == "alembic":
        assert workshop.alembic("upgrade", "head").returncode == 0
    else:
        assert workshop.migrate().returncode == 0
    assert written(database) == BOTH
    assert rows_of(database, "SELECT count(DISTINCT run) FROM migration_ledger") == [(1,)]


@pytest.mark.parametrize("entrance", ["command line", "alembic"])
def test_a_way_back_is_written(at_head: Workshop, database: Dsn, entrance: str) -> None:
    """A downgrade leaves a row for each revision that it takes back, the newest first."""
    if entrance == "alembic":
        at_head.alembic("downgrade", "base")
    else:
        at_head.migrate("downgrade", "base", "--yes")
    assert written(database) == [
        *BOTH,
        ("downgrade", "0002_add_task_due_on", "0001_baseline"),
        ("downgrade", "0001_baseline", None),
    ]


def test_a_stamp_is_written_as_where_it_leads(workshop: Workshop, database: Dsn) -> None:
    """Up, down or to base: a stamp's row names the revision that the database is at from then on, its parent and its checksum."""
    for target in ("head", "0001", "base"):
        assert workshop.alembic("stamp", target).returncode == 0
    assert written(database) == [
        ("stamp", "0002_add_task_due_on", "0001_baseline"),
        ("stamp", "0001_baseline", None),
        ("stamp", "base", None),
    ]
    checksums = rows_of(database, "SELECT checksum IS NOT NULL, breaking FROM migration_ledger ORDER BY id")
    assert checksums == [(True, False), (True, False), (False, None)]


def test_a_row_tells_who_and_how(settings: Settings, database: Dsn) -> None:
    """A row holds the role, the replica, the release, the file's checksum, the time it took and the attempts."""
    migrate("upgrade", "0001", settings._replace(release="r7", replica="web-2"))
    connection = psycopg2.connect(database)
    (entry,) = ledger.entries(connection)
    connection.close()
    role = database.parameters()["user"]
    assert (entry.actor, entry.release, entry.attempts, entry.outcome) == (f"{role} @ web-2", "r7", 1, "applied")
    assert len(str(entry.checksum)) == 16
    assert (entry.duration_ms or 0) > 0
    assert entry.waited_ms == 0
    assert entry.error is None


def test_a_row_and_its_revision_are_one_transaction(bare: Workshop, database: Dsn) -> None:
    """On a database in use each revision's change and row are committed together, and apart from the next one's."""
    bare.write("0001_first", TABLE)
    bare.migrate()
    said = "breaking = False"  # so that nothing is left to be added to their rows afterwards
    bare.write("0002_second", "op.execute('CREATE TABLE two (id int)')", extra=said)
    bare.write("0003_third", "op.execute('CREATE TABLE three (id int)')", extra=said)
    bare.migrate()
    row = rows_of(database, "SELECT xmin FROM migration_ledger WHERE revision = '0002_second'")
    assert row == rows_of(database, "SELECT xmin FROM pg_class WHERE relname = 'two'")
    assert row != rows_of(database, "SELECT xmin FROM pg_class WHERE relname = 'three'")


def test_the_catalog_is_kept_after_the_locks_are_gone(
    bare: Workshop, database: Dsn, connection: psycopg2.extensions.connection
) -> None:
    """A run keeps its schema on its last row; after a run that could not, nobody speaks of drift."""
    bare.write("0001_first", TABLE)
    bare.migrate()
    assert ledger.last_catalog(connection) is not None
    rows_of(database, "UPDATE migration_ledger SET catalog = NULL")
    assert ledger.last_catalog(connection) is None


def test_a_run_that_was_killed_half_way_is_no_drift(
    bare: Workshop, database: Dsn, connection: psycopg2.extensions.connection
) -> None:
    """What a revision outside its transaction had done when its process was killed is nobody's change by hand."""
    bare.write("0001_first", TABLE)
    bare.migrate()
    index = "op.create_index_concurrently('note_name', 'note', ['name'])"
    bare.write("0002_second", f"{index}\nimport os, signal\nos.kill(os.getpid(), signal.SIGKILL)")
    assert bare.migrate().returncode == -signal.SIGKILL
    assert rows_of(database, "SELECT outcome FROM migration_ledger ORDER BY id DESC LIMIT 1") == [("started",)]
    assert rows_of(database, "SELECT to_regclass('note_name') IS NULL") == [(False,)]
    assert drift.outside(connection) is None


@pytest.mark.parametrize("entrance", ["hook", "command line", "alembic"])
def test_a_failure_is_written_with_postgresqls_words(bare: Workshop, database: Dsn, entrance: str) -> None:
    """A migration that was rolled back leaves a row with PostgreSQL's sentence and SQLSTATE, whoever began it."""
    bare.write("0001_first", TABLE)
    bare.migrate()
    bare.write("0002_second", "op.execute('SELEC 1')")
    failing = {"hook": START, "command line": MIGRATE, "alembic": (*ALEMBIC, "upgrade", "head")}[entrance]
    assert bare.run(*failing).returncode == (3 if entrance == "hook" else 5)
    assert last(database) == ("upgrade", "failed", "0002_second", 'syntax error at or near "SELEC" (SQLSTATE 42601)')
    told = "parent, attempts, checksum IS NOT NULL, duration_ms IS NOT NULL, waited_ms"
    failed = rows_of(database, f"SELECT {told} FROM migration_ledger WHERE outcome = 'failed'")
    assert failed == [("0001_first", 1, True, True, 0)]


@pytest.mark.parametrize("entrance", ["command line", "alembic"])
def test_a_way_back_that_fails_is_written_too(bare: Workshop, database: Dsn, entrance: str) -> None:
    """A downgrade that was rolled back leaves its row, and the database where it was."""
    bare.write("0001_first", TABLE, "op.execute('DROP TABLE nota')")
    bare.migrate()
    failing = (
        (*MIGRATE, "downgrade", "base", "--yes") if entrance == "command line" else (*ALEMBIC, "downgrade", "base")
    )
    assert bare.run(*failing).returncode == 5
    assert last(database) == ("downgrade", "failed", "0001_first", 'table "nota" does not exist (SQLSTATE 42P01)')
    assert written(database) == [("upgrade", "0001_first", None)]


def test_a_typed_adoption_is_written(at_head: Workshop, database: Dsn) -> None:
    """`adopt` leaves one row with who said so, the parent and the file's checksum, and keeps the catalog on it."""
    checksum = rows_of(database, "SELECT checksum FROM migration_ledger WHERE revision = '0002_add_task_due_on'")
    rows_of(database, "DROP TABLE alembic_version, migration_ledger")
    assert at_head.migrate("adopt", APP_RELEASE="r9").returncode == 0
    assert written(database) == [("adopt", "0002_add_task_due_on", "0001_baseline")]
    kept = rows_of(database, "SELECT checksum, release, catalog LIKE '%table task%' FROM migration_ledger")
    assert kept == [(*checksum[0], "r9", True)]


def last(database: Dsn) -> tuple[object, ...]:
    """Return the newest row: action, outcome, revision and error."""
    return rows_of(database, "SELECT action, outcome, revision, error FROM migration_ledger ORDER BY id DESC LIMIT 1")[
        0
    ]


def test_a_failure_on_an_empty_database_is_written_too(bare: Workshop, database: Dsn) -> None:
    """The row of a first run that failed stays, though all else was rolled back."""
    bare.write("0001_first", f"{TABLE}\nraise ValueError('not today')")
    bare.migrate()
    assert rows_of(database, "SELECT revision, outcome, error FROM migration_ledger") == [
        ("0001_first", "failed", "ValueError: not today")
    ]
    assert rows_of(database, "SELECT to_regclass('note')") == [(None,)]


def test_values_are_not_written(bare: Workshop, database: Dsn) -> None:
    """What the rows of a table hold does not enter the ledger with an error."""
    bare.write("0001_first", TABLE)
    bare.migrate()
    insert = "op.get_bind().execute(sa.text('INSERT INTO note VALUES (:name), (:name)'), {'name': 'Mrs Miller'})"
    bare.write("0002_second", insert)
    assert bare.migrate().returncode == 5
    ((error,),) = rows_of(database, "SELECT error FROM migration_ledger ORDER BY id DESC LIMIT 1")
    assert "SQLSTATE 23505" in str(error)
    assert "Miller" not in str(error)


def test_work_outside_the_transaction_is_announced(bare: Workshop, database: Dsn) -> None:
    """A revision that leaves its transaction has a row before it begins, so that a crash can be told."""
    bare.write("0001_first", TABLE)
    bare.migrate()
    bare.write("0002_second", "op.create_index_concurrently('note_name', 'note', ['name'])")
    assert bare.migrate().returncode == 0
    assert rows_of(database, "SELECT outcome FROM migration_ledger WHERE revision = '0002_second' ORDER BY id") == [
        ("started",),
        ("applied",),
    ]


def test_tables_made_without_migrations_are_written(settings: Settings, database: Dsn) -> None:
    """`create_tables` leaves a row of its own, with the catalog that it made."""
    from tests.project.models import Base

    create_tables.create_tables(settings, Base.metadata)
    rows = rows_of(database, "SELECT action, outcome, revision, catalog LIKE '%task%' FROM migration_ledger")
    assert rows == [("create_all", "applied", None, True)]


def test_tables_are_made_by_one_process_at_a_time(
    settings: Settings, database: Dsn, other_session: psycopg2.extensions.connection
) -> None:
    """Two workers that fall back together do not make the same tables at once: who does not get the lock says who has it."""
    from tests.project.models import Base

    other_session.cursor().execute(f"SELECT pg_advisory_xact_lock({advisory_lock.KEY})")
    with pytest.raises(Stop) as stopped:
        create_tables.create_tables(settings._replace(wait_lock=0.0), Base.metadata)
    assert stopped.value.slug == "lock-busy"
    assert f"pid {other_session.info.backend_pid}" in dict(stopped.value.facts)["holder"]
    assert relations(database) == []


def test_what_nobody_has_sealed_is_looked_at_afterwards(bare: Workshop, database: Dsn) -> None:
    """Whether an unsealed revision breaks the release before is told by the schemas before and after its run; of two in one run not."""
    bare.write("0001_first", "op.create_table('note', *(sa.Column(name, sa.Text) for name in 'abcd'))")
    bare.migrate()
    bare.write("0002_adds", "op.add_column('note', sa.Column('more', sa.Text))")
    bare.write("0003_adds", "op.create_table('other')")
    bare.migrate()
    bare.write("0004_drops", "op.drop_column('note', 'a')")
    bare.migrate()
    bare.write("0005_drops", "op.drop_column('note', 'b')")
    bare.write("0006_adds", "op.add_column('note', sa.Column('still', sa.Text))")
    bare.migrate()
    bare.write("0007_said", "op.drop_column('note', 'c')", extra="breaking = False  # nobody reads it")
    bare.migrate()
    told = rows_of(database, "SELECT left(revision, 4), breaking FROM migration_ledger ORDER BY id")
    assert told == [
        ("0001", None),
        ("0002", False),
        ("0003", False),
        ("0004", True),
        ("0005", None),
        ("0006", None),
        ("0007", False),
    ]


def test_the_catalog_is_kept_on_the_last_row_of_a_run(settings: Settings, database: Dsn) -> None:
    """Once a run is enough: drift is measured against where the last one left the schema."""
    migrate("upgrade", "head", settings)
    migrate("downgrade", "0001", settings)
    kept = rows_of(database, "SELECT revision, action FROM migration_ledger WHERE catalog IS NOT NULL ORDER BY id")
    assert kept == [("0002_add_task_due_on", "upgrade"), ("0002_add_task_due_on", "downgrade")]


def test_only_the_books_words_are_taken(settings: Settings, database: Dsn) -> None:
    """The table itself refuses an action or an outcome that it does not know."""
    migrate("upgrade", "head", settings)
    with pytest.raises(psycopg2.errors.CheckViolation):
        rows_of(
            database, "INSERT INTO migration_ledger (run, action, outcome, actor) VALUES ('r', 'guess', 'applied', 'a')"
        )


@pytest.mark.parametrize("there", [False, True])
def test_asking_is_read_only(settings: Settings, database: Dsn, there: bool) -> None:
    """Whoever may only read can ask for all of it, and asking makes no table."""
    if there:
        migrate("upgrade", "0001", settings)
    before = relations(database)
    reading = database.with_(options="-c default_transaction_read_only=on")
    connection = psycopg2.connect(reading)
    connection.autocommit = True
    assert ledger.exists(connection) == there
    assert len(ledger.entries(connection)) == int(there)
    assert (ledger.last_catalog(connection) is not None) == there
    connection.close()
    assert status.read(Settings(database=reading, migrate_database=reading, project=PROJECT)).state == "behind"
    assert relations(database) == before


def test_the_newest_rows_come_first(settings: Settings, database: Dsn) -> None:
    """`entries` gives as many rows as asked, newest first."""
    migrate("upgrade", "head", settings)
    connection = psycopg2.connect(database)
    assert [entry.revision for entry in ledger.entries(connection)] == ["0002_add_task_due_on", "0001_baseline"]
    assert [entry.revision for entry in ledger.entries(connection, 1)] == ["0002_add_task_due_on"]
    connection.close()


def test_autogenerate_and_downgrades_leave_it_alone(at_head: Workshop, database: Dsn) -> None:
    """It is no model's table, and yet no revision proposes to drop it."""
    before = sorted(at_head.versions.iterdir())
    at_head.alembic("revision", "--autogenerate", "-m", "Nothing")
    assert sorted(at_head.versions.iterdir()) == before
    at_head.migrate("downgrade", "base", "--yes")
    assert rows_of(database, "SELECT count(*) FROM migration_ledger") == [(4,)]


REFUSES = """
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;
CREATE TRIGGER refuse BEFORE INSERT ON migration_ledger FOR EACH ROW EXECUTE FUNCTION refuse()
"""


def test_what_the_ledger_does_not_take_is_not_committed(bare: Workshop, database: Dsn) -> None:
    """A trigger that leaves rows out is told, and neither this revision nor the next is there."""
    bare.write("0001_first", TABLE)
    bare.migrate()
    rows_of(database, REFUSES)
    bare.write("0002_second", "op.add_column('note', sa.Column('a', sa.Text))")
    bare.write("0003_third", "op.add_column('note', sa.Column('b', sa.Text))")
    ended = bare.migrate()
    assert ended.returncode == 5, ended.stderr
    assert "database   unchanged, at 0001_first" in ended.stderr
    assert "[not-recorded]" in ended.stderr
    columns = "SELECT attname::text FROM pg_attribute WHERE attrelid = 'note'::regclass AND attnum > 0"
    assert rows_of(database, columns) == [("name",)]
