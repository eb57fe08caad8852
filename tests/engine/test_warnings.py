"""What Python says of the code in revision files is told as what it is, and keeps nobody from anything."""

from __future__ import annotations

import sys

import pytest

from railhead.dsn import Dsn
from railhead.history.alembic_quirks import SCRIPT
from tests.ground import rows_of
from tests.workshop import Workshop

TABLE = "op.create_table('note', sa.Column('id', sa.Integer))"
OLD = "import warnings\nwarnings.warn('old goes away', DeprecationWarning, stacklevel=2)\n"
WARNINGS = {
    "an escape that is none": (r'NUMBER = "\d+"', "line 8: SyntaxWarning: " if sys.version_info >= (3, 12) else None),
    "a comparison that is always true": ("ASKED = 'a' is 'a'", "line 8: SyntaxWarning: "),
    "its own": ("import warnings; warnings.warn('written long ago\\nand read by nobody')", "line 8: UserWarning: written long ago\n"),
    "a deprecated library": ("import old", None),
    "a deprecated name": ("from sqlalchemy.ext.declarative import declarative_base; Base = declarative_base()", None),
}  # fmt: skip


@pytest.mark.parametrize(("code", "told"), WARNINGS.values(), ids=WARNINGS)
def test_a_warning_at_import_is_a_warning(bare: Workshop, database: Dsn, code: str, told: str | None) -> None:
    """Every command works; what Python would show is one line of the log with the file, what it keeps to itself is none."""
    (bare.root / "old.py").write_text(OLD)
    bare.write("0001_note", TABLE, "op.drop_table('note')", extra=code)
    sealed = bare.migrate("seal")
    for ended in (sealed, bare.migrate(), bare.migrate("status"), bare.migrate("seal", "--check")):
        assert ended.returncode == 0, ended.stderr
    assert rows_of(database, "SELECT version_num FROM alembic_version") == [("0001_note",)]
    lines = [line.partition("warning: ")[2] for line in sealed.stderr.splitlines()]
    assert len(lines) == (1 if told else 0), sealed.stderr
    assert not told or f"{lines[0]}\n".startswith(f"migrations/versions/0001_note.py, {told}"), lines


@pytest.mark.parametrize("filters", ["error", "error::DeprecationWarning", "always", "ignore"])
def test_no_filter_of_pythons_makes_a_warning_an_error(bare: Workshop, filters: str) -> None:
    """A library that becomes deprecated after a release was built does not keep it from starting, whatever PYTHONWARNINGS says."""
    (bare.root / "old.py").write_text(OLD)
    bare.write("0001_note", TABLE, extra="import old\nNUMBER = '\\d+'")
    ended = bare.migrate(PYTHONWARNINGS=filters)
    assert ended.returncode == 0, ended.stderr


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("import os; os.environ['SOME_SETTING']", "KeyError: 'SOME_SETTING'"),
        ("{}['absent']['more']", "KeyError: 'absent'"),
        ("from collections import OrderedDict; OrderedDict().popitem()", "KeyError: 'dictionary is empty'"),
        ("from alembic.util import CommandError; raise CommandError('my own')", "CommandError: my own"),
        ("raise LookupError", "LookupError: "),
    ],
)
def test_an_error_at_import_is_told_with_its_place(bare: Workshop, code: str, words: str) -> None:
    """File, line and Python's own words, whatever its class: no word of a parent that does not exist."""
    bare.write("0001_note", TABLE, extra=code)
    ended = bare.migrate("status")
    assert ended.returncode == 3
    assert "0001_note.py, line 8" in ended.stderr
    assert words in ended.stderr
    assert "parent" not in ended.stderr


def test_a_parent_that_does_not_exist_is_still_no_history(bare: Workshop) -> None:
    """What Alembic warns of is heeded: it comes from where the files are put together."""
    bare.write("0002_note", TABLE, after="0001_gone")
    ended = bare.migrate("status")
    assert (ended.returncode, "0001_gone" in ended.stderr) == (3, True)
    assert (SCRIPT / "revision.py").exists()
