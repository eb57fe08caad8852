"""Adoption: a database with tables and no version is taken over where its schema is a revision's, and nowhere else."""

from __future__ import annotations

import json

from psycopg2.extensions import connection as Connection

from railhead.execution.adoption import MOST_DIFFERENCES
from railhead.state import ledger
from tests.forked_tree import Workshop
from tests.processes import eventually
from tests.project_tree import MIGRATE, sql

ONE = "CREATE TABLE one (id int PRIMARY KEY)"


def two_revisions(tree: Workshop, second: str = "op.add_column('one', sa.Column('name', sa.Text()))") -> None:
    """Write a history of two revisions."""
    tree.write("0001_first", f'op.execute("{ONE}")', 'op.execute("DROP TABLE one")')
    tree.write("0002_second", second)


def adopted(tree: Workshop) -> list[tuple[object, ...]]:
    """Return what the ledger says of adoptions."""
    return sql(tree, "SELECT revision, parent FROM migration_ledger WHERE action = 'adopt' ORDER BY id")


def status_of(tree: Workshop) -> dict[str, object]:
    """Return what `status --json` says."""
    found: dict[str, object] = json.loads(tree.migrate("status", "--json").stdout)
    return found


def test_the_revision_is_found_by_the_schema(bare: Workshop) -> None:
    """`adopt` says which revision it is, the ledger keeps it with its parent, and an upgrade goes on from there."""
    two_revisions(bare)
    sql(bare, ONE)
    ended = bare.migrate("adopt")
    assert (ended.returncode, ended.stdout) == (0, "adopt: the database is at 0001_first\n")
    assert adopted(bare) == [("0001_first", None)]
    assert bare.migrate().returncode == 0
    assert status_of(bare)["current"] == ["0002_second"]


def test_a_revision_that_is_named_must_be_equal(bare: Workshop) -> None:
    """`adopt REV` takes a prefix; what differs from that very revision is told in full, and nothing is written."""
    two_revisions(bare)
    sql(bare, ONE)
    ended = bare.migrate("adopt", "0002")
    assert ended.stderr == (
        "adopt stopped: the database has tables but no version, and its schema is that of no revision\n\n"
        "  nearest    0002_second\n"
        "  differs    column one.name: in the revision, but not there\n"
        "  database   unchanged, without a version\n\n"
        "  next       make it equal and start again, or take it for 0002_second all the same:\n"
        "             python utils/migrate.py adopt 0002_second --force\n"
        "             in development, to start from nothing:  python utils/migrate.py reset  [unmanaged]\n"
    )
    assert ended.returncode == 3
    assert sql(bare, "SELECT to_regclass('alembic_version'), to_regclass('migration_ledger')") == [(None, None)]
    ended = bare.migrate("adopt", "0001")
    assert (ended.returncode, ended.stdout) == (0, "adopt: the database is at 0001_first\n")


def test_force_takes_somebodys_word_for_it(bare: Workshop) -> None:
    """With --force it is the revision that was named, whatever the schema is; the differences are drift from then on only if new."""
    two_revisions(bare)
    sql(bare, f"{ONE}; CREATE TABLE beside (id int)")
    ended = bare.migrate("adopt", "0002", "--force")
    assert (ended.returncode, ended.stdout) == (0, "adopt: the database is at 0002_second\n")
    assert "the schema is that of 0002_second, because you say so" in ended.stderr
    assert adopted(bare) == [("0002_second", "0001_first")]
    found = status_of(bare)
    assert (found["state"], found["flags"]) == ("current", ["unsealed"])


def test_many_differences_are_counted(bare: Workshop) -> None:
    """The nearest revision is named with its first differences, and how many more there are."""
    two_revisions(bare)
    sql(
        bare,
        "; ".join([ONE, *(f"ALTER TABLE one ADD more_{number:02d} int" for number in range(MOST_DIFFERENCES + 2))]),
    )
    told = bare.migrate("adopt").stderr
    assert "nearest    0001_first\n  differs    column one.more_00: there, but not in the revision\n" in told
    assert (
        f"column one.more_{MOST_DIFFERENCES - 1:02d}: there, but not in the revision\n             and 2 more\n" in told
    )


def test_which_data_migrations_have_run_is_asked_for(bare: Workshop) -> None:
    """Where several revisions have this schema, a person must say which; then it is that one."""
    two_revisions(bare, "op.execute('INSERT INTO one VALUES (1)')")
    sql(bare, ONE)
    ended = bare.migrate("adopt")
    assert ended.stderr == (
        "adopt stopped: the database has tables but no version, and more than one revision has this schema\n\n"
        "  equal to   0001_first\n"
        "             0002_second\n"
        "  database   unchanged, without a version\n\n"
        "  next       say which of them it is, knowing which data migrations have run:\n"
        "             python utils/migrate.py adopt 0002_second             [unmanaged]\n"
    )
    assert bare.migrate("adopt", "0001").returncode == 0
    assert adopted(bare) == [("0001_first", None)]


def test_a_revision_that_cannot_be_replayed_is_named(bare: Workshop) -> None:
    """When the revisions do not run on a scratch database the refusal says which and why; one before it can be named still."""
    two_revisions(bare, "raise ValueError('needs the data of production')")
    sql(bare, ONE)
    ended = bare.migrate("adopt")
    assert ended.stderr == (
        "adopt stopped: the database has tables but no version, and its schema could not be compared with the revisions\n\n"
        "  because    0002_second: needs the data of production\n"
        "  database   unchanged, without a version\n\n"
        "  next       correct that revision, or say which it is:\n"
        "             python utils/migrate.py adopt REV --force\n"
        "             in development, to start from nothing:  python utils/migrate.py reset  [unmanaged]\n"
    )
    assert bare.migrate("adopt", "0002").stderr == ended.stderr
    assert bare.migrate("adopt", "0001").stdout == "adopt: the database is at 0001_first\n"


ELSEWHERE = """
CREATE TABLE alembic_version (version_num varchar(32) CONSTRAINT alembic_version_pkc PRIMARY KEY);
CREATE FUNCTION elsewhere() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.version_num = 'elsewhere'; RETURN NEW; END $$;
CREATE TRIGGER elsewhere BEFORE INSERT ON alembic_version FOR EACH ROW EXECUTE FUNCTION elsewhere()
"""


def test_a_version_that_does_not_stay_is_not_adopted(bare: Workshop) -> None:
    """What something else makes of alembic_version under our hands is not written down as adopted."""
    two_revisions(bare)
    sql(bare, f"{ONE}; {ELSEWHERE}")
    ended = bare.migrate("adopt", "0001", "--force")
    assert ended.returncode == 5, ended.stderr
    assert "expected   0001_first\n" in ended.stderr
    assert "database   unchanged\n" in ended.stderr
    assert "[version-moved]" in ended.stderr
    assert adopted(bare) == sql(bare, "SELECT * FROM alembic_version") == []


def test_nothing_is_tried_on_a_server_in_production(bare: Workshop) -> None:
    """In production the revisions are compared on the embedded server; where there is none, the refusal says so and where to look."""
    two_revisions(bare)
    sql(bare, ONE)
    (bare.root / ".data").write_text("")  # so that no server can live there
    ended = bare.migrate("adopt", APP_ENV="production", LOG_FORMAT="text")
    (bare.root / ".data").unlink()
    assert ended.stderr == (
        "adopt stopped: the database has tables but no version, and its schema could not be compared with the revisions\n\n"
        "  because    no revision is tried on a server in production, and here the embedded PostgreSQL does not start\n"
        "  database   unchanged, without a version\n\n"
        "  next       see the differences from a development machine, with requirements-dev.txt and the URL of this database:\n"
        "             python utils/migrate.py adopt\n"
        "             or seal the revisions (python utils/migrate.py seal) and deploy the manifest, or say which it is:\n"
        "             python utils/migrate.py adopt REV --force\n"
        "             in development, to start from nothing:  python utils/migrate.py reset  [unmanaged]\n"
    )


def test_what_was_adopted_is_watched_like_what_was_applied(bare: Workshop) -> None:
    """A file that means something else than when its revision was adopted is `edited`."""
    two_revisions(bare)
    sql(bare, ONE)
    bare.migrate("adopt")
    assert "edited" not in status_of(bare)["flags"]  # type: ignore[operator]
    file = bare.versions / "0001_first.py"
    file.write_text(file.read_text().replace("id int", "id bigint"))
    assert "edited" in status_of(bare)["flags"]  # type: ignore[operator]


def test_both_branches_are_taken_over(bare: Workshop) -> None:
    """A schema that has what both branches of a history make is at both their revisions, and only the merge is pending."""
    bare.write("0001_first", f'op.execute("{ONE}")')
    bare.write("0002_left", 'op.execute("CREATE TABLE left_one ()")', after="0001_first")
    bare.write("0002_right", 'op.execute("CREATE TABLE right_one ()")', after="0001_first")
    bare.write("0003_merged", 'op.execute("CREATE TABLE merged ()")', after=("0002_left", "0002_right"))
    sql(bare, f"{ONE}; CREATE TABLE left_one (); CREATE TABLE right_one ()")
    ended = bare.migrate("adopt")
    assert (ended.returncode, ended.stdout) == (0, "adopt: the database is at 0002_left, 0002_right\n")
    assert adopted(bare) == [("0002_left", "0001_first"), ("0002_right", "0001_first")]
    ended = bare.migrate()
    assert (ended.returncode, "upgrade: 1 revision, the database is at 0003_merged" in ended.stdout) == (0, True)


def test_an_empty_database_is_not_adopted(bare: Workshop) -> None:
    """Where there is no table the message says so, and that an upgrade makes them."""
    two_revisions(bare)
    ended = bare.migrate("adopt")
    assert ended.returncode == 3
    assert ended.stderr == (
        "adopt stopped: the database is empty: there is nothing to adopt\n\n"
        "  database   unchanged, empty\n\n"
        "  next       python utils/migrate.py upgrade                       [nothing-to-adopt]\n"
    )


def test_somebody_who_was_quicker_is_seen_under_the_lock(
    bare: Workshop, connection: Connection, other_session: Connection
) -> None:
    """A version that appears after the first look and before the lock is taken stays, and there is nothing to adopt."""
    two_revisions(bare)
    sql(bare, ONE)
    ledger.create(connection)
    with other_session.cursor() as cursor:
        cursor.execute("LOCK TABLE migration_ledger")  # where the first look gets stuck, having seen no version
        running = bare.start(*MIGRATE, "adopt")
        waits = "SELECT 1 FROM pg_locks WHERE relation = 'migration_ledger'::regclass AND NOT granted"
        eventually(lambda: sql(bare, waits), within=30)
        cursor.execute("CREATE TABLE alembic_version (version_num text)")
        cursor.execute("INSERT INTO alembic_version VALUES ('0002_second')")
    other_session.commit()
    assert running.wait() == 3
    assert running.stderr.endswith("[managed]\n")
    assert sql(bare, "SELECT version_num FROM alembic_version") == [("0002_second",)]
