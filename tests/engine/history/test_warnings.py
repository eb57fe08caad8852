"""What Python says of the code in revision files is told as what it is, and keeps nobody from anything."""

from __future__ import annotations

import shutil
import sys

import pytest

from railhead.dsn import Dsn
from railhead.history.alembic_quirks import SCRIPT
from tests.databases import rows_of
from tests.forked_tree import Workshop
from tests.project_tree import Tree

TABLE = "op.create_table('note', sa.Column('id', sa.Integer))"
OLD = "import warnings\nwarnings.warn('old goes away', DeprecationWarning, stacklevel=2)\n"
OF_ESCAPES = "SyntaxWarning" if sys.version_info >= (3, 12) else "DeprecationWarning"
WARNINGS = {
    "an escape that is none": (r'NUMBER = "\d+"', f"line 8: {OF_ESCAPES}: invalid escape sequence '\\d'"),
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


@pytest.mark.parametrize(("filters", "told"), [("error", True), ("default", True), ("ignore", False)])
def test_no_filter_of_pythons_makes_a_warning_an_error(project: Tree, database: Dsn, filters: str, told: bool) -> None:
    """A library that becomes deprecated after a release was built does not keep it from starting, whatever PYTHONWARNINGS says.

    Nor does it keep the next start, with nothing to do, from being quick.
    """
    shutil.rmtree(project.versions)
    project.versions.mkdir()
    (project.root / "old.py").write_text(OLD)
    project.write("0001_note", TABLE, "op.drop_table('note')", extra="import old\nNUMBER = '\\d+'")
    project.migrate("seal", "--no-replay")
    program = "from utils.migrate import PROJECT\nfrom railhead import settings, startup\nstartup.bring_to_head(settings.load(PROJECT))"
    program = f"import warnings\n{program}\nimport sys; print('alembic' in sys.modules)"
    ended = [project.run(sys.executable, "-c", program, PYTHONWARNINGS=filters) for _ in range(2)]
    assert [one.returncode for one in ended] == [0, 0], ended
    assert [one.stdout for one in ended] == ["True\n", "False\n"]
    assert rows_of(database, "SELECT version_num FROM alembic_version") == [("0001_note",)]
    assert ("old goes away" in project.migrate("status", PYTHONWARNINGS=filters).stderr) == told


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("import os; os.environ['SOME_SETTING']", "KeyError: 'SOME_SETTING'"),
        ("{}['absent']['more']", "KeyError: 'absent'"),
        ("from collections import OrderedDict; OrderedDict().popitem()", "KeyError: 'dictionary is empty'"),
        ("from alembic.util import CommandError; raise CommandError('my own')", "CommandError: my own"),
        ("raise LookupError", "LookupError: "),
        ("raise OSError(5, 'the disk is gone')", "OSError: [Errno 5] the disk is gone"),
        ("def again():\n    again()\ntry:\n    pass\nfinally: again()", "RecursionError: maximum recursion depth"),
        ("import sys; sys.exit('not today')", "SystemExit: not today"),
        ("class Own(BaseException): pass\nraise Own('of its own')", "Own: of its own"),
        (
            "class Mute(Exception):\n    def __str__(self): raise ValueError\nraise Mute",
            "Mute: (its text cannot be told)",
        ),
        ("import absent_library", "ModuleNotFoundError: No module named 'absent_library'"),
        ("from broken import thing", "SyntaxError: '(' was never closed (broken.py, line 1)"),
        ("open('/absent/file')", "FileNotFoundError: [Errno 2]"),
        ("next(number for number in ())", "StopIteration: "),
        ("from alembic.script.revision import MultipleHeads as Of; raise Of(('a', 'b'), 'c')", "MultipleHeads: "),
        ("raise ExceptionGroup('many', [ValueError(1)])", "ExceptionGroup: many (1 sub-exception)"),
        ("raise MemoryError", "MemoryError: "),
    ],
)
def test_an_error_at_import_is_told_with_its_place(bare: Workshop, code: str, words: str) -> None:
    """File, line and Python's own words, whatever its class: no word of a parent that does not exist."""
    (bare.root / "broken.py").write_text("thing = (")
    path = bare.write("0001_note", TABLE, extra=code)
    lines = range(8, 8 + len(code.splitlines()))
    for command in ("status", "upgrade", "seal"):
        ended = bare.migrate(command)
        assert ended.returncode == 3
        assert any(f"migrations/versions/{path.name}, line {line}\n" in ended.stderr for line in lines), ended.stderr
        assert words in ended.stderr
        assert "parent" not in ended.stderr


def test_a_parent_that_does_not_exist_is_still_no_history(bare: Workshop) -> None:
    """What Alembic warns of is heeded: it comes from where the files are put together."""
    bare.write("0002_note", TABLE, after="0001_gone")
    ended = bare.migrate("status")
    assert (ended.returncode, "0001_gone" in ended.stderr) == (3, True)
    assert (SCRIPT / "revision.py").exists()
