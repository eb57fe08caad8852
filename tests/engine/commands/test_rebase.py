"""Two branches that each add a revision: git says so, the start refuses, `rebase` mends it, and both run."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from railhead.dsn import Dsn
from tests.databases import rows_of
from tests.forked_tree import Workshop

HEAD = "0002_add_task_due_on"

MESSY = '''\
"""Ours, as Alembic's own template has it.

Revision ID: 0003_messy
Revises: 0002_add_task_due_on
Create Date: 2024-05-01
"""
from typing import Union
from alembic import op   # with a remark, ümlaut

revision: str = '0003_messy'
down_revision: Union[str, None] = "0002_add_task_due_on"   # the parent
branch_labels = None


def upgrade() -> None:
    op.execute( "CREATE TABLE messy ()" )
def downgrade() -> None:
    op.execute("DROP TABLE messy")
'''


def forked(tree: Workshop) -> None:
    """Add two revisions on top of the same one."""
    tree.write("0003_ours", "op.execute('CREATE TABLE ours ()')", "op.execute('DROP TABLE ours')", after=HEAD)
    tree.write("0003_theirs", "op.execute('CREATE TABLE theirs ()')", "op.execute('DROP TABLE theirs')", after=HEAD)


def tables(database: Dsn) -> set[str]:
    """Return the names of all tables."""
    return {str(name) for (name,) in rows_of(database, "SELECT relname FROM pg_class WHERE relkind = 'r'")}


def versions(tree: Workshop) -> list[str]:
    """Return the names of the revision files."""
    return sorted(path.name for path in tree.versions.glob("*.py"))


def test_git_sees_that_two_branches_add_a_revision(workshop: Workshop, tmp_path: Path) -> None:
    """The manifests of two branches that each add a revision cannot be merged without a look."""
    place = workshop.root / "migrations" / "manifest.txt"
    sides = {"base": place.read_text()}
    for name in ("ours", "theirs"):
        added = workshop.write(f"0003_{name}", after=HEAD)
        assert workshop.migrate("seal", "--no-replay").returncode == 0
        sides[name] = place.read_text()
        added.unlink()
    for name, text in sides.items():
        (tmp_path / name).write_text(text)
    merged = subprocess.run(
        ["git", "merge-file", "-p", "ours", "base", "theirs"], cwd=tmp_path, capture_output=True, text=True
    )
    assert merged.returncode > 0
    assert "<<<<<<<" in merged.stdout


def test_fork_is_refused_mended_and_runs(at_head: Workshop, database: Dsn) -> None:
    """Forced through, a fork is refused with the command that mends it; after that command both revisions run."""
    forked(at_head)
    refused = at_head.migrate()
    assert refused.returncode == 3
    assert "[forked]" in refused.stderr
    assert "python utils/migrate.py rebase 0003_theirs" in refused.stderr
    mended = at_head.migrate("rebase", "0003_theirs")
    assert mended.returncode == 0, mended.stderr
    assert "0003_theirs.py -> 0004_theirs.py" in mended.stdout
    assert versions(at_head)[2:] == ["0003_ours.py", "0004_theirs.py"]
    assert at_head.migrate().returncode == 0
    assert {"ours", "theirs"} <= tables(database)
    assert rows_of(database, "SELECT version_num FROM alembic_version") == [("0004_theirs",)]


@pytest.mark.parametrize("resolved", ["with its markers", "--ours", "--theirs"])
def test_merge_of_two_branches_stops_at_the_manifest_and_is_mended(
    at_head: Workshop, database: Dsn, tmp_path: Path, resolved: str
) -> None:
    """Git merges all but the manifest; however somebody forces it through, the start refuses, and `rebase` mends it."""

    def git(*arguments: str) -> subprocess.CompletedProcess[str]:
        who = ("-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "init.defaultBranch=main")
        places = (f"--git-dir={tmp_path / 'git'}", f"--work-tree={at_head.root}")
        return subprocess.run(
            ["git", *who, *places, *arguments], cwd=at_head.root, capture_output=True, text=True, check=False
        )

    def commit(branch: str) -> None:
        assert git("add", "migrations").returncode == 0
        assert git("commit", "-qm", branch).returncode == 0

    git("init", "-q")
    commit("base")
    for name in ("ours", "theirs"):
        git("checkout", "-q", "-b", name, "main")
        table = f"CREATE TABLE {name} ()"
        at_head.write(f"0003_{name}", f"op.execute({table!r})", f"op.execute('DROP TABLE {name}')", after=HEAD)
        assert at_head.migrate("seal").returncode == 0
        commit(name)
    merged = git("merge", "ours")
    assert merged.returncode != 0
    assert git("diff", "--name-only", "--diff-filter=U").stdout.split() == ["migrations/manifest.txt"]
    if resolved.startswith("--"):
        assert git("checkout", resolved, "migrations/manifest.txt").returncode == 0
    commit("merged")
    refused = at_head.migrate()
    assert (refused.returncode, "[forked]" in refused.stderr) == (3, True)
    assert at_head.migrate("rebase", "0003_theirs").returncode == 0
    ended = at_head.migrate()
    assert ended.returncode == 0, ended.stderr
    assert {"ours", "theirs"} <= tables(database)
    assert at_head.migrate("seal").returncode == at_head.migrate("seal", "--check").returncode == 0


def test_manifest_lists_what_was_moved(at_head: Workshop) -> None:
    """After `rebase` the manifest lists the files as they are, keeps what it knew of the others, and asks for a replay."""
    forked(at_head)
    at_head.migrate("rebase", "0003_theirs.py")
    assert at_head.migrate("seal", "--check", "--no-replay").returncode == 0
    assert at_head.migrate("seal", "--check").stdout.splitlines() == [
        "0003_ours.py is listed, but nobody has looked at what it does",
        "0004_theirs.py is listed, but nobody has looked at what it does",
    ]


def test_whole_branch_moves_in_order(workshop: Workshop, database: Dsn) -> None:
    """A branch of several revisions moves as a whole, in its order, whichever of them is named."""
    workshop.write("0003_ours", after=HEAD)
    workshop.write("0004_more")
    workshop.write("0003_theirs", "op.execute('CREATE TABLE theirs ()')", "op.execute('DROP TABLE theirs')", after=HEAD)
    workshop.write("0004_again", "op.execute('DROP TABLE theirs')", "op.execute('CREATE TABLE theirs ()')")
    ended = workshop.migrate("rebase", "0003_theirs")
    assert ended.returncode == 0, ended.stderr
    assert versions(workshop)[2:] == ["0003_ours.py", "0004_more.py", "0005_theirs.py", "0006_again.py"]
    assert workshop.migrate().returncode == 0
    assert rows_of(database, "SELECT version_num FROM alembic_version") == [("0006_again",)]


def test_files_of_one_branch_may_take_each_others_names(at_head: Workshop, database: Dsn) -> None:
    """Where the new name of one file is the old name of the next, both are there afterwards, each with its own work."""
    at_head.write("0003_ours", after=HEAD)
    for number, after in (("0003", HEAD), ("0004", None)):
        table = f"of_{number}"
        at_head.write(
            f"{number}_fix", f"op.execute('CREATE TABLE {table} ()')", f"op.execute('DROP TABLE {table}')", after=after
        )
    ended = at_head.migrate("rebase", "0004_fix")
    assert ended.returncode == 0, ended.stderr
    assert versions(at_head)[2:] == ["0003_ours.py", "0004_fix.py", "0005_fix.py"]
    assert at_head.migrate().returncode == 0
    assert {"of_0003", "of_0004"} <= tables(database)


def test_nobodys_file_is_written_over(at_head: Workshop) -> None:
    """A new name that another file has already is refused, and no file is touched."""
    at_head.write("0004_fix", after=HEAD, revision="0003_ours")
    at_head.write("0003_fix", after=HEAD)
    before = {path: path.read_bytes() for path in at_head.versions.glob("*.py")}
    ended = at_head.migrate("rebase", "0003_fix")
    assert (ended.returncode, "[revision-file]" in ended.stderr) == (3, True)
    assert {path: path.read_bytes() for path in at_head.versions.glob("*.py")} == before


def test_only_the_lines_that_say_so_are_edited(workshop: Workshop) -> None:
    """Quotes, remarks, annotations and formatting stay; the lines of Alembic's docstring follow."""
    workshop.write("0003_ours", after=HEAD)
    (workshop.versions / "0003_messy.py").write_text(MESSY)
    assert workshop.migrate("rebase", "0003_messy").returncode == 0
    text = (workshop.versions / "0004_messy.py").read_text()
    expected = MESSY.replace("0003_messy", "0004_messy").replace(HEAD, "0003_ours")
    assert text == expected


def test_one_id_twice_is_mended_by_naming_the_file(at_head: Workshop, database: Dsn) -> None:
    """Two files with one id are refused as forked; the id is ambiguous, the file is not, and afterwards both run."""
    at_head.write("0003_a", "op.execute('CREATE TABLE a ()')", after=HEAD, revision="0003_add")
    at_head.write("0003_b", "op.execute('CREATE TABLE b ()')", after=HEAD, revision="0003_add")
    assert "[forked]" in at_head.migrate().stderr
    assert at_head.migrate("rebase", "0003_add").returncode == 2
    ended = at_head.migrate("rebase", "migrations/versions/0003_b.py")
    assert ended.returncode == 0, ended.stderr
    assert versions(at_head)[2:] == ["0003_a.py", "0004_b.py"]
    assert at_head.migrate().returncode == 0
    assert {"a", "b"} <= tables(database)


def test_what_the_database_has_keeps_its_place(workshop: Workshop) -> None:
    """A revision that was applied here is not moved; the other branch is."""
    workshop.write("0003_ours", after=HEAD)
    assert workshop.migrate().returncode == 0
    workshop.write("0003_theirs", after=HEAD)
    refused = workshop.migrate("rebase", "0003_ours")
    assert (refused.returncode, "[already-applied]" in refused.stderr) == (3, True)
    assert workshop.migrate("rebase", "0003_theirs").returncode == 0
    assert workshop.migrate().returncode == 0


def test_what_only_this_database_has_is_taken_back_and_moved(workshop: Workshop, database: Dsn) -> None:
    """The branch that others have deployed keeps its name: a fork is not in the way of going back before it."""
    workshop.write("0003_ours", "op.execute('CREATE TABLE ours ()')", "op.execute('DROP TABLE ours')", after=HEAD)
    assert workshop.migrate().returncode == 0
    workshop.write("0003_theirs", "op.execute('CREATE TABLE theirs ()')", after=HEAD)
    refused = workshop.migrate("rebase", "0003_ours").stderr
    for command in ((f"downgrade {HEAD}", "--yes"), ("rebase 0003_ours",)):
        assert f"python utils/migrate.py {command[0]}\n" in refused
        ended = workshop.migrate(*command[0].split(), *command[1:])
        assert ended.returncode == 0, ended.stderr
    assert versions(workshop)[2:] == ["0003_theirs.py", "0004_ours.py"]
    assert workshop.migrate().returncode == 0
    assert {"ours", "theirs"} <= tables(database)


def test_what_all_heads_build_on_is_not_moved(workshop: Workshop) -> None:
    """It belongs to both branches; the message names a head instead."""
    workshop.write("0003_ours", after=HEAD)
    workshop.write("0003_theirs", after=HEAD)
    refused = workshop.migrate("rebase", HEAD)
    assert refused.returncode == 3
    assert f"more than one head builds on {HEAD}: it belongs to all of them" in refused.stderr


def test_a_twin_that_was_applied_is_told_by_its_checksum(workshop: Workshop, database: Dsn) -> None:
    """Of two files with one id, the ledger knows which was applied: only the other may move."""
    workshop.write("0003_a", "op.execute('CREATE TABLE a ()')", after=HEAD, revision="0003_add")
    assert workshop.migrate().returncode == 0
    workshop.write("0003_b", "op.execute('CREATE TABLE b ()')", after=HEAD, revision="0003_add")
    assert "[already-applied]" in workshop.migrate("rebase", "0003_a.py").stderr
    assert workshop.migrate("rebase", "0003_b.py").returncode == 0
    assert workshop.migrate().returncode == 0
    assert {"a", "b"} <= tables(database)


@pytest.mark.parametrize(
    ("wanted", "slug", "code"), [(HEAD, "nothing-to-rebase", 3), ("0009_none", "unknown-revision", 2)]
)
def test_nothing_to_do_is_said(workshop: Workshop, wanted: str, slug: str, code: int) -> None:
    """One line needs no mending, and what does not exist cannot be moved."""
    ended = workshop.migrate("rebase", wanted)
    assert (ended.returncode, f"[{slug}]" in ended.stderr) == (code, True)


def test_what_is_broken_otherwise_is_left_alone(workshop: Workshop) -> None:
    """A parent that does not exist is said, and no file is touched."""
    forked(workshop)
    workshop.write("0004_lost", after="0003_gone")
    before = versions(workshop)
    ended = workshop.migrate("rebase", "0004_lost")
    assert (ended.returncode, "[revision-file]" in ended.stderr) == (3, True)
    assert versions(workshop) == before
