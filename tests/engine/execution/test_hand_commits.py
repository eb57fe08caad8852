"""A revision that ends its own transaction runs where nothing can be harmed, and is refused beforehand anywhere else."""

from __future__ import annotations

import re
from contextlib import closing

import psycopg2
import pytest

from railhead.dsn import Dsn
from railhead.schema import catalog
from tests.databases import Databases, rows_of
from tests.forked_tree import Workshop
from tests.hand_ends import BLOCK, COMMITS, DRIVER, FEW, HARMLESS, UNSEEN

FIRST = "op.create_table('person', sa.Column('id', sa.Integer, primary_key=True), sa.Column('name', sa.Text))"
LAST = "op.create_table('last', sa.Column('id', sa.Integer, primary_key=True))"
BACK = "op.execute('DROP INDEX person_name; ALTER TABLE person DROP COLUMN IF EXISTS later')"
IDS = ["0001_person", "0002_hand", "0003_more", "0004_last"]


def written(tree: Workshop, code: str, extra: str = "") -> Workshop:
    """Write a history in which the second revision does as it likes."""
    tree.write("0001_person", FIRST, "op.drop_table('person')")
    tree.write("0002_hand", code, BACK, extra=extra)
    tree.write("0003_more", "op.execute('ALTER TABLE person ADD COLUMN IF NOT EXISTS later int')")
    tree.write("0004_last", LAST, "op.drop_table('last')")
    return tree


def ledger(database: Dsn) -> list[object]:
    """Return the revisions that were applied, in that order."""
    return [
        row[0]
        for row in rows_of(database, "SELECT revision FROM migration_ledger WHERE outcome = 'applied' ORDER BY id")
    ]


def version(database: Dsn) -> list[tuple[object, ...]]:
    """Return where the database is."""
    return rows_of(database, "SELECT version_num FROM alembic_version")


def schema(database: Dsn) -> str:
    """Return the catalog of a database."""
    with closing(psycopg2.connect(database)) as connection:
        connection.autocommit = True
        return catalog.read(connection).text


@pytest.fixture(scope="session")
def expected(templates: Databases) -> str:
    """The schema that all these histories make."""
    database = templates.new()
    rows_of(
        database,
        "CREATE TABLE person (id serial CONSTRAINT pk_person PRIMARY KEY, name text, later int); CREATE INDEX person_name ON person (name);"
        "CREATE TABLE last (id serial CONSTRAINT pk_last PRIMARY KEY)",
    )
    return schema(database)


@pytest.mark.parametrize("hand", FEW)
def test_it_runs_on_an_empty_database(bare: Workshop, database: Dsn, expected: str, hand: str) -> None:
    """All revisions are applied, each once, with version and ledger right, and the run ends well."""
    written(bare, COMMITS[hand])
    ended = bare.migrate()
    assert ended.returncode == 0, ended.stderr
    assert version(database) == [("0004_last",)]
    assert ledger(database) == IDS
    assert schema(database) == expected


@pytest.fixture
def at_first(bare: Workshop) -> Workshop:
    """A project whose first revision is applied, and is not the last run's."""
    bare.write("0001_person", FIRST, "op.drop_table('person')")
    assert bare.migrate().returncode == 0
    return bare


@pytest.mark.parametrize("hand", FEW)
def test_it_is_refused_beforehand_where_tables_are(at_first: Workshop, database: Dsn, hand: str) -> None:
    """Nothing is touched, not even by the revisions before it, and the file is named; accepted in the file, all of it runs."""
    at_first.write("0002_before", "op.execute('CREATE TABLE before ()')")
    at_first.write("0003_hand", COMMITS[hand])
    at_first.write("0004_last", LAST)
    ended = at_first.migrate()
    assert (ended.returncode == 0) is (hand in UNSEEN), ended.stderr
    if hand not in UNSEEN:
        assert "[not-repeatable]" in ended.stderr
        assert "migrations/versions/0003_hand.py" in ended.stderr
        assert rows_of(database, "SELECT version_num, to_regclass('before') FROM alembic_version") == [
            ("0001_person", None)
        ]
        accepted = 'accepted_hazards = {"not-repeatable": "tried on a copy"}'
        at_first.write("0003_hand", COMMITS[hand], after="0002_before", extra=accepted)
        ended = at_first.migrate()
    assert ended.returncode == 0, ended.stderr
    assert version(database) == [("0004_last",)]
    assert ledger(database) == ["0001_person", "0002_before", "0003_hand", "0004_last"]
    assert rows_of(database, "SELECT to_regclass('person_name')") == [("person_name",)]


def test_all_of_them_are_named_at_once(at_first: Workshop, database: Dsn) -> None:
    """Who has several such files learns of all with the first refusal."""
    at_first.write("0002_one", COMMITS["SQL"])
    at_first.write("0003_two")
    at_first.write("0004_three", "op.get_bind().commit()")
    at_first.write("0005_four", "op.execute('DROP TABLE person')\n" + BLOCK + "op.execute('VACUUM')")
    ended = at_first.migrate()
    assert ended.returncode == 3
    named = [line.split()[-1] for line in ended.stderr.splitlines() if "migrations/versions/" in line]
    assert named == [f"migrations/versions/{name}.py" for name in ("0002_one", "0004_three", "0005_four")]
    assert version(database) == [("0001_person",)]


HELPER = {"SQL": "op.execute('COM' + 'MIT')", "driver": "getattr(op.get_bind(), 'com' + 'mit')()"}


@pytest.mark.parametrize("hand", HELPER)
@pytest.mark.parametrize("work", ["", "op.execute('CREATE TABLE made ()')\n"])
def test_what_the_file_does_not_show_is_stopped_before_it_happens(
    at_first: Workshop, database: Dsn, hand: str, work: str
) -> None:
    """A COMMIT that nobody could read is refused when it comes, and nothing of the revision stays; those before it do."""
    at_first.write("0002_before", "op.execute('CREATE TABLE before ()')")
    at_first.write("0003_hidden", f"{work}{HELPER[hand]}\nop.execute('CREATE TABLE after ()')")
    ended = at_first.migrate()
    if hand == "driver" and not work:  # there was nothing yet to be committed
        assert (ended.returncode, version(database)) == (0, [("0003_hidden",)])
        return
    assert (ended.returncode, version(database)) == (3, [("0002_before",)]), ended.stderr
    assert "0003_hidden" in ended.stderr
    assert "unchanged" not in ended.stderr
    assert rows_of(database, "SELECT to_regclass('made'), to_regclass('after')") == [(None, None)]


def test_a_refusal_cannot_be_caught(at_first: Workshop, database: Dsn) -> None:
    """A revision that goes on after it is stopped all the same."""
    caught = "try:\n    op.execute('COM' + 'MIT')\nexcept Exception:\n    pass"
    at_first.write("0002_deaf", f"op.execute('CREATE TABLE made ()')\n{caught}")
    ended = at_first.migrate()
    assert (ended.returncode, version(database)) == (3, [("0001_person",)]), ended.stderr
    assert rows_of(database, "SELECT to_regclass('made')") == [(None,)]


CLOSES = {
    "closed": "op.get_bind().close()",
    "with": "with op.get_bind() as bind:\n    bind.execute(sa.text('SELECT 1'))",
}


@pytest.mark.parametrize("code", CLOSES.values(), ids=CLOSES)
def test_a_connection_that_is_closed_takes_its_work_with_it(at_first: Workshop, database: Dsn, code: str) -> None:
    """That is refused in our own words alone, whatever SQLAlchemy would log of it."""
    at_first.write("0002_closed", f"op.execute('CREATE TABLE made ()')\n{code}")
    ended = at_first.migrate()
    assert (ended.returncode, version(database)) == (5, [("0001_person",)]), ended.stderr
    assert "[stolen-transaction]" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert rows_of(database, "SELECT to_regclass('made')") == [(None,)]


@pytest.mark.parametrize("hand", ["bind in the middle", "SQL", "SQL at the end", "driver's level", "AUTOCOMMIT"])
def test_down_and_up_again(bare: Workshop, database: Dsn, expected: str, hand: str) -> None:
    """A downgrade may end its transaction like an upgrade, once that is accepted, and the way up leads to the same schema."""
    accepted = 'accepted_hazards = {"not-repeatable": "tried"}'
    written(bare, COMMITS[hand], accepted)
    down = {"SQL": "op.execute('COMMIT')\n", "AUTOCOMMIT": "op.get_bind().commit()\n"}.get(hand, "") + BACK
    bare.write("0002_hand", COMMITS[hand], down, after="0001_person", extra=accepted)
    assert bare.migrate().returncode == 0
    ended = bare.migrate("downgrade", "0001_person", "--yes")
    assert (ended.returncode, version(database)) == (0, [("0001_person",)]), ended.stderr
    assert bare.migrate().returncode == 0
    assert (schema(database), version(database)) == (expected, [("0004_last",)])


@pytest.mark.parametrize("hand", ["bind, then a block", "SQL", "SQL at the end", "driver"])
def test_an_adopted_history_runs_from_the_middle(at_first: Workshop, database: Dsn, hand: str) -> None:
    """What is older than the first seal runs with one warning, and version and ledger are right."""
    at_first.write("0002_hand", COMMITS[hand])
    at_first.write("0003_last", LAST)
    assert at_first.migrate("seal", "--adopted-up-to", "0003_last").returncode == 0
    ended = at_first.migrate()
    assert (ended.returncode, version(database)) == (0, [("0003_last",)]), ended.stderr
    assert ended.stderr.count("warning") == 1
    assert ledger(database) == ["0001_person", "0002_hand", "0003_last"]


REPEATABLE = {
    "bind": "op.get_bind().commit()\nop.execute(\"ALTER TYPE mood ADD VALUE IF NOT EXISTS 'sad'\")",
    "SQL": "op.execute('COMMIT')\nop.execute(\"ALTER TYPE mood ADD VALUE IF NOT EXISTS 'sad'\")",
    "driver": f"{DRIVER}driver.commit()\ndriver.autocommit = True\nop.execute(\"ALTER TYPE mood ADD VALUE IF NOT EXISTS 'sad'\")",
}


@pytest.mark.parametrize("hand", REPEATABLE)
def test_what_can_be_run_again_is_no_hazard(bare: Workshop, database: Dsn, hand: str) -> None:
    """A replay sees that a crash does no harm: sealed, it runs on any database."""
    bare.write(
        "0001_mood",
        "op.execute(\"CREATE TYPE mood AS ENUM ('glad')\")\n" + FIRST,
        "op.execute('DROP TYPE mood')\nop.drop_table('person')",
    )
    assert bare.migrate().returncode == 0
    bare.write("0002_sad", REPEATABLE[hand])
    sealed = bare.migrate("seal")
    assert (sealed.returncode, "not-repeatable" in sealed.stdout) == (0, False), sealed.stdout + sealed.stderr
    ended = bare.migrate()
    assert (ended.returncode, version(database)) == (0, [("0002_sad",)]), ended.stderr


@pytest.mark.parametrize("hand", FEW)
def test_a_seal_finds_what_it_is(bare: Workshop, hand: str) -> None:
    """It is told as what it is, with what it does behind the COMMIT, and never as an error of Python's."""
    written(bare, COMMITS[hand])
    sealed = bare.migrate("seal")
    assert sealed.returncode == 0, sealed.stderr
    assert not re.search(r"(Assertion|InvalidRequest)Error", sealed.stdout)
    assert ("not-repeatable" in sealed.stdout) is (hand not in HARMLESS), sealed.stdout
    concurrently = "CONCURRENTLY" in COMMITS[hand] or "concurrently" in COMMITS[hand]
    assert ("index-blocks-writes: person" in sealed.stdout) is not concurrently


@pytest.mark.parametrize(
    "value", ["op.execute('COMMIT')\n", "op.get_bind().commit()\n", BLOCK], ids=["SQL", "bind", "block"]
)
def test_a_seal_needs_no_way_back_to_find_it(bare: Workshop, value: str) -> None:
    """Whether a crash can be mended is tried on a fresh copy where the downgrade leads nowhere."""
    bare.write("0001_mood", "op.execute(\"CREATE TYPE mood AS ENUM ('glad')\")", "op.execute('DROP TYPE mood')")
    bare.write("0002_sad", value + "op.execute(\"ALTER TYPE mood ADD VALUE 'sad'\")")
    if value.startswith("op.get_bind"):
        bare.write("0002_sad", f"{value}{BLOCK}op.execute(\"ALTER TYPE mood ADD VALUE 'sad'\")", after="0001_mood")
    bare.write(
        "0003_more", "op.execute(\"CREATE TABLE person (mood mood DEFAULT 'sad')\")", "op.execute('DROP TABLE person')"
    )
    sealed = bare.migrate("seal")
    assert sealed.returncode == 0, sealed.stderr
    assert 'it fails: enum label "sad" already exists' in sealed.stdout


ROWS = {
    "INSERT": "op.execute('INSERT INTO person (id) VALUES (7)')\nop.execute('COMMIT')",
    "UPDATE": "op.execute('UPDATE person SET id = id + 1')\nop.get_bind().commit()",
    "in a block": f"{BLOCK}op.execute('UPDATE person SET id = id + 1')",
    "of a table object": "person = sa.table('person', sa.column('id'))\nop.bulk_insert(person, [{'id': 7}])\nop.execute('COMMIT')",
}


@pytest.mark.parametrize("rows", ROWS)
def test_rows_that_would_be_written_twice_are_found(bare: Workshop, rows: str) -> None:
    """The schema is the same after a crash and a second run, but the rows are not."""
    bare.write("0001_person", FIRST, "op.drop_table('person')")
    bare.write("0002_rows", ROWS[rows])
    sealed = bare.migrate("seal")
    assert (sealed.returncode, "run again it writes the rows of" in sealed.stdout) == (0, True), sealed.stdout


@pytest.mark.parametrize(
    "rows",
    [
        "op.execute('COMMIT')\nop.execute('INSERT INTO person (id) VALUES (7) ON CONFLICT DO NOTHING')",
        "op.get_bind().commit()\nop.execute('INSERT INTO person (id) VALUES (7)')",
        "op.backfill('person', \"name = 'x'\", 'name IS NULL')",
        "op.execute('INSERT INTO person (id) VALUES (7)')",
    ],
)
def test_rows_that_are_written_once_are_no_hazard(bare: Workshop, rows: str) -> None:
    """By a verb, in the transaction that holds the version, or by a statement that sees what it has done before."""
    bare.write("0001_person", FIRST, "op.drop_table('person')")
    bare.write("0002_rows", rows)
    sealed = bare.migrate("seal")
    assert (sealed.returncode, "not-repeatable" in sealed.stdout) == (0, False), sealed.stdout
