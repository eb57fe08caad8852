"""`python utils/migrate.py seal`: who writes the manifest, and who says that it is not true."""

from __future__ import annotations

from pathlib import Path

import pytest

from railhead.dsn import Dsn
from railhead.history.checksum import checksum_of
from railhead.history.manifest import SealedRevision, read, render
from tests.databases import rows_of
from tests.forked_tree import Workshop

HEAD = "0002_add_task_due_on"


def manifest_of(tree: Workshop) -> Path:
    """Return the place of the manifest in a tree."""
    return tree.root / "migrations" / "manifest.txt"


def check(tree: Workshop, *arguments: str) -> tuple[int, list[str]]:
    """Return the exit code of `seal --check`, and its sentences; about files only unless `arguments` say otherwise."""
    ended = tree.migrate("seal", *(arguments or ("--check", "--no-replay")))
    return ended.returncode, ended.stdout.splitlines()


def test_what_was_sealed_is_true(bare: Workshop) -> None:
    """`seal` writes a manifest that `seal --check` and the fast path believe; again it changes nothing."""
    bare.write("0001_first")
    bare.write("0002_second")
    first = bare.migrate("seal", "--no-replay")
    text = manifest_of(bare).read_text()
    again = bare.migrate("seal", "--no-replay")
    assert (first.returncode, first.stdout) == (0, "seal: 2 revisions in migrations/manifest.txt\n")
    assert (again.returncode, again.stdout) == (0, "seal: 2 revisions in migrations/manifest.txt, as before\n")
    assert manifest_of(bare).read_text() == text
    assert check(bare) == (0, ["the manifest is true"])
    found = read(manifest_of(bare))
    assert found is not None
    assert found.heads == ("0002_second",)
    assert found.is_true(bare.versions)


def test_the_shipped_manifest_is_true(workshop: Workshop) -> None:
    """What is committed describes the revisions that are committed."""
    assert check(workshop) == (0, ["the manifest is true"])


def test_check_says_what_is_not_true(workshop: Workshop) -> None:
    """A file that is new, one that changed and one that is gone are each named; nothing is written."""
    before = manifest_of(workshop).read_text()
    workshop.write("0003_new", after=HEAD)
    assert check(workshop) == (1, ["0003_new.py is not sealed"])
    (workshop.versions / "0003_new.py").unlink()
    place = workshop.versions / f"{HEAD}.py"
    place.write_text(place.read_text().replace("nullable=True", "nullable=False"))
    assert check(workshop) == (1, [f"{HEAD}.py means something else than when it was sealed"])
    place.unlink()
    assert check(workshop) == (1, [f"{HEAD}.py is sealed, but gone"])
    assert manifest_of(workshop).read_text() == before


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "migrations/manifest.txt is missing"),
        ("<<<<<<< HEAD\n", "migrations/manifest.txt was cut short, is in conflict, or was changed by hand"),
    ],
)
def test_check_says_when_there_is_no_manifest_to_believe(workshop: Workshop, text: str | None, said: str) -> None:
    """Missing is told from spoilt, and sealing again mends both."""
    place = manifest_of(workshop)
    place.write_text(text) if text else place.unlink()
    assert check(workshop) == (1, [said])
    assert workshop.migrate("seal", "--no-replay").returncode == 0
    assert check(workshop)[0] == 0


def test_a_history_that_is_none_is_not_sealed(workshop: Workshop) -> None:
    """A forked history is refused in the usual form, and the manifest stays as it was."""
    before = manifest_of(workshop).read_text()
    workshop.write("0002_other", after="0001_baseline")
    for arguments in (("seal", "--no-replay"), ("seal", "--check", "--no-replay")):
        ended = workshop.migrate(*arguments)
        assert (ended.returncode, "[forked]" in ended.stderr) == (3, True)
    assert manifest_of(workshop).read_text() == before


def test_one_id_twice_is_no_true_manifest(workshop: Workshop) -> None:
    """`seal --check` of two files with one id stops as the start does, and the manifest is as it was."""
    manifest = workshop.root / "migrations" / "manifest.txt"
    before = manifest.read_text()
    workshop.write("0003_copy", after="0001_baseline", revision="0002_add_task_due_on")
    ended = workshop.migrate("seal", "--check")
    assert (ended.returncode, "[forked]" in ended.stderr) == (3, True), ended.stderr
    assert "python utils/migrate.py rebase 0003_copy.py" in ended.stderr
    assert manifest.read_text() == before


def test_sealing_needs_no_database(workshop: Workshop) -> None:
    """`seal --no-replay` reads files only."""
    workshop.write("0003_new", after=HEAD)
    ended = workshop.migrate("seal", "--no-replay", DATABASE_URL="postgresql://nobody@127.0.0.1:1/nowhere")
    assert ended.returncode == 0, ended.stderr


def test_what_was_found_out_stays_while_the_file_means_the_same(bare: Workshop) -> None:
    """Reformatting keeps what a replay has found; a change in meaning forgets it."""
    place = bare.write("0001_first", "op.execute('CREATE TABLE a ()')")
    checksum = checksum_of(place)
    assert checksum
    known = SealedRevision("0001_first.py", "0001_first", "-", checksum, "fingerprint", "works", phase="pre-deploy")
    manifest_of(bare).write_text(render([known], bare.versions))
    place.write_text(f"# a remark\n{place.read_text()}")
    bare.migrate("seal", "--no-replay")
    assert sealed(bare) == known
    place.write_text(place.read_text().replace("TABLE a", "TABLE b"))
    bare.migrate("seal", "--no-replay")
    assert sealed(bare) == known._replace(checksum=checksum_of(place), catalog="-", previous="-")


def test_sealing_looks_at_what_a_revision_does(bare: Workshop, database: Dsn) -> None:
    """Without --no-replay each new revision is run on a scratch database, and what could hurt is listed and explained."""
    bare.write("0001_first", "op.create_table('note', sa.Column('id', sa.Integer))", "op.drop_table('note')")
    bare.write("0002_second", "op.create_index('note_id', 'note', ['id'])", "op.drop_index('note_id')")
    ended = bare.migrate("seal")
    assert (ended.returncode, "index-blocks-writes" in ended.stdout) == (0, True), ended.stderr
    assert check(bare, "--check") == (0, ["the manifest is true"])
    found = read(manifest_of(bare))
    assert found is not None
    assert [entry.previous for entry in found.entries] == ["works", "works"]
    assert found.entries[1].hazards == "index-blocks-writes:note"
    assert rows_of(database, "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace") == []


def test_a_revision_that_does_not_run_is_not_sealed(bare: Workshop) -> None:
    """A failure on the scratch database is told with the file and PostgreSQL's words, and nothing is written."""
    bare.write("0001_first")
    bare.write("0002_second", "op.execute('SELEC 1')")
    ended = bare.migrate("seal")
    assert (ended.returncode, "[replay-failed]" in ended.stderr) == (3, True)
    assert 'syntax error at or near "SELEC" (SQLSTATE 42601)' in ended.stderr
    assert not manifest_of(bare).exists()


def test_a_revision_that_ends_its_transaction_is_sealed_as_what_it_is(bare: Workshop) -> None:
    """What came before the COMMIT stays after a crash, and the version does not: that cannot be run again."""
    bare.write(
        "0001_first", "op.execute('CREATE TABLE thing (id int)')\nop.execute('COMMIT')", "op.drop_table('thing')"
    )
    ended = bare.migrate("seal")
    assert ended.returncode == 0, ended.stderr
    assert sealed(bare).tokens == ("not-repeatable",)
    assert "run again after a crash behind 'COMMIT' it fails: relation \"thing\" already exists" in ended.stdout


def sealed(tree: Workshop) -> SealedRevision:
    """Return the only line of the manifest."""
    found = read(manifest_of(tree))
    assert found is not None
    (entry,) = found.entries
    return entry
