"""What is known of one object of a schema, field by field?

One record for each kind, from the facts that catalog.sql gives in this order, or read back from a line that was kept (`kept_lines`).
A record knows how it reads; nothing else puts these words together.
"""

from __future__ import annotations

import re
from typing import NamedTuple, Self

from railhead.schema.phrases import Rule, name_and_type

RELATIONS = ("table", "view", "materialized view")
COMMENT = "comment on "
"""How the kind of a comment begins; the kind of what it is about follows."""

ESCAPES = {"\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r"}
_ESCAPED = re.compile(r"[\\\n\t\r]")


class Table(NamedTuple):
    """A table, beside its columns."""

    shape: str
    """`ordinary`, `partitioned by ...`, `partition of ...`, `foreign server ...`, and what it inherits from."""
    unlogged: str | None = None
    options: str | None = None
    row_security: str | None = None
    forced: str | None = None
    replica_identity: str | None = None

    @property
    def definition(self) -> str:
        """Return how it reads."""
        options, replica = _said("with (", self.options, ")"), _said("replica identity ", self.replica_identity)
        return _joined(self.unlogged, self.shape, options, self.row_security, self.forced, replica)

    @property
    def is_ordinary(self) -> bool:
        """Tell whether it is neither a partition, nor partitioned, nor foreign."""
        return self.shape.partition(" ")[0] == "ordinary"


class Column(NamedTuple):
    """A column of a table."""

    type: str
    collation: str | None = None
    """Where it is another than the type's own."""
    nullness: str | None = None
    """`not null`, or `not null not valid` where older rows were not looked at."""
    filled: str | None = None
    """What its expression is: a `default`, or what it is computed with, `stored` or `virtual`."""
    expression: str | None = None
    identity: str | None = None
    """`always` or `by default`; a partition has its parent's."""
    sequence: str | None = None
    """What differs from the defaults in the sequence that it owns."""

    @property
    def definition(self) -> str:
        """Return how it reads, with the sequence that it owns."""
        return f"{self.without_sequence} sequence ({self.sequence})" if self.sequence else self.without_sequence

    @property
    def without_sequence(self) -> str:
        """Return how it reads in SQL."""
        words = f"{self.type} collate {self.collation}" if self.collation else self.type
        if self.nullness:
            words += f" {self.nullness}"
        if self.filled == "default":
            words += f" default {self.expression}"
        elif self.filled:
            words += f" generated always as ({self.expression}) {self.filled}"
        return f"{words} generated {self.identity} as identity" if self.identity else words

    @property
    def not_null(self) -> bool:
        """Tell whether it must have a value."""
        return self.nullness is not None

    @property
    def default(self) -> str | None:
        """Return what stands for a value that is not given."""
        return self.expression if self.filled == "default" else None

    @property
    def is_computed(self) -> bool:
        """Tell whether other columns make its value."""
        return self.filled in {"stored", "virtual"}

    @property
    def gets_a_value(self) -> bool:
        """Tell whether it has one where none is given."""
        return bool(self.filled or self.identity)

    @property
    def takes_no_value(self) -> bool:
        """Tell whether none may be given."""
        return self.is_computed or self.identity == "always"


class Constraint(NamedTuple):
    """A constraint of a table, in PostgreSQL's own words."""

    statement: str
    invalid: str | None = None
    disabled: str | None = None

    @property
    def definition(self) -> str:
        """Return how it reads."""
        return _joined(self.statement, self.invalid, self.disabled)

    @property
    def rule(self) -> Rule:
        """Return what it asks for: its kind, columns, condition, and when it is looked at."""
        return Rule.of_constraint(self.statement)


class Index(NamedTuple):
    """An index that belongs to no constraint, in PostgreSQL's own words."""

    statement: str
    invalid: str | None = None

    @property
    def definition(self) -> str:
        """Return how it reads."""
        return _joined(self.statement, self.invalid)

    @property
    def rule(self) -> Rule:
        """Return what it asks for: whether it is unique, its method, its columns with their operator classes, its predicate."""
        return Rule.of_index(self.statement)


class View(NamedTuple):
    """A view, whose query only its server says."""

    columns: tuple[tuple[str, str], ...]
    """The name and the type of each."""
    options: str | None = None
    uses: str | None = None

    @classmethod
    def of(cls, _here: str, options: str | None, uses: str | None, *columns: str) -> Self:
        """Return it, from each column's name and type in one text."""
        return cls(tuple(map(name_and_type, columns)), options, uses)

    @property
    def definition(self) -> str:
        """Return how it reads."""
        columns = ", ".join(f"{name} {type_}" for name, type_ in self.columns)
        return _joined(f"({columns})", _said("with (", self.options, ")"), _said("uses ", self.uses))


class FreeSequence(NamedTuple):
    """A sequence that no column owns."""

    type: str
    unlogged: str | None = None
    settings: str | None = None
    """What differs from the defaults of its type."""

    @property
    def definition(self) -> str:
        """Return how it reads."""
        return _joined(self.unlogged, f"as {self.type}", self.settings)


class Trigger(NamedTuple):
    """A trigger."""

    statement: str
    state: str | None = None
    """`DISABLED`, `ENABLED ON REPLICA`, `ENABLED ALWAYS`; None for simply on."""

    @property
    def definition(self) -> str:
        """Return how it reads."""
        return _joined(self.statement, self.state)


class RewriteRule(NamedTuple):
    """A rule, whose statement only its server says."""

    event: str
    instead: str | None = None
    uses: str | None = None
    state: str | None = None
    """As of a trigger."""

    @property
    def definition(self) -> str:
        """Return how it reads."""
        return _joined("on", self.event, self.instead, _said("uses ", self.uses), self.state)


class Policy(NamedTuple):
    """A policy of row security."""

    manner: str
    """`permissive` or `restrictive`."""
    command: str
    roles: str
    condition: str | None = None
    """What it asks of a row; where that holds a query, what the query `uses`, and only its server says the query."""

    @property
    def head(self) -> str:
        """Return how it reads without its condition."""
        return f"{self.manner} for {self.command} to {self.roles}"

    @property
    def definition(self) -> str:
        """Return how it reads."""
        return _joined(self.head, self.condition)


class Enum(NamedTuple):
    """An enum."""

    labels: tuple[str, ...] = ()
    """Its values in their order, as SQL writes them."""

    @classmethod
    def of(cls, *labels: str) -> Self:
        """Return the enum with these values."""
        return cls(labels)

    @property
    def definition(self) -> str:
        """Return how it reads."""
        return ", ".join(self.labels)


class Domain(NamedTuple):
    """A domain."""

    type: str
    collation: str | None = None
    nullness: str | None = None
    default: str | None = None
    checks: tuple[str, ...] = ()
    """Each with its name before it."""

    @classmethod
    def of(cls, type_: str, collation: str | None, nullness: str | None, default: str | None, *checks: str) -> Self:
        """Return it with any number of checks."""
        return cls(type_, collation, nullness, default, checks)

    @property
    def definition(self) -> str:
        """Return how it reads."""
        words = (self.type, _said("collate ", self.collation), self.nullness, _said("default ", self.default))
        return _joined(*words, *(f"constraint {check}" for check in self.checks))


class Composite(NamedTuple):
    """A type that is made of attributes."""

    attributes: tuple[str, ...] = ()
    """Each its name, its type and where it differs its collation."""

    @classmethod
    def of(cls, *attributes: str) -> Self:
        """Return it with these attributes."""
        return cls(attributes)

    @property
    def definition(self) -> str:
        """Return how it reads."""
        return f"({', '.join(self.attributes)})"


class Text(NamedTuple):
    """What has no parts that anybody asks for: a function, an extension, a comment."""

    definition: str

    @property
    def is_trigger_function(self) -> bool:
        """Tell whether it is a function that no code can call, only a trigger."""
        return bool(_TRIGGER_FUNCTION.match(self.definition))


Facts = (
    Table
    | Column
    | Constraint
    | Index
    | View
    | FreeSequence
    | Trigger
    | RewriteRule
    | Policy
    | Enum
    | Domain
    | Composite
    | Text
)


class CatalogObject(NamedTuple):
    """One object of a schema."""

    line: str
    """All of it in one text, whose fields stand between tabs: identity, definition, here, origin. Equal for equal objects."""
    kind: str
    """What PostgreSQL calls it: `table`, `materialized view`, `comment on column`."""
    schema: str
    """As SQL writes it, like the other names; empty for public."""
    table: str
    """The table, or view, that it belongs to; empty for what stands for itself."""
    name: str
    facts: Facts
    here: str = ""
    """What only this server says of it."""
    origin: str = ""
    """The identity of what it was inherited from."""

    @property
    def identity(self) -> str:
        """Return what it is and its name, on one line: `column task.due_on`."""
        return self.line.partition("\t")[0]

    @property
    def place(self) -> str:
        """Return where it is: a table with its schema, or a schema."""
        return f"{self.schema}.{self.table}" if self.schema and self.table else self.schema or self.table

    @property
    def full_name(self) -> str:
        """Return its name with where it is."""
        return f"{self.place}.{self.name}" if self.schema or self.table else self.name

    @property
    def definition(self) -> str:
        """Return how it is made, in words that PostgreSQL 14 to 18 agree on. It may take many lines."""
        return self.facts.definition

    @property
    def words(self) -> str:
        """Return how it is made, with what only this server says of it."""
        definition = self.definition
        return f"{definition}\n{self.here}" if definition and self.here else definition or self.here


def line(identity: str, definition: str, here: str = "", origin: str = "") -> str:
    """Return the line of an object."""
    fields: tuple[str, ...] = (identity, definition, here, origin) if here or origin else (identity, definition)
    plain = "".join(fields)
    if "\\" in plain or not plain.isprintable():
        fields = tuple(map(escaped, fields))
    return "\t".join(fields).rstrip("\t")


def identity(kind: str, full_name: str) -> str:
    """Return what an object is called in its line."""
    return escaped(f"{kind} {full_name}")


def escaped(text: str) -> str:
    """Return a text without the signs that end a line or a field."""
    return _ESCAPED.sub(lambda match: ESCAPES[match[0]], text)


def _said(before: str, words: str | None, after: str = "") -> str | None:
    return None if words is None else f"{before}{words}{after}"


def _joined(*words: str | None) -> str:
    return " ".join([word for word in words if word])


_TRIGGER_FUNCTION = re.compile(r"CREATE OR REPLACE FUNCTION [^\n]*\n RETURNS (?:event_)?trigger\n")
