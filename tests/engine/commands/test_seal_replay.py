"""`seal` finds out what each revision does, once, and says what could hurt."""

from __future__ import annotations

import time

import pytest

from railhead.dsn import Dsn
from railhead.history import manifest
from railhead.history.manifest import SealedRevision
from tests.databases import rows_of
from tests.forked_tree import Workshop

HEAD = "0002_add_task_due_on"
DROP = 'op.drop_column("task", "due_on")'


def entries(tree: Workshop) -> dict[str, SealedRevision]:
    """Return the lines of the manifest."""
    found = manifest.read(tree.root / "migrations" / "manifest.txt")
    assert found is not None
    return {entry.revision: entry for entry in found.entries}


def seal(tree: Workshop, *arguments: str, **variables: str) -> str:
    """Seal, and return what was said."""
    ended = tree.migrate("seal", *arguments, **variables)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def test_the_whole_line_is_filled(workshop: Workshop) -> None:
    """A sealed revision has the fingerprint of its schema, `works` or `breaks`, and its hazards with their tables."""
    workshop.write("0003_drop", DROP, after=HEAD)
    workshop.write("0004_index", 'op.create_index("ix_t", "task", ["title"])', 'op.drop_index("ix_t", "task")')
    seal(workshop)
    found = entries(workshop)
    fingerprints = [entry.catalog for entry in found.values()]
    assert fingerprints[2] == fingerprints[0], "the column came and went"
    assert len(set(fingerprints)) == 3
    assert [found[one].previous for one in ("0003_drop", "0004_index")] == ["breaks", "works"]
    assert found["0003_drop"].tokens == (
        "breaks-previous-release:task",
        "destroys-data:task:column due_on",
        "not-reversible",
    )
    assert found["0004_index"].tokens == ("index-blocks-writes:task",)


def test_only_what_is_new_is_replayed(workshop: Workshop) -> None:
    """What is sealed stays sealed; a change in meaning unseals a revision and all that build on it."""
    workshop.write("0003_one", "op.execute('CREATE TABLE one ()')", "op.execute('DROP TABLE one')", after=HEAD)
    workshop.write("0004_two", "op.execute('CREATE TABLE two ()')", "op.execute('DROP TABLE two')")
    assert "2 replayed" in seal(workshop)
    assert seal(workshop) == "seal: 4 revisions in migrations/manifest.txt, as before\n"
    path = workshop.versions / "0003_one.py"
    path.write_text(path.read_text().replace("TABLE one", "TABLE uno"))
    before = entries(workshop)
    told = workshop.migrate("seal", "--check")
    assert told.returncode == 1
    assert told.stdout.splitlines() == [
        "0003_one.py means something else than when it was sealed",
        "0004_two.py builds on one that means something else than when it was sealed",
    ]
    assert "2 replayed" in seal(workshop)
    after = entries(workshop)
    assert [one for one in after if after[one].catalog != before[one].catalog] == ["0003_one", "0004_two"]


def test_check_changes_nothing_and_is_quick(workshop: Workshop, database: Dsn) -> None:
    """`seal --check` needs no database, answers within two seconds, and says when nobody has looked at a revision."""
    assert workshop.migrate("seal", "--check").returncode == 0
    began = time.monotonic()
    assert workshop.migrate("seal", "--check", DATABASE_URL="postgresql://nobody@127.0.0.1:1/x").returncode == 0
    assert time.monotonic() - began < 2
    workshop.write("0003_one", after=HEAD)
    seal(workshop, "--no-replay")
    told = workshop.migrate("seal", "--check")
    assert (told.returncode, told.stdout) == (1, "0003_one.py is listed, but nobody has looked at what it does\n")
    assert rows_of(database, "SELECT count(*) FROM pg_class WHERE relname = 'alembic_version'") == [(0,)]


def test_what_does_not_run_from_empty_is_said(workshop: Workshop) -> None:
    """The file, PostgreSQL's words and the ways out are told, and nothing is written."""
    workshop.write("0003_lost", 'op.execute("ALTER TABLE nowhere ADD x int")', after=HEAD)
    before = (workshop.root / "migrations" / "manifest.txt").read_text()
    ended = workshop.migrate("seal")
    assert ended.returncode == 3
    assert "0003_lost does not run on an empty database" in ended.stderr
    assert 'relation "nowhere" does not exist (SQLSTATE 42P01)' in ended.stderr
    assert "[replay-failed]" in ended.stderr
    assert (workshop.root / "migrations" / "manifest.txt").read_text() == before


@pytest.mark.parametrize("code", ["58030", "XX001", "53400"])
def test_a_server_that_fails_is_not_the_files_fault(workshop: Workshop, code: str) -> None:
    """`seal` and `plan` say that it was the server, and send nobody to correct the file."""
    workshop.write(
        "0003_x", f"op.execute(\"DO $$ BEGIN RAISE 'it broke' USING ERRCODE = '{code}'; END $$\")", after=HEAD
    )
    ended = workshop.migrate("seal")
    assert ended.returncode == 3
    assert "seal stopped: the server failed while 0003_x was tried" in ended.stderr
    assert f"it broke (SQLSTATE {code})" in ended.stderr
    assert "0003_x.py is not to blame" in ended.stderr
    assert "correct" not in ended.stderr
    assert "the server failed while 0003_x was tried: it broke" in workshop.migrate("plan").stdout


def test_findings_come_with_the_way_out(workshop: Workshop) -> None:
    """What could block is named with the index and table, and followed by the file as it should be."""
    workshop.write("0003_i", 'op.create_index("ix_t", "task", ["title"])', 'op.drop_index("ix_t", "task")', after=HEAD)
    told = seal(workshop)
    assert "Building the index ix_t blocks every write to task until it is finished." in told
    assert 'op.create_index_concurrently("ix_t", "task", ["title"])' in told


def test_what_cannot_run_again_is_pointed_out(workshop: Workshop) -> None:
    """A revision that mixes both kinds of work is sealed as such, with the two files that it should be."""
    workshop.write(
        "0003_both",
        'op.add_column("task", sa.Column("x", sa.Integer()))\nop.create_index_concurrently("ix_x", "task", ["x"])',
        'op.drop_column("task", "x")',
        after=HEAD,
    )
    told = seal(workshop)
    assert "new, migrations/versions/0004_both_finish.py:" in told
    assert entries(workshop)["0003_both"].tokens == ("not-repeatable",)


def test_misspelt_acceptance_is_pointed_out(workshop: Workshop) -> None:
    """A slug that no hazard has accepts nothing, and `seal` says so."""
    workshop.write("0003_x", after=HEAD, extra='accepted_hazards = {"rewrite-table": "small"}\n')
    assert "0003_x.py: accepted_hazards names rewrite-table, and no hazard is called that" in seal(workshop)


@pytest.mark.parametrize("name", ["Großer Tisch, 100%:x", 'a "quoted" one', "a#b"])
def test_names_survive(workshop: Workshop, database: Dsn, name: str) -> None:
    """A table may have blanks, commas, colons and quotes in its name: it is found again on the database, and refused."""
    quoted = '"' + name.replace('"', '""') + '"'
    create, drop = f"CREATE TABLE {quoted} (a int)", f"DROP TABLE {quoted}"
    index, back = f"CREATE INDEX odd ON {quoted} (a)", "DROP INDEX odd"
    calls = [f"op.get_bind().exec_driver_sql({sql.replace('%', '%%')!r})" for sql in (create, drop, index, back)]
    workshop.write("0003_table", *calls[:2], after=HEAD)
    assert workshop.migrate().returncode == 0
    workshop.write("0004_index", *calls[2:])
    seal(workshop)
    rows_of(database, f"INSERT INTO {quoted} SELECT generate_series(1, 50)".replace("%", "%%"), ())
    rows_of(database, "ANALYZE")
    ended = workshop.migrate(MIGRATE_LARGE_TABLE="50")
    assert ended.returncode == 3
    assert f"index-blocks-writes: {quoted}, about 50 rows" in ended.stderr


def test_a_role_that_may_not_create_databases_still_seals(workshop: Workshop, database: Dsn) -> None:
    """Where the named server refuses scratch databases, the embedded one is used."""
    role = f"poor_{database.parameters()['dbname']}"
    rows_of(database, f'CREATE ROLE "{role}" LOGIN')
    try:
        workshop.write("0003_x", after=HEAD)
        workshop.database = database.with_(user=role)
        ended = workshop.migrate("seal", APP_ENV="development")
        assert ended.returncode == 0, ended.stderr
        assert "scratch databases are made on the embedded server: the role may not create any" in ended.stderr
    finally:
        rows_of(database, f'DROP ROLE "{role}"')
