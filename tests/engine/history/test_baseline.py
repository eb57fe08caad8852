"""A history whose first revisions need tables that none of them makes: it starts from a baseline."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from railhead.devserver.binaries import binary
from railhead.dsn import Dsn
from tests.databases import Databases, rows_of
from tests.forked_tree import Workshop

BEFORE = """
CREATE TYPE mood AS ENUM ('glad', 'sad');
CREATE TABLE place (id int PRIMARY KEY, name text NOT NULL);
CREATE TABLE person (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text, mood mood DEFAULT 'glad', place int REFERENCES place);
CREATE FUNCTION shout(text) RETURNS text LANGUAGE sql IMMUTABLE AS $$SELECT upper($1) -- 100%% loud$$;
CREATE INDEX person_shout ON person (shout(name));
CREATE VIEW names AS SELECT name FROM person;
INSERT INTO place VALUES (1, 'here''s %% one');
""".replace("%%", "%")
"""What create_all() and hand-written statements have made before the first revision."""


@pytest.fixture
def rootless(bare: Workshop, database: Dsn) -> Workshop:
    """Three revisions on tables that came before them, and a database at the second."""
    rows_of(database, BEFORE)
    bare.write("m1", 'op.add_column("person", sa.Column("born", sa.Date))', 'op.drop_column("person", "born")')
    bare.write("m2", 'op.create_index("person_born", "person", ["born"])', 'op.drop_index("person_born")')
    bare.write("m3", 'op.create_index("person_name", "person", ["name"])', 'op.drop_index("person_name")')
    assert bare.alembic("stamp", "base").returncode == 0
    rows_of(database, "ALTER TABLE person ADD born date; CREATE INDEX person_born ON person (born)")
    assert bare.alembic("stamp", "m2").returncode == 0
    return bare


def other(tree: Workshop, databases: Databases) -> Dsn:
    """Let the commands speak to an empty database from now on."""
    tree.database = databases.new()
    return tree.database


def schema(dsn: Dsn) -> str:
    """Return what pg_dump says of a database, without what changes with each time."""
    said = subprocess.run(
        [binary("pg_dump"), "--schema-only", "--dbname", dsn[:]], capture_output=True, text=True, check=True
    )
    return "\n".join(line for line in said.stdout.splitlines() if "restrict" not in line)


def test_without_one_the_command_is_told(rootless: Workshop) -> None:
    """A history that cannot start from nothing is refused by `seal` with the command that gives it a baseline."""
    ended = rootless.migrate("seal")
    assert (ended.returncode, "[replay-failed]" in ended.stderr) == (3, True)
    assert "where what it needs comes from create_all() or from a dump" in ended.stderr
    assert "python utils/migrate.py seal --from REV" in ended.stderr


def test_start_on_an_empty_database_tells_it_too(rootless: Workshop, databases: Databases) -> None:
    """Where the first revision misses a table that nobody has made, the way out is in the message."""
    other(rootless, databases)
    ended = rootless.migrate()
    assert (ended.returncode, "[undefined-object]" in ended.stderr) == (3, True) or ended.returncode == 5, ended.stderr
    assert "python utils/migrate.py seal --from REV" in ended.stderr


def test_with_one_hazards_work(rootless: Workshop, database: Dsn) -> None:
    """What lies behind the baseline is replayed from it, told, and refused on a large table; `--check` is content."""
    ended = rootless.migrate("seal", "--from", "m2")
    assert ended.returncode == 0, ended.stderr
    assert "seal: 3 revisions in migrations/manifest.txt, 1 replayed\n" in ended.stdout
    assert "index-blocks-writes: person" in ended.stdout
    assert "migrations/baseline.sql makes the schema at m2, proven by its catalog" in ended.stdout
    assert rootless.migrate("seal", "--check").stdout == "the manifest is true\n"
    rows_of(database, "INSERT INTO person (name) SELECT 'n' FROM generate_series(1, 50); ANALYZE person")
    refused = rootless.migrate(MIGRATE_LARGE_TABLE="10")
    assert (refused.returncode, "m3 would block a large table" in refused.stderr) == (3, True)


@pytest.mark.parametrize("way", [("upgrade",), ("upgrade", "m2"), ("alembic",)], ids=" ".join)
def test_empty_database_begins_with_it(
    rootless: Workshop, database: Dsn, databases: Databases, way: tuple[str, ...]
) -> None:
    """A database that is empty gets the baseline, goes on from there, says so in the ledger, and has the schema of the others."""
    assert rootless.migrate("seal", "--from", "m2").returncode == 0
    goal = "m2" if "m2" in way else "m3"
    assert rootless.migrate(*(("upgrade", "m2") if goal == "m2" else ()), MIGRATE_HAZARDS="ignore").returncode == 0
    fresh = other(rootless, databases)
    ended = rootless.alembic("upgrade", "head") if way == ("alembic",) else rootless.migrate(*way)
    assert ended.returncode == 0, ended.stderr
    assert "the database was empty: migrations/baseline.sql has made the schema at m2" in ended.stderr
    assert rows_of(fresh, "SELECT version_num FROM alembic_version") == [(goal,)]
    found = rows_of(fresh, "SELECT action, revision, outcome FROM migration_ledger ORDER BY id")
    assert found == [("baseline", "m2", "applied"), *([("upgrade", "m3", "applied")] if goal == "m3" else [])]
    if goal == "m3":
        assert tables(schema(fresh)) == tables(schema(database))
    assert rows_of(fresh, "SELECT count(*) FROM person") == [(0,)]
    assert rootless.migrate("status").returncode == 0
    assert "nothing to do" in rootless.migrate(*(("upgrade", "m2") if goal == "m2" else ())).stdout


def tables(dump: str) -> set[str]:
    """Return the lines of a dump, but for the ledger's, which an own database has in another place."""
    return {line for line in dump.splitlines() if "ledger" not in line}


def test_rows_come_along_if_asked(rootless: Workshop, databases: Databases) -> None:
    """`--rows` keeps what a table holds, with all that is odd in it; the others are empty."""
    assert rootless.migrate("seal", "--from", "m2", "--rows", "place").returncode == 0
    fresh = other(rootless, databases)
    assert rootless.migrate().returncode == 0
    assert rows_of(fresh, "SELECT * FROM place") == [(1, "here's % one")]


def test_plan_of_an_empty_database_begins_with_it(rootless: Workshop, databases: Databases) -> None:
    """`plan` shows what comes behind the baseline, and says that it comes first."""
    assert rootless.migrate("seal", "--from", "m2").returncode == 0
    other(rootless, databases)
    told = rootless.migrate("plan").stdout
    assert "note: migrations/baseline.sql makes the schema at m2 first" in told
    assert ("m3  (" in told, "m1  (" in told) == (True, False)


def test_unmanaged_database_equal_to_it_is_taken_over(rootless: Workshop, database: Dsn) -> None:
    """A database without a version that has the baseline's schema is at its revision."""
    assert rootless.migrate("seal", "--from", "m2").returncode == 0
    rows_of(database, "DROP TABLE alembic_version, migration_ledger")
    ended = rootless.migrate("adopt")
    assert ended.stdout == "adopt: the database is at m2\n", ended.stderr


@pytest.mark.parametrize("form", ["plain", "custom"])
def test_a_dump_will_do(rootless: Workshop, database: Dsn, databases: Databases, tmp_path: Path, form: str) -> None:
    """What pg_dump has written, with rows and in either form, is as good as the database."""
    dump = tmp_path / "dump"
    subprocess.run([binary("pg_dump"), f"--format={form}", "--file", dump, "--dbname", database[:]], check=True)
    fresh = other(rootless, databases)
    ended = rootless.migrate("seal", "--from", "m2", "--dump", str(dump))
    assert ended.returncode == 0, ended.stderr
    assert rootless.migrate().returncode == 0
    assert rows_of(fresh, "SELECT version_num FROM alembic_version") == [("m3",)]


def test_a_database_elsewhere_is_refused(rootless: Workshop) -> None:
    """The baseline of a revision is made of a database that is there, and of no other; nothing is written."""
    ended = rootless.migrate("seal", "--from", "m1")
    assert (ended.returncode, "the database is not at m1" in ended.stderr) == (3, True)
    assert "python utils/migrate.py seal --from m2" in ended.stderr
    assert not (rootless.root / "migrations" / "baseline.sql").exists()


def test_a_failure_puts_the_file_back(rootless: Workshop) -> None:
    """Where what comes behind it does not run, neither the baseline nor the manifest is there afterwards."""
    rootless.write("m4", "op.execute('SELEC 1')")
    assert rootless.migrate("seal", "--from", "m2").returncode == 3
    assert not (rootless.root / "migrations" / "baseline.sql").exists()
    assert not (rootless.root / "migrations" / "manifest.txt").exists()


@pytest.mark.parametrize("spoil", ["edit", "remove"])
def test_only_the_sealed_one_is_believed(rootless: Workshop, databases: Databases, spoil: str) -> None:
    """A baseline that was changed or lost stops an empty database before anything is done, and `--check` says so."""
    assert rootless.migrate("seal", "--from", "m2").returncode == 0
    place = rootless.root / "migrations" / "baseline.sql"
    place.write_text(f"{place.read_text()}-- more") if spoil == "edit" else place.unlink()
    checked = rootless.migrate("seal", "--check")
    assert (checked.returncode, checked.stdout) == (1, "migrations/baseline.sql is missing, or not what was sealed\n")
    fresh = other(rootless, databases)
    ended = rootless.migrate()
    assert (ended.returncode, "[baseline]" in ended.stderr) == (3, True), ended.stderr
    assert rows_of(fresh, "SELECT to_regclass('person')") == [(None,)]


def test_an_older_ledger_learns_the_word(rootless: Workshop, databases: Databases) -> None:
    """A ledger that an earlier release has left in an empty database takes the row of a baseline."""
    assert rootless.migrate("seal", "--from", "m2").returncode == 0
    fresh = other(rootless, databases)
    assert rootless.migrate("upgrade", "m2").returncode == 0
    rows_of(
        fresh,
        "DROP VIEW names; DROP TABLE person, place, alembic_version; DROP FUNCTION shout; DROP TYPE mood; TRUNCATE migration_ledger",
    )
    rows_of(fresh, "ALTER TABLE migration_ledger DROP CONSTRAINT migration_ledger_action_check")
    rows_of(
        fresh,
        "ALTER TABLE migration_ledger ADD CONSTRAINT migration_ledger_action_check CHECK (action IN ('upgrade', 'adopt'))",
    )
    ended = rootless.migrate()
    assert ended.returncode == 0, ended.stderr
    assert rows_of(fresh, "SELECT action FROM migration_ledger ORDER BY id") == [("baseline",), ("upgrade",)]
