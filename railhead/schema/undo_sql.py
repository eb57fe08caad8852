"""Which SQL takes a change of the schema back?

Written from what the catalog says of before and after, and never run by us. Where nothing is safe to guess it says what to do
instead: write the change into models.py.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from railhead.postgres.quoting import literal
from railhead.schema.diff import Change
from railhead.schema.objects import (
    COMMENT,
    CatalogObject,
    Column,
    Constraint,
    Enum,
    Index,
    Policy,
    RewriteRule,
    Table,
    Trigger,
    View,
)

KEEP = 'write it into models.py:  alembic revision --autogenerate -m "..."'
"""What can always be done: say that the change is wanted."""

_SWITCHES = {"DISABLED": "DISABLE", "ENABLED ON REPLICA": "ENABLE REPLICA", "ENABLED ALWAYS": "ENABLE ALWAYS"}
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
_ON_TABLE = {"trigger", "rule", "policy", "constraint"}


def mend(change: Change) -> str:
    """Return SQL that takes a change back, one statement a line; where there is none that is safe to guess, what to do instead."""
    thing = change.thing
    if thing.kind.startswith(COMMENT):
        return _comment_back(change, thing)
    return _BACK.get(thing.kind, _other_back)(change, thing) or KEEP


def _column_back(change: Change, thing: CatalogObject) -> str | None:
    was, now = change.was and change.was.facts, change.now and change.now.facts
    if not isinstance(was, Column):
        return f"ALTER TABLE {thing.place} DROP COLUMN {thing.name};  -- and its values"
    if not isinstance(now, Column):
        return f"ALTER TABLE {thing.place} ADD COLUMN {thing.name} {was.without_sequence};"
    if not (_is_altered_by_parts(was) and _is_altered_by_parts(now)):
        return None
    alters = []
    if (was.type, was.collation) != (now.type, now.collation):
        alters.append(f"TYPE {was.type}{f' collate {was.collation}' if was.collation else ''}")
    if was.not_null != now.not_null:
        alters.append("SET NOT NULL" if was.not_null else "DROP NOT NULL")
    if was.default != now.default:
        alters.append(f"SET DEFAULT {was.default}" if was.default else "DROP DEFAULT")
    if was.identity != now.identity:
        alters.append(_identity_back(was.identity, now.identity))
    alter = ", ".join(f"ALTER COLUMN {thing.name} {alteration}" for alteration in alters)
    return f"ALTER TABLE {thing.place} {alter};" if alters else None


def _identity_back(before: str | None, after: str | None) -> str:
    if before is None:
        return "DROP IDENTITY"
    return f"SET GENERATED {before.upper()}" if after else f"ADD GENERATED {before.upper()} AS IDENTITY"


def _is_altered_by_parts(column: Column) -> bool:
    return not (column.is_computed or column.sequence or column.nullness == "not null not valid")


def _constraint_back(change: Change, thing: CatalogObject) -> str | None:
    was, now = change.was and change.was.facts, change.now and change.now.facts
    if isinstance(was, Constraint) and isinstance(now, Constraint) and was._replace(disabled="DISABLED") == now:
        return f"ALTER TABLE {thing.place} ENABLE TRIGGER ALL;"
    drop = f"ALTER TABLE {thing.place} DROP CONSTRAINT {thing.name};"
    add = (
        f"ALTER TABLE {thing.place} ADD CONSTRAINT {thing.name} {was.statement if isinstance(was, Constraint) else ''};"
    )
    return {"added": drop, "removed": add}.get(change.kind, f"{drop}\n{add}")


def _index_back(change: Change, thing: CatalogObject) -> str | None:
    was, now = change.was and change.was.facts, change.now and change.now.facts
    full = f"{thing.schema}.{thing.name}" if thing.schema else thing.name
    if isinstance(was, Index) and isinstance(now, Index) and was._replace(invalid="INVALID") == now:
        return f"REINDEX INDEX CONCURRENTLY {full};"
    drop = f"DROP INDEX CONCURRENTLY {full};"
    statement = was.statement if isinstance(was, Index) else ""
    create = re.sub(r"^CREATE (UNIQUE )?INDEX ", r"CREATE \1INDEX CONCURRENTLY ", statement) + ";"
    return {"added": drop, "removed": create}.get(change.kind, f"{drop}\n{create}")


def _view_back(change: Change, thing: CatalogObject) -> str | None:
    drop = f"DROP {thing.kind.upper()} {thing.full_name};"
    if change.was is None:
        return drop
    was, now = change.was.facts, change.now and change.now.facts
    if not change.was.here or not isinstance(was, View):
        return None  # of another server, whose words would be others
    options = f" with ({was.options})" if was.options else ""
    definition = f"{thing.full_name}{options} AS {change.was.here.strip().removesuffix(';')};"
    if not isinstance(now, View):
        return f"CREATE {thing.kind.upper()} {definition}"
    if thing.kind == "view" and was.columns == now.columns:
        return f"CREATE OR REPLACE VIEW {definition}"
    return f"{drop}\nCREATE {thing.kind.upper()} {definition}"


def _trigger_back(change: Change, thing: CatalogObject) -> str | None:
    """Of triggers and rules, which are switched on and off alike."""
    drop = f"DROP {thing.kind.upper()} {thing.name} ON {thing.place};"
    if change.was is None:
        return drop
    before, state = _switched(change.was)
    if before is None:
        return None
    switch = f"ALTER TABLE {thing.place} {_SWITCHES[state]} {thing.kind.upper()} {thing.name};" if state else None
    if change.now and _switched(change.now)[0] == before:
        return switch or f"ALTER TABLE {thing.place} ENABLE {thing.kind.upper()} {thing.name};"
    lines = [*([drop] if change.now else []), f"{before};", *([switch] if switch else [])]
    return "\n".join(lines)


def _switched(thing: CatalogObject) -> tuple[str | None, str | None]:
    """Return the statement of a trigger or rule, where it is known, and the state that it is in, None for simply on."""
    if isinstance(thing.facts, Trigger):
        return thing.facts.statement.rstrip(";"), thing.facts.state
    return thing.here.rstrip(";") or None, thing.facts.state if isinstance(thing.facts, RewriteRule) else None


def _policy_back(change: Change, thing: CatalogObject) -> str | None:
    drop = f"DROP POLICY {thing.name} ON {thing.place};"
    if change.was is None or not isinstance(change.was.facts, Policy):
        return drop
    policy = change.was.facts
    words = " ".join(filter(None, (policy.head, change.was.here or policy.condition)))
    create = f"CREATE POLICY {thing.name} ON {thing.place} AS {words};"
    return create if change.now is None else f"{drop}\n{create}"


def _type_back(change: Change, thing: CatalogObject) -> str | None:
    if change.was is None:
        return f"DROP TYPE {thing.full_name};"
    was, now = change.was.facts, change.now and change.now.facts
    if isinstance(was, Enum) and isinstance(now, Enum):
        return _values_back(was.labels, now.labels, thing.full_name)
    if change.now is None and isinstance(was, Enum):
        return f"CREATE TYPE {thing.full_name} AS ENUM ({was.definition});"
    return (
        f"CREATE TYPE {thing.full_name} AS {was.definition};" if change.now is None and thing.kind == "type" else None
    )


def _values_back(before: tuple[str, ...], after: tuple[str, ...], name: str) -> str | None:
    """Return what gives back enum values that are gone. PostgreSQL can take none away."""
    if tuple(label for label in before if label in after) != after:
        return None
    lines = []
    for index, label in enumerate(before):
        if label not in after:
            where = f" AFTER {before[index - 1]}" if index else f" BEFORE {after[0]}" if after else ""
            lines.append(f"ALTER TYPE {name} ADD VALUE {label}{where};")
    return "\n".join(lines)


def _sequence_back(change: Change, thing: CatalogObject) -> str | None:
    if change.was is None:
        return f"DROP SEQUENCE {thing.full_name};"
    before = change.was.definition.removeprefix("unlogged ")
    if change.now is None:
        return f"CREATE SEQUENCE {thing.full_name} {before};"
    had, has = before.split(), change.now.definition.split()
    reset = [words for setting, words in _DEFAULTS.items() if setting in has and setting not in had]
    return f"ALTER SEQUENCE {thing.full_name} {' '.join([before, *reset])};"


def _table_back(change: Change, thing: CatalogObject) -> str | None:
    was, now = change.was and change.was.facts, change.now and change.now.facts
    if not isinstance(was, Table):
        return f"DROP TABLE {thing.full_name};  -- and its rows"
    if not isinstance(now, Table):
        return _table_again(change, thing.full_name) if was.is_ordinary else None
    if _unswitched(was) != _unswitched(now):
        return None
    switches = (
        (was.row_security, now.row_security, "ENABLE ROW LEVEL SECURITY", "DISABLE ROW LEVEL SECURITY"),
        (was.forced, now.forced, "FORCE ROW LEVEL SECURITY", "NO FORCE ROW LEVEL SECURITY"),
        (was.unlogged, now.unlogged, "SET UNLOGGED", "SET LOGGED"),
    )
    return "\n".join(
        f"ALTER TABLE {thing.full_name} {on if before else off};"
        for before, after, on, off in switches
        if before != after
    )


def _unswitched(table: Table) -> Table:
    return table._replace(unlogged=None, row_security=None, forced=None)


def _table_again(change: Change, name: str) -> str:
    """Return what makes a dropped ordinary table again, without its rows."""
    columns, rest = [], []
    for part in change.parts:
        if part.was and isinstance(part.was.facts, Column):
            columns.append(f"{part.was.name} {part.was.facts.without_sequence}")
        else:
            rest.append(mend(part).replace(" CONCURRENTLY", ""))
    return "\n".join([f"CREATE TABLE {name} ({', '.join(columns)});", *(line for line in rest if line != KEEP)])


def _extension_back(change: Change, thing: CatalogObject) -> str | None:
    if change.was is None:
        return f"DROP EXTENSION {thing.name};"
    if change.now is None:
        return f"CREATE EXTENSION {thing.name} {change.was.definition};"
    return f"ALTER EXTENSION {thing.name} UPDATE TO '{change.was.here.removeprefix('version ')}';"


def _schema_back(change: Change, thing: CatalogObject) -> str | None:
    return f"{'DROP' if change.was is None else 'CREATE'} SCHEMA {thing.name};"


def _other_back(change: Change, thing: CatalogObject) -> str | None:
    if change.was is None:
        return f"DROP {thing.kind.upper()} {thing.full_name};" if thing.kind in _DROPPED_BY_NAME else None
    statement = next((text for text in (change.was.definition, change.was.here) if text.startswith("CREATE ")), None)
    return f"{statement.rstrip().removesuffix(';')};" if statement else None


def _comment_back(change: Change, thing: CatalogObject) -> str:
    noun = thing.kind.removeprefix(COMMENT)
    if noun in _ON_TABLE:
        name = f"{thing.name} ON {thing.place}"
    else:
        name = ".".join(filter(None, (thing.schema, thing.name))) if noun == "index" else thing.full_name
    words = literal(change.was.definition) if change.was else "NULL"
    return f"COMMENT ON {'TYPE' if noun in _TYPES else noun.upper()} {name} IS {words};"


_BACK: dict[str, Callable[[Change, CatalogObject], str | None]] = {
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
