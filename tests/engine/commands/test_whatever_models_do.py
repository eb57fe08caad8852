"""Models are somebody's code: whatever they do, every command ends in one message, and none in a traceback."""

from __future__ import annotations

import re

import pytest

from tests.databases import rows_of
from tests.forked_tree import Workshop

BROKEN = {
    "a missing package": ("import absent_package", "ModuleNotFoundError: No module named 'absent_package'"),
    "a missing name": ("from datetime import absent", "ImportError: cannot import name 'absent'"),
    "no Python": ("class Base(:", "SyntaxError"),
    "an end of the process": ("import sys\nsys.exit('no DATABASE_HOST')", "SystemExit: no DATABASE_HOST"),
    "an error": ("import os\nos.environ['ABSENT_KEY']", "KeyError: 'ABSENT_KEY'"),
    "no Base": ("x = 1", "cannot import name 'Base'"),
    "another shape": ("class Base: metadata = 'sqlalchemy'", "str, where sqlalchemy.MetaData is expected"),
    "nothing": ("class Base: metadata = None", "NoneType, where sqlalchemy.MetaData is expected"),
}

NOTE = """
from sqlalchemy import Column, ForeignKey, Integer, MetaData, Table, types
class Odd(types.TypeDecorator):
    impl, cache_ok = Integer, True
    def load_dialect_impl(self, dialect): raise TypeError("odd type")
class Base: metadata = MetaData()
Table('note', Base.metadata, Column('id', Integer, primary_key=True), Column('n', Integer, server_default='{default}'){more})
"""

NOT_COMPARED = {
    "a default that is no value": (NOTE.format(default="zero", more=""), "zero"),
    "a type that compares badly": (NOTE.replace("'n', Integer", "'n', Odd()").format(default="0", more=""), "odd type"),
    "a foreign key to nowhere": (
        NOTE.format(default="0", more=", Column('m', Integer, ForeignKey('absent.id'))"),
        "absent",
    ),
}

COMMANDS = ("drift", "doctor", "status", "upgrade", "plan")


def told(workshop: Workshop, *command: str) -> str:
    """Return all that a command has written."""
    ended = workshop.migrate(*command)
    text = ended.stdout + ended.stderr
    assert "Traceback" not in text, text
    return text


@pytest.mark.parametrize("what", BROKEN)
def test_models_that_cannot_be_had(at_head: Workshop, what: str) -> None:
    """Drift and doctor say why, with the line; what needs no models does its work."""
    text, words = BROKEN[what]
    (at_head.root / "models.py").write_text(text)
    for command in ("drift", "doctor"):
        said = told(at_head, command)
        assert words in said, command
        assert "[no-models]" in said
        if "import" in text or "environ" in text:
            assert "models.py, line" in said, command
    for command in ("status", "upgrade", "plan", "log"):
        told(at_head, command)
    checked = at_head.alembic("check")
    assert "Traceback" not in checked.stdout + checked.stderr
    assert words in checked.stdout + checked.stderr


@pytest.mark.parametrize("what", NOT_COMPARED)
def test_models_that_cannot_be_compared(bare: Workshop, what: str) -> None:
    """A default, a type or a key that nobody can use is told as theirs, and the server is not blamed."""
    text, words = NOT_COMPARED[what]
    bare.write(
        "0001_first",
        "op.create_table('note', sa.Column('id', sa.Integer, primary_key=True), sa.Column('n', sa.Integer, server_default='0'))",
    )
    assert bare.migrate().returncode == 0
    (bare.root / "models.py").write_text(text)
    for command in ("drift", "doctor"):
        said = told(bare, command)
        assert words in said, said
        assert re.search(r"\[(models|no-models|[\w-]*default[\w-]*)\]", said), said
    checked = bare.alembic("check")
    assert "Traceback" not in checked.stdout + checked.stderr


def test_a_role_that_only_reads(at_head: Workshop) -> None:
    """Every command ends in a message there, too."""
    assert at_head.database
    name = at_head.database.parameters()["dbname"]
    rows_of(at_head.database, f'ALTER DATABASE "{name}" SET default_transaction_read_only = on')
    at_head.write("0003_note", "op.create_table('note', sa.Column('id', sa.Integer))", after="0002_add_task_due_on")
    for command in COMMANDS:
        told(at_head, command)
    assert "[read-only]" in told(at_head, "upgrade")
