"""Which tables are there? Read from PostgreSQL's catalog in one statement, for people to look at.

Alembic's own table and the ledger are left out, so are partitions: they are part of the table that they divide.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from psycopg2.extensions import connection as Connection

from railhead.postgres.connection import fetch_all
from railhead.project import version_table
from railhead.state import ledger

_STATEMENT = Path(__file__).with_suffix(".sql")
_SIZE = 2
"""Its place in a row."""
_DEFINITION = 2
"""The same of a constraint."""


class Column(NamedTuple):
    """A column, in the words of PostgreSQL."""

    name: str
    type: str
    nullable: bool
    default: str | None
    generated: str | None
    """`identity` or the expression that it is computed from."""
    values: tuple[str, ...]
    """Of an enum."""
    comment: str | None


class Index(NamedTuple):
    """An index. `size` is in bytes."""

    name: str
    definition: str
    valid: bool
    size: int


class Constraint(NamedTuple):
    """A primary key, unique, check, exclusion or foreign key constraint."""

    name: str
    kind: str
    definition: str
    validated: bool
    columns: tuple[str, ...]
    target: str | None
    """The table that a foreign key refers to."""


class Table(NamedTuple):
    """A table. `rows` is the server's estimate, None before it has made one; `size` is in bytes, indexes included."""

    name: str
    rows: int | None
    size: int
    partitions: int
    comment: str | None
    columns: tuple[Column, ...]
    indexes: tuple[Index, ...]
    constraints: tuple[Constraint, ...]

    @property
    def anchor(self) -> str:
        """Its place on the page, which no other table has."""
        return "table-" + re.sub(r"[^\w.]", lambda letter: f"-{ord(letter[0]):x}-", self.name)

    @property
    def references(self) -> tuple[Constraint, ...]:
        """Its foreign keys."""
        return tuple(constraint for constraint in self.constraints if constraint.target is not None)

    @property
    def key(self) -> tuple[str, ...]:
        """The columns of its primary key."""
        return next((constraint.columns for constraint in self.constraints if constraint.kind == "p"), ())

    def target(self, column: str) -> str | None:
        """Return the table that this column refers to."""
        return next((constraint.target for constraint in self.references if column in constraint.columns), None)

    def record(self) -> dict[str, object]:
        """Return it for JSON."""
        parts: dict[str, Iterable[NamedTuple]] = {
            "columns": self.columns,
            "indexes": self.indexes,
            "constraints": self.constraints,
        }
        return {**self._asdict(), **{name: [item._asdict() for item in part] for name, part in parts.items()}}


def read(connection: Connection) -> tuple[Table, ...]:
    """Return all tables by name. Read-only.

    Waits for a session that holds one under ACCESS EXCLUSIVE, as long as the connection's timeouts allow. What that session
    drops is left out: PostgreSQL still lists it, and finds neither its size nor its definition any more.
    """
    rows = fetch_all(connection, _STATEMENT.read_text(encoding="utf-8"), ([version_table().name, ledger.TABLE],))
    return tuple(_table(*row) for row in rows if row[_SIZE] is not None)


def _table(
    name: object,
    rows: object,
    size: object,
    partitions: object,
    comment: object,
    columns: object,
    indexes: object,
    constraints: object,
) -> Table:
    return Table(
        name=str(name),
        rows=None if rows is None else round(float(str(rows))),
        size=int(str(size)),
        partitions=int(str(partitions)),
        comment=_text(comment),
        columns=tuple(_column(*fields) for fields in _lists(columns)),
        indexes=tuple(_index(*fields) for fields in _lists(indexes) if None not in fields),
        constraints=tuple(_constraint(*fields) for fields in _lists(constraints) if fields[_DEFINITION] is not None),
    )


def _column(name: object, type_: object, nullable: object, default: object, how: object, *more: object) -> Column:
    """`how` says what makes its value: `a` and `d` an identity, `s` and `v` the expression in the place of the default."""
    values, comment = more
    made = {"a": "identity", "d": "identity"}.get(str(how)) or (_text(default) if how else None)
    return Column(
        name=str(name),
        type=str(type_),
        nullable=bool(nullable),
        default=None if how else _text(default),
        generated=made,
        values=_texts(values),
        comment=_text(comment),
    )


def _index(name: object, definition: object, valid: object, size: object) -> Index:
    return Index(str(name), str(definition), bool(valid), int(str(size)))


def _constraint(name: object, kind: object, definition: object, validated: object, *more: object) -> Constraint:
    columns, target = more
    return Constraint(str(name), str(kind), str(definition), bool(validated), _texts(columns), _text(target))


def _lists(given: object) -> list[list[object]]:
    return given if isinstance(given, list) else []


def _text(given: object) -> str | None:
    return None if given is None else str(given)


def _texts(given: object) -> tuple[str, ...]:
    return tuple(str(text) for text in given) if isinstance(given, list) else ()
