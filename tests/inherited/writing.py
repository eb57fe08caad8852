"""How does a revision file of another project look, written from a short record?

The files of a public history are of many hands and years: each record says only what its file does, and in whose manner it is
written. The names of the files, the forms of their first lines and their encodings are those that one meets.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from hashlib import md5
from pathlib import Path
from typing import Literal

Form = Literal["plain", "typed", "tuple", "bare"]
"""How the identifiers are written: one a line, with annotations, in one assignment, or without what Alembic does not need."""

FORMS: dict[Form, str] = {
    "plain": "revision = {revision!r}\ndown_revision = {parent!r}\nbranch_labels = {label!r}\ndepends_on = {depends!r}\n",
    "typed": "from typing import Sequence, Union\n\nrevision: str = {revision!r}\n"
    "down_revision: Union[str, Sequence[str], None] = {parent!r}\n"
    "branch_labels: Union[str, Sequence[str], None] = {label!r}\ndepends_on: Union[str, Sequence[str], None] = {depends!r}\n",
    "tuple": "revision, down_revision = {revision!r}, {parent!r}\nbranch_labels, depends_on = {label!r}, {depends!r}\n",
    "bare": "revision = {revision!r}\ndown_revision = {parent!r}\n",
}

_FILE = '''\
{coding}"""{message}

Revision ID: {revision}
Revises: {revises}
Create Date: 2019-04-{day:02} 09:41:07.533021

"""
from alembic import context, op
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

# revision identifiers, used by Alembic.
{identifiers}
{top}

def upgrade():
{upgrade}


def downgrade():
{downgrade}
'''


@dataclass(frozen=True)
class Record:
    """One revision, in as few words as it takes. It follows the record before it unless it `is_root` or says what it comes `after`."""

    name: str
    upgrade: str
    downgrade: str = "pass"
    top: str = ""
    after: tuple[str, ...] = ()
    is_root: bool = False
    needs: str | None = None
    label: str | None = None
    form: Form = "plain"
    file: str = "{id}_{name}.py"
    message: str = ""
    encoding: str = "utf-8"
    newline: str = "\n"

    @property
    def id(self) -> str:
        """Return what the file calls itself."""
        return id_of(self.name)

    def beginning_with(self, code: str) -> Record:
        """Return the record whose upgrade does this first."""
        return replace(self, upgrade=f"{code}\n{textwrap.dedent(self.upgrade)}")

    def saying(self, code: str) -> Record:
        """Return the record whose file says this above its functions."""
        return replace(self, top=f"{textwrap.dedent(self.top)}\n{code}")

    def parents(self, before: Record | None) -> list[str]:
        """Return the ids that it stands on; `before` is the record before it."""
        if self.is_root or not before:
            return []
        return [id_of(name) for name in self.after or (before.name,)]


_BY_HAND = {"tonnage": "37", "cargo_rows": "v2.0.1"}
"""Ids that somebody thought of."""


def id_of(name: str) -> str:
    """Return the id of the record of this name: twelve hex digits, as Alembic makes them up, for most."""
    return _BY_HAND.get(name) or md5(name.encode()).hexdigest()[:12]


def write(records: Sequence[Record], folder: Path) -> None:
    """Put the files of this history into `folder`, which holds no others."""
    for file in folder.glob("*.py"):
        file.unlink()
    (folder / "__init__.py").touch()
    for number, (record, before) in enumerate(zip(records, [None, *records], strict=False), start=1):
        path = folder / record.file.format(id=record.id, name=record.name, number=number)
        path.write_bytes(_text(record, number, record.parents(before)).encode(record.encoding))


def _text(record: Record, number: int, parents: list[str]) -> str:
    parent = None if not parents else parents[0] if len(parents) == 1 else tuple(parents)
    depends = id_of(record.needs) if record.needs else None
    text = _FILE.format(
        coding=f"# -*- coding: {record.encoding} -*-\n" if record.encoding == "latin-1" else "",
        message=record.message or record.name.replace("_", " "),
        revision=record.id,
        revises=", ".join(parents),
        day=number % 28 + 1,
        identifiers=FORMS[record.form].format(revision=record.id, parent=parent, label=record.label, depends=depends),
        top=_block(record.top, 0),
        upgrade=_block(record.upgrade, 4),
        downgrade=_block(record.downgrade, 4),
    )
    return text.replace("\n", record.newline)


def _block(code: str, indent: int) -> str:
    return textwrap.indent(textwrap.dedent(code).strip(), " " * indent)


def without_the_first(records: Sequence[Record]) -> list[Record]:
    """Return the history as it is where nobody wrote its first revision, because create_all made the tables."""
    return list(records[1:])


def committing(records: Iterable[Record]) -> list[Record]:
    """Return the history as it is where env.py has begun the transaction: each block has a commit by hand before it."""
    return [
        replace(record, upgrade=_by_hand(record.upgrade), downgrade=_by_hand(record.downgrade)) for record in records
    ]


def _by_hand(code: str) -> str:
    """Return the code with its commits by hand, as such an env.py asks for them."""
    block, commit = "with op.get_context().autocommit_block():", "op.get_bind().commit()"
    lines = textwrap.dedent(code).strip().splitlines()
    return "\n".join(f"{commit}\n{line}" if line == block else line.replace(_RAW, commit) for line in lines)


_RAW = 'op.execute(sa.text("COMMIT;"))'
