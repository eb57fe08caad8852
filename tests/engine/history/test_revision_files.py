"""What stands in the folder of the revisions is loaded, left out, or named: by every command in the same way."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from railhead.dsn import Dsn
from railhead.history import glance, manifest
from railhead.history.files import as_text
from tests.databases import rows_of
from tests.forked_tree import Workshop
from tests.project_tree import MIGRATE

TABLE = "op.create_table('note', sa.Column('id', sa.Integer))"
BACK = "op.drop_table('note')"
APPLE_DOUBLE = b"\0\5\x16\7\0\2\0\0Mac OS X        \0\2\0\0\0\x09"


def _directory(folder: Path) -> None:
    (folder / "0003_old.py").mkdir()
    (folder / "0003_old.py" / "inside.py").write_text("raise ValueError")


def _package(folder: Path) -> None:
    (folder / "__init__.py").write_text("raise ValueError")


def _left_behind(folder: Path) -> None:
    (folder / "._0001_note.py").write_bytes(APPLE_DOUBLE)


def _lock_of_emacs(folder: Path) -> None:
    (folder / ".#0001_note.py").symlink_to("somebody@elsewhere.4711:1")


def _copies(folder: Path) -> None:
    source = (folder / "0001_note.py").read_text()
    for name in ("0001_note.py~", "#0001_note.py#", ".0001_note.py.swp", "0001_note.py.orig", ".0001_note.py"):
        (folder / name).write_text(source)


def _byte_code(folder: Path) -> None:
    (folder / "0009_gone.pyc").write_bytes(b"of another Python")
    (folder / "__pycache__").mkdir(exist_ok=True)
    (folder / "__pycache__" / "0009_gone.cpython-311.pyc").write_bytes(b"of another Python")


@pytest.mark.parametrize("leave", [_directory, _package, _left_behind, _lock_of_emacs, _copies, _byte_code])
def test_what_is_no_revision_is_left_out(bare: Workshop, database: Dsn, leave: Callable[[Path], None]) -> None:
    """Folders, hidden files, byte code and what editors leave: no command stumbles over it, and the quick start stays quick."""
    bare.write("0001_note", TABLE, BACK)
    assert bare.migrate("seal").returncode == 0
    leave(bare.versions)
    commands = (("upgrade",), ("seal", "--check"), ("status", "--exit-code"), ("seal",))
    for ended in [*(bare.migrate(*command) for command in commands), bare.alembic("current"), bare.alembic("history")]:
        assert ended.returncode == 0, ended.stderr
    assert bare.alembic("revision", "--autogenerate", "-m", "models").returncode == 0
    assert sorted(bare.versions.glob("0002_*.py"))
    bare.migrate("seal", "--no-replay")
    assert glance.heads_of(bare.root / "migrations" / "manifest.txt", bare.versions)
    assert rows_of(database, "SELECT version_num FROM alembic_version") == [("0001_note",)]


SPOILT: dict[str, tuple[Callable[[Path], object], str]] = {
    "UTF-16": (lambda path: path.write_text("revision = 'x'\ndown_revision = None\n", "utf-16"), "in UTF-8"),
    "UTF-16 without a mark": (lambda path: path.write_text("revision = 'x'\n", "utf-16-le"), "in UTF-8"),
    "null bytes": (lambda path: path.write_bytes(bytes(4096)), "in UTF-8"),
    "another encoding": (lambda path: path.write_bytes("NAME = 'größe'".encode("latin-1")), "correct the file"),
    "a link to nowhere": (lambda path: path.symlink_to("gone.py"), "correct the file"),
    "no down_revision": (lambda path: path.write_text("revision = 'x'"), "correct the file"),
    "no revision": (lambda path: path.write_text("HELP = 1"), "correct the file"),
    "too deep": (lambda path: path.write_text(f"x = {'(' * 900}{')' * 900}"), "correct the file"),
}  # fmt: skip


@pytest.mark.parametrize(("spoil", "step"), SPOILT.values(), ids=SPOILT)
def test_a_file_that_cannot_be_loaded_is_named(bare: Workshop, spoil: Callable[[Path], object], step: str) -> None:
    """Also where Python's own words do not name it: no command ends in a traceback, or speaks of another file."""
    bare.write("0001_note", TABLE, BACK)
    bare.migrate("seal")
    spoil(bare.versions / "0002_spoilt.py")
    for ended in (*(bare.migrate(one) for one in ("status", "upgrade", "seal", "doctor")), bare.alembic("current")):
        assert ended.returncode in {1, 3}
        assert "migrations/versions/0002_spoilt.py" in ended.stdout + ended.stderr
        assert "Traceback" not in ended.stderr
    assert step in bare.migrate("upgrade").stderr


NAMES = [b"0002_gr\xf6\xdfe.py", "0002_größe.py".encode(), "0002_大きさ.py".encode(), b"0002_with blank.py"]
ASCII_ONLY = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


@pytest.mark.parametrize("name", NAMES)
def test_a_file_may_be_called_anything(bare: Workshop, database: Dsn, name: bytes) -> None:
    """Bytes that are no text, and text in a locale that has no word for it: sealed in one locale it is sealed in all."""
    bare.write("0001_note", TABLE, BACK)
    plain = bare.write(
        "0002_size", "op.add_column('note', sa.Column('size', sa.Integer))", "op.drop_column('note', 'size')"
    )
    os.rename(plain, os.path.join(os.fsencode(bare.versions), name))
    for command in (["seal"], ["plan"], ["seal", "--check"], ["upgrade"], ["status", "--exit-code"]):
        ended = bare.migrate(*command)
        assert ended.returncode == 0, ended.stderr
    assert bare.migrate("doctor").stderr == ""
    assert glance.heads_of(bare.root / "migrations" / "manifest.txt", bare.versions) == (("0002_size",), frozenset())
    assert rows_of(database, "SELECT version_num FROM alembic_version") == [("0002_size",)]


@pytest.mark.parametrize("name", NAMES[:2])
def test_no_locale_lacks_the_words_for_a_file(bare: Workshop, name: bytes) -> None:
    """What was sealed elsewhere is sealed there, too, and what cannot be shown is shown as what it is made of."""
    path = bare.write("0001_note", TABLE, BACK)
    os.rename(path, os.path.join(os.fsencode(bare.versions), name))
    assert bare.migrate("seal", "--no-replay").returncode == 0
    poor = [
        bare.start(*MIGRATE, *one, PYTHONIOENCODING="ascii:strict", **ASCII_ONLY)
        for one in (["seal", "--check"], ["plan"])
    ]
    assert poor[0].wait() == 0, poor[0].stderr
    assert poor[1].wait() == 0, poor[1].stderr
    assert "migrations/versions/0002_gr\\" in poor[1].stdout


def test_a_name_is_written_the_same_in_every_locale() -> None:
    """What is written leads back to the file."""
    for name in map(os.fsdecode, NAMES):
        text = as_text(name)
        assert manifest.unescape(manifest.escape(text)) == text
        assert manifest.escape(text).encode()
        assert manifest.as_name(text) == name


def test_a_revision_may_be_a_symbolic_link(bare: Workshop) -> None:
    """To a file of another name, in another folder: it is sealed by the name that it has here."""
    bare.write("0001_note", TABLE, BACK)
    elsewhere = bare.root / "shared"
    elsewhere.mkdir()
    (bare.versions / "0001_note.py").rename(elsewhere / "first.py")
    (bare.versions / "0001_note.py").symlink_to(elsewhere / "first.py")
    for command in (["seal"], ["seal", "--check"], ["upgrade"]):
        ended = bare.migrate(*command)
        assert ended.returncode == 0, ended.stderr
    assert glance.heads_of(bare.root / "migrations" / "manifest.txt", bare.versions) == (("0001_note",), frozenset())
    (elsewhere / "first.py").write_text("import os\nos.environ['ABSENT']")
    assert "migrations/versions/0001_note.py, line 2" in bare.migrate("status").stderr


def test_the_folder_may_be_reached_through_a_link(bare: Workshop) -> None:
    """As where a platform links the application's folder: an error is told with its line."""
    real = bare.root / "elsewhere"
    bare.versions.rename(real)
    bare.versions.symlink_to(real)
    bare.write("0001_note", TABLE, extra="import os; os.environ['ABSENT']")
    ended = bare.migrate("status")
    assert "migrations/versions/0001_note.py, line 8" in ended.stderr
    assert "KeyError: 'ABSENT'" in ended.stderr
