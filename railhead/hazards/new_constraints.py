"""Which writes that were right until now does a revision reject?

Those that break a unique, check or foreign key which did not stand before, on a column that running code writes. Compares catalogs only.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from railhead.hazards.footprint import Footprint
from railhead.schema import catalog


def rejecting(footprint: Footprint) -> Iterator[tuple[str, str]]:
    """Yield each table that has a new rule, and the rule in words. Under another name a rule is not new."""
    old, new = footprint.before.definitions, footprint.after.definitions
    standing = {(catalog.split_identity(thing)[1], _rule(text)) for thing, text in old.items() if _is_rule(thing, text)}
    for thing in sorted(new.keys() - old.keys()):
        noun, table, name = catalog.split_identity(thing)
        if not _is_rule(thing, new[thing]) or (table, _rule(new[thing])) in standing:
            continue
        definition = new[thing]
        if f"table {table}" in old and f"table {table}" in new:
            columns = [
                column for kind, place, column in map(catalog.split_identity, old) if (kind, place) == ("column", table)
            ]
            if _speaks_of(definition, columns) or _has_default(definition, table, new, old):
                yield table, f"the {'constraint' if noun == 'constraint' else 'unique index'} {name}"


def _is_rule(thing: str, definition: str) -> bool:
    return thing.startswith("constraint ") or (thing.startswith("index ") and definition.startswith("CREATE UNIQUE"))


def _rule(definition: str) -> str:
    """Return what a rule rejects, in words that are the same under another name, for an index and a constraint, and for new rows only."""
    ruled = re.sub(r"^(?:CREATE UNIQUE INDEX .*? USING btree|UNIQUE|PRIMARY KEY) (?=\(|NULLS )", "UNIQUE ", definition)
    return re.sub(
        r" (?:ON (?:DELETE|UPDATE) (?:[A-Z]+ )?[A-Z]+(?: \(.*?\))?|NOT VALID|DEFERRABLE|INITIALLY DEFERRED)", "", ruled
    )


def _speaks_of(definition: str, columns: Iterable[str]) -> bool:
    """Tell whether a rule is about columns that were there before: on new ones the previous release writes nothing."""
    ruled = re.sub(r"'(?:[^']|'')*'| REFERENCES .*|^CREATE UNIQUE INDEX .*? USING \w+ ", "", definition)
    return any(re.search(rf'(?<![\w"]){re.escape(column)}(?![\w"])', ruled) for column in columns)


def _has_default(definition: str, table: str, new: dict[str, str], old: dict[str, str]) -> bool:
    fresh = {thing: text for thing, text in new.items() if thing not in old and thing.startswith(f"column {table}.")}
    with_default = [catalog.split_identity(thing)[2] for thing, text in fresh.items() if " default " in text]
    return not definition.startswith("CHECK") and _speaks_of(definition, with_default)
