"""Which SQL takes a change of the schema back?

Written from what the catalog says of before and after, and never run by us. Where nothing is safe to guess it says what to do
instead: write the change into models.py.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from railhead.schema import catalog
from railhead.schema.catalog import CatalogLine
from railhead.schema.compatibility import view_columns
from railhead.schema.diff import Change

KEEP = 'write it into models.py:  alembic revision --autogenerate -m "..."'
"""What can always be done: say that the change is wanted."""

_COLUMN = re.compile(
    r"(?P<type>.+?)(?P<null> not null)?(?: default (?P<default>.*?))?"
    r"(?: generated (?P<identity>always|by default) as identity)?",
    re.DOTALL,
)
_OWN_SEQUENCE = re.compile(r" sequence \(.*\)$")
_STATES = {" DISABLED": "DISABLE", " ENABLED ON REPLICA": "ENABLE REPLICA", " ENABLED ALWAYS": "ENABLE ALWAYS"}
"""How the catalog marks a trigger or rule that is not simply switched on, and what switches it so."""

_DEFAULTS = {
    "increment": "INCREMENT 1",
    "minvalue": "NO MINVALUE",
    "maxvalue": "NO MAXVALUE",
    "start": "START 1",
    "cache": "CACHE 1",
    "cycle": "NO CYCLE",
}
_TYPES = {"enum", "type", "range"}
_DROPPED_BY_NAME = {
    "view",
    "materialized view",
    "sequence",
    "domain",
    "function",
    "procedure",
    "aggregate",
    "extension",
}
_DROPPED_BY_NAME |= {"schema", "statistics", "collation"}
_ON_TABLE = {"trigger", "rule", "policy"}


def mend(change: Change) -> str:
    """Return SQL that takes a change back, one statement a line; where there is none that is safe to guess, what to do instead."""
    if change.object.startswith("comment on "):
        return _comment_back(change)
    noun, place, name = catalog.split_identity(change.object)
    back = _BACK.get(noun, _other_back)
    return back(change, noun, place, name) or KEEP


def _column_back(change: Change, _noun: str, table: str, name: str) -> str | None:
    if change.kind == "added":
        return f"ALTER TABLE {table} DROP COLUMN {name};  -- and its values"
    if change.kind == "removed":
        return f"ALTER TABLE {table} ADD COLUMN {name} {_OWN_SEQUENCE.sub('', change.was.definition)};"
    before, after = _column_parts(change.was.definition), _column_parts(change.now.definition)
    if before is None or after is None:
        return None
    alters = []
    if before["type"] != after["type"]:
        alters.append(f"TYPE {before['type']}")
    if before["null"] != after["null"]:
        alters.append("SET NOT NULL" if before["null"] else "DROP NOT NULL")
    if before["default"] != after["default"]:
        alters.append(f"SET DEFAULT {before['default']}" if before["default"] else "DROP DEFAULT")
    if before["identity"] != after["identity"]:
        alters.append(_identity_back(before["identity"], after["identity"]))
    return (
        f"ALTER TABLE {table} " + ", ".join(f"ALTER COLUMN {name} {alter}" for alter in alters) + ";"
        if alters
        else None
    )


def _identity_back(before: str | None, after: str | None) -> str:
    if before is None:
        return "DROP IDENTITY"
    return f"SET GENERATED {before.upper()}" if after else f"ADD GENERATED {before.upper()} AS IDENTITY"


def _column_parts(definition: str) -> dict[str, str | None] | None:
    """Return type, NOT NULL, default and identity; None for what cannot be altered part by part."""
    if " generated always as (" in definition or " sequence (" in definition or " not valid" in definition:
        return None
    match = _COLUMN.fullmatch(definition)
    return match.groupdict() if match else None


def _constraint_back(change: Change, _noun: str, table: str, name: str) -> str | None:
    if change.after == f"{change.before} DISABLED":
        return f"ALTER TABLE {table} ENABLE TRIGGER ALL;"
    drop = f"ALTER TABLE {table} DROP CONSTRAINT {name};"
    add = f"ALTER TABLE {table} ADD CONSTRAINT {name} {change.before};"
    return {"added": drop, "removed": add}.get(change.kind, f"{drop}\n{add}")


def _index_back(change: Change, _noun: str, table: str, name: str) -> str | None:
    full = f"{table.rpartition('.')[0]}.{name}" if "." in table else name
    if change.after == f"{change.before} INVALID":
        return f"REINDEX INDEX CONCURRENTLY {full};"
    drop = f"DROP INDEX CONCURRENTLY {full};"
    create = re.sub(r"^CREATE (UNIQUE )?INDEX ", r"CREATE \1INDEX CONCURRENTLY ", change.before or "") + ";"
    return {"added": drop, "removed": create}.get(change.kind, f"{drop}\n{create}")


def _view_back(change: Change, noun: str, place: str, name: str) -> str | None:
    full = _full(place, name)
    drop = f"DROP {noun.upper()} {full};"
    if change.kind == "added":
        return drop
    head, query = change.was.definition, change.was.here
    if not query:
        return None  # of another server, whose words would be others
    options = re.search(r"\) (with \(.*?\))(?: uses |$)", head, re.DOTALL)
    made = f"{full}{f' {options[1]}' if options else ''} AS {query.strip().removesuffix(';')};"
    if change.kind == "removed":
        return f"CREATE {noun.upper()} {made}"
    columns, now = (view_columns(line.definition) for line in (change.was, change.now))
    return (
        f"CREATE OR REPLACE VIEW {made}"
        if noun == "view" and [*columns.items()] == [*now.items()]
        else f"{drop}\nCREATE {noun.upper()} {made}"
    )


def _trigger_back(change: Change, noun: str, table: str, name: str) -> str | None:
    """Of triggers and rules, which are switched on and off alike."""
    drop = f"DROP {noun.upper()} {name} ON {table};"
    if change.kind == "added":
        return drop
    before, switch = _switched(change.was, noun, table, name)
    after, _ = _switched(change.now, noun, table, name)
    if before is None:
        return None
    if before == after:
        return switch or f"ALTER TABLE {table} ENABLE {noun.upper()} {name};"
    lines = [*([drop] if change.kind == "changed" else []), f"{before};", *([switch] if switch else [])]
    return "\n".join(lines)


def _switched(line: CatalogLine, noun: str, table: str, name: str) -> tuple[str | None, str | None]:
    """Return the statement without the mark of its state, and what brings it into that state, None for simply on."""
    statement = _statement(line)
    for mark, verb in _STATES.items():
        if statement and line.definition.endswith(mark):
            return statement.removesuffix(mark).rstrip(";"), f"ALTER TABLE {table} {verb} {noun.upper()} {name};"
    return statement and statement.rstrip(";"), None


def _policy_back(change: Change, _noun: str, table: str, name: str) -> str | None:
    drop = f"DROP POLICY {name} ON {table};"
    line = change.was
    head = line.definition.rpartition(" uses ")[0] if line.here else line.definition
    create = f"CREATE POLICY {name} ON {table} AS {' '.join(filter(None, (head, line.here)))};"
    return {"added": drop, "removed": create}.get(change.kind, f"{drop}\n{create}")


def _type_back(change: Change, noun: str, place: str, name: str) -> str | None:
    full = _full(place, name)
    if change.kind == "added":
        return f"DROP TYPE {full};"
    if noun == "enum" and change.kind == "removed":
        return f"CREATE TYPE {full} AS ENUM ({change.before});"
    if noun == "type" and change.kind == "removed":
        return f"CREATE TYPE {full} AS {change.before};"
    return _values_back(change, full) if noun == "enum" else None


def _values_back(change: Change, name: str) -> str | None:
    """Return what gives back enum values that are gone. PostgreSQL can take none away."""
    before, after = _labels(change.before), _labels(change.after)
    if [label for label in before if label in after] != after:
        return None
    lines = []
    for index, label in enumerate(before):
        if label not in after:
            where = f" AFTER {before[index - 1]}" if index else f" BEFORE {after[0]}" if after else ""
            lines.append(f"ALTER TYPE {name} ADD VALUE {label}{where};")
    return "\n".join(lines)


def _labels(definition: str | None) -> list[str]:
    return re.findall(r"'(?:[^']|'')*'", definition or "")


def _sequence_back(change: Change, _noun: str, place: str, name: str) -> str | None:
    full = _full(place, name)
    if change.kind == "added":
        return f"DROP SEQUENCE {full};"
    before = (change.before or "").removeprefix("unlogged ")
    if change.kind == "removed":
        return f"CREATE SEQUENCE {full} {before};"
    gone = [words for setting, words in _DEFAULTS.items() if _has(change.after, setting) and not _has(before, setting)]
    return f"ALTER SEQUENCE {full} {' '.join([before, *gone])};"


def _has(definition: str | None, setting: str) -> bool:
    return setting in (definition or "").split()


def _table_back(change: Change, _noun: str, place: str, name: str) -> str | None:
    full = _full(place, name)
    if change.kind == "added":
        return f"DROP TABLE {full};  -- and its rows"
    if change.kind == "removed":
        return _table_again(change, full)
    before, after = f" {change.before} ", f" {change.after} "
    lines = []
    for words, on, off in (
        (" row security ", "ENABLE ROW LEVEL SECURITY", "DISABLE ROW LEVEL SECURITY"),
        (" forced row security ", "FORCE ROW LEVEL SECURITY", "NO FORCE ROW LEVEL SECURITY"),
        (" unlogged ", "SET UNLOGGED", "SET LOGGED"),
    ):
        if (words in before) != (words in after):
            lines.append(f"ALTER TABLE {full} {on if words in before else off};")
        before, after = before.replace(words, " "), after.replace(words, " ")
    return "\n".join(lines) if before == after else None


def _table_again(change: Change, full: str) -> str | None:
    """Return what makes a dropped ordinary table again, without its rows."""
    if not (change.before or "").startswith("ordinary"):
        return None
    columns = []
    rest = []
    for part in change.parts:
        noun, _, name = catalog.split_identity(part.object)
        if noun == "column":
            columns.append(f"{name} {_OWN_SEQUENCE.sub('', part.was.definition)}")
        else:
            rest.append(mend(part).replace(" CONCURRENTLY", ""))
    return "\n".join([f"CREATE TABLE {full} ({', '.join(columns)});", *(line for line in rest if line != KEEP)])


def _extension_back(change: Change, _noun: str, _place: str, name: str) -> str | None:
    if change.kind == "added":
        return f"DROP EXTENSION {name};"
    if change.kind == "removed":
        return f"CREATE EXTENSION {name} {change.was.definition};"
    return f"ALTER EXTENSION {name} UPDATE TO '{change.was.here.removeprefix('version ')}';"


def _schema_back(change: Change, _noun: str, _place: str, name: str) -> str | None:
    return f"DROP SCHEMA {name};" if change.kind == "added" else f"CREATE SCHEMA {name};"


def _other_back(change: Change, noun: str, place: str, name: str) -> str | None:
    if change.kind == "added":
        return f"DROP {noun.upper()} {_full(place, name)};" if noun in _DROPPED_BY_NAME else None
    statement = _statement(change.was)
    return f"{statement.rstrip().removesuffix(';')};" if statement else None


def _statement(line: CatalogLine) -> str | None:
    """Return the CREATE statement that a definition is, or that only this server would write so."""
    return next((text for text in (line.definition, line.here) if text.upper().startswith("CREATE ")), None)


def _comment_back(change: Change) -> str:
    noun, place, name = catalog.split_identity(change.object.removeprefix("comment on "))
    on_table = noun in {*_ON_TABLE, "constraint"}
    schema = place.rpartition(".")[0] if noun == "index" else place
    thing = f"{name} ON {place}" if on_table else _full(schema, name)
    words = "NULL" if change.before is None else "'" + change.before.replace("'", "''") + "'"
    return f"COMMENT ON {'TYPE' if noun in _TYPES else noun.upper()} {thing} IS {words};"


def _full(place: str, name: str) -> str:
    return f"{place}.{name}" if place else name


_BACK: dict[str, Callable[[Change, str, str, str], str | None]] = {
    "column": _column_back,
    "constraint": _constraint_back,
    "index": _index_back,
    "view": _view_back,
    "materialized view": _view_back,
    "trigger": _trigger_back,
    "rule": _trigger_back,
    "policy": _policy_back,
    "enum": _type_back,
    "type": _type_back,
    "range": _type_back,
    "sequence": _sequence_back,
    "table": _table_back,
    "extension": _extension_back,
    "schema": _schema_back,
}
