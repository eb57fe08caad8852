"""Schemas that nobody thought of, each with a change by hand, its undoing and what a catalog must say of it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from hypothesis import strategies as st

TYPES = (  # type, a default, a wider type that the default survives
    ("smallint", "7", "integer"),
    ("integer", "-1", "bigint"),
    ("bigint", "0", "numeric"),
    ("numeric(8,2)", "1.5", "numeric(12,4)"),
    ("varchar(20)", "'it''s'", "varchar(40)"),
    ("character varying", "'x'", "text"),
    ("text", "''", None),
    ("date", "'2026-02-01'", "timestamp"),
    ("timestamptz", "now()", None),
    ("boolean", "true", None),
    ("jsonb", "'{\"a\": [1, 2]}'", None),
    ("text[]", "'{a,b}'", None),
    ("bytea", r"'\x00ff'", None),
    ("uuid", None, None),
    ("interval", "'1 day'", None),
    ("double precision", "0.1", None),
)
NAMES = st.text(alphabet="aB_ \"'.é☃\n\t\\%;-()", max_size=10)


class Alteration(NamedTuple):
    """What somebody does by hand, what a catalog tells of it, and how it is undone."""

    do: str
    kind: str
    object: str
    undo: str


class Schema(NamedTuple):
    """The SQL that makes it, and what can be done to it."""

    sql: str
    alterations: tuple[Alteration, ...]


class Column(NamedTuple):
    """A column; `free` when nothing else rests on it, `wider` the type that it may become."""

    name: str
    type: str
    default: str | None
    required: bool
    wider: str | None
    free: bool

    @property
    def sql(self) -> str:
        """The column as CREATE TABLE writes it."""
        default = f" DEFAULT {self.default}" if self.default else ""
        return f"{quoted(self.name)} {self.type}{default}{' NOT NULL' if self.required else ''}"


class Table(NamedTuple):
    """A table with two columns that others rest on (`id` and the first), an index, a check, a trigger and a view."""

    place: str
    name: str
    columns: tuple[Column, ...]
    index: str
    check: str
    trigger: str
    view: str
    parent: str | None
    indexed: str


def quoted(name: str) -> str:
    """Return the name as SQL takes it, whatever it is."""
    return '"' + name.replace('"', '""') + '"'


def shown(name: str) -> str:
    """Return the name as a catalog tells it: quoted when it must be, on one line. Fit for names that end with a digit."""
    written = name if re.fullmatch("[a-z_][a-z0-9_]*", name) else quoted(name)
    return written.replace("\\", "\\\\").replace("\n", "\\n").replace("\t", "\\t")


@st.composite
def schemas(draw: st.DrawFn) -> Schema:
    """Return schemas of one to four tables in two places, with enums, domains, sequences, functions and hostile names."""
    number = iter(range(1000))

    def name() -> str:
        return f"{draw(NAMES)}{next(number)}"

    place, enum, domain, sequence, function = name(), name(), name(), name(), name()
    labels = [name() for _ in range(draw(st.integers(1, 4)))]
    types = (*TYPES, (quoted(enum), literal(labels[0]), None), (quoted(domain), None, None))
    tables: list[Table] = []
    for _ in range(draw(st.integers(1, 4))):
        columns = []
        for position in range(draw(st.integers(1, 6))):
            kind, default, wider = draw(st.sampled_from(types))
            given = default if draw(st.booleans()) else None
            columns.append(Column(name(), kind, given, draw(st.booleans()), wider, free=position > 0))
        parent = draw(st.sampled_from([None, *(at(table) for table in tables)]))
        where = draw(st.sampled_from(["public", place]))
        extras = [name() for _ in range(4)]
        tables.append(Table(where, name(), tuple(columns), *extras, parent, "int" if draw(st.booleans()) else "bigint"))
    sql = [
        f"CREATE SCHEMA {quoted(place)}",
        f"CREATE TYPE {quoted(enum)} AS ENUM ({', '.join(map(literal, labels))})",
        f"CREATE DOMAIN {quoted(domain)} AS integer DEFAULT 3 CHECK (VALUE > 0)",
        f"CREATE SEQUENCE {quoted(sequence)} START 5",
        f"CREATE FUNCTION {quoted(function)}() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'",
        *(statement for table in tables for statement in made(table, function)),
    ]
    alterations = [
        *around(enum, labels, domain, sequence, function),
        *(each for table in tables for each in altered(table)),
    ]
    return Schema("; ".join(sql), tuple(alterations))


def literal(text: str) -> str:
    """Return the text as SQL takes it; backslashes mean themselves."""
    return "'" + text.replace("'", "''") + "'"


def at(table: Table) -> str:
    """Return the table as SQL names it."""
    return f"{quoted(table.place)}.{quoted(table.name)}"


def made(table: Table, function: str) -> Iterator[str]:
    """Yield the statements that make a table and what hangs on it."""
    reference = f", CHECK (parent <> id), FOREIGN KEY (parent) REFERENCES {table.parent}" if table.parent else ""
    columns = ", ".join(column.sql for column in table.columns)
    yield f"CREATE TABLE {at(table)} (id bigserial PRIMARY KEY, parent bigint, n {table.indexed}, {columns}{reference})"
    yield f"CREATE INDEX {quoted(table.index)} ON {at(table)} (n, parent) WHERE n > 0"
    yield f"ALTER TABLE {at(table)} ADD CONSTRAINT {quoted(table.check)} CHECK (n <> 13) NOT VALID"
    yield (
        f"CREATE TRIGGER {quoted(table.trigger)} BEFORE INSERT ON {at(table)} "
        f"FOR EACH ROW EXECUTE FUNCTION {quoted(function)}()"
    )
    yield f"CREATE VIEW {view(table)} AS SELECT id, {quoted(table.columns[0].name)} AS first FROM {at(table)}"


def view(table: Table) -> str:
    """Return the table's view as SQL names it."""
    return f"{quoted(table.place)}.{quoted(table.view)}"


def around(enum: str, labels: list[str], domain: str, sequence: str, function: str) -> Iterator[Alteration]:
    """Yield what can be done to types, sequences and functions; an enum value that was added stays."""
    yield Alteration(
        f"ALTER TYPE {quoted(enum)} ADD VALUE 'new' BEFORE {literal(labels[0])}", "changed", f"enum {shown(enum)}", ""
    )
    yield Alteration(
        f"ALTER DOMAIN {quoted(domain)} SET NOT NULL",
        "changed",
        f"domain {shown(domain)}",
        f"ALTER DOMAIN {quoted(domain)} DROP NOT NULL",
    )
    yield Alteration(
        f"ALTER SEQUENCE {quoted(sequence)} CYCLE",
        "changed",
        f"sequence {shown(sequence)}",
        f"ALTER SEQUENCE {quoted(sequence)} NO CYCLE",
    )
    yield Alteration(
        f"ALTER FUNCTION {quoted(function)}() SECURITY DEFINER",
        "changed",
        f"function {shown(function)}()",
        f"ALTER FUNCTION {quoted(function)}() SECURITY INVOKER",
    )


def altered(table: Table) -> Iterator[Alteration]:
    """Yield what can be done to one table."""
    alter = f"ALTER TABLE {at(table)}"
    prefix = "" if table.place == "public" else f"{shown(table.place)}."
    name = f"{prefix}{shown(table.name)}"
    index, trigger = f"index {name}.{shown(table.index)}", f"trigger {name}.{shown(table.trigger)}"
    create = f"CREATE INDEX {quoted(table.index)} ON {at(table)} (n, parent) WHERE n > 0"
    drop = f"DROP INDEX {quoted(table.place)}.{quoted(table.index)}"
    yield Alteration(drop, "removed", index, create)
    yield Alteration(f"{drop}; {create.replace('n > 0', 'n > 1')}", "changed", index, f"{drop}; {create}")
    yield Alteration(
        f"CREATE INDEX extra ON {at(table)} (parent)",
        "added",
        f"index {name}.extra",
        f"DROP INDEX {quoted(table.place)}.extra",
    )
    yield Alteration(
        f"{alter} VALIDATE CONSTRAINT {quoted(table.check)}", "changed", f"constraint {name}.{shown(table.check)}", ""
    )
    yield Alteration(
        f"{alter} ADD CONSTRAINT extra UNIQUE (n)",
        "added",
        f"constraint {name}.extra",
        f"{alter} DROP CONSTRAINT extra",
    )
    yield Alteration(
        f"{alter} DISABLE TRIGGER {quoted(table.trigger)}",
        "changed",
        trigger,
        f"{alter} ENABLE TRIGGER {quoted(table.trigger)}",
    )
    yield Alteration(
        f"{alter} ENABLE ROW LEVEL SECURITY", "changed", f"table {name}", f"{alter} DISABLE ROW LEVEL SECURITY"
    )
    yield Alteration(
        f"{alter} ADD extra text DEFAULT 'x' NOT NULL", "added", f"column {name}.extra", f"{alter} DROP extra"
    )
    yield Alteration(
        f"COMMENT ON TABLE {at(table)} IS E'a\\nb'",
        "added",
        f"comment on table {name}",
        f"COMMENT ON TABLE {at(table)} IS NULL",
    )
    yield Alteration(f"DROP VIEW {view(table)}", "removed", f"view {prefix}{shown(table.view)}", "")
    first = quoted(table.columns[0].name)
    select = f"SELECT id, {first} AS first FROM {at(table)}"
    changed = f"CREATE OR REPLACE VIEW {view(table)} AS {select}"
    yield Alteration(f"{changed} WHERE id > 1", "changed", f"view {prefix}{shown(table.view)}", changed)
    for column in table.columns:
        if column.free:
            yield from altered_column(alter, f"column {name}.{shown(column.name)}", column)
    if table.indexed == "int":
        yield Alteration(f"{alter} ALTER n TYPE bigint", "changed", f"column {name}.n", f"{alter} ALTER n TYPE int")


def altered_column(alter: str, thing: str, column: Column) -> Iterator[Alteration]:
    """Yield what can be done to one column that nothing rests on."""
    name = quoted(column.name)
    yield Alteration(f"{alter} DROP {name}", "removed", thing, f"{alter} ADD {column.sql}")
    if column.required:
        yield Alteration(f"{alter} ALTER {name} DROP NOT NULL", "changed", thing, f"{alter} ALTER {name} SET NOT NULL")
    else:
        yield Alteration(f"{alter} ALTER {name} SET NOT NULL", "changed", thing, f"{alter} ALTER {name} DROP NOT NULL")
    if column.default:
        yield Alteration(
            f"{alter} ALTER {name} DROP DEFAULT", "changed", thing, f"{alter} ALTER {name} SET DEFAULT {column.default}"
        )
    if column.wider:
        yield Alteration(f"{alter} ALTER {name} TYPE {column.wider}", "changed", thing, "")
