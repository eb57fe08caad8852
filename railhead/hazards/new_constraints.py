"""Which writes that were right until now does a revision reject?

Those that break a unique, check or foreign key which did not stand before, on a column that running code writes. Compares catalogs only.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from railhead.hazards.footprint import Footprint
from railhead.schema.objects import CatalogObject, Column, Constraint, Index, identity
from railhead.schema.phrases import Rule, without_texts


def rejecting(footprint: Footprint) -> Iterator[tuple[str, str]]:
    """Yield each table that has a new rule, and the rule in words. Under another name a rule is not new."""
    old, new = footprint.before.objects, footprint.after.objects
    standing = {(thing.place, _rejected(rule)) for thing in old.values() if (rule := _rule(thing))}
    for thing in (new[name] for name in sorted(new.keys() - old.keys())):
        rule, table = _rule(thing), identity("table", thing.place)
        if rule is None or (thing.place, _rejected(rule)) in standing or not (table in old and table in new):
            continue
        columns = [each.name for each in old.values() if each.kind == "column" and each.place == thing.place]
        fresh = [new[name] for name in new.keys() - old.keys() if new[name].place == thing.place]
        if _speaks_of(rule, columns) or (rule.kind != "CHECK" and _speaks_of(rule, _with_default(fresh))):
            yield thing.place, f"the {'constraint' if thing.kind == 'constraint' else 'unique index'} {thing.name}"


def _rule(thing: CatalogObject) -> Rule | None:
    """Return what a constraint or a unique index asks for; None for anything else."""
    rule = thing.facts.rule if isinstance(thing.facts, Constraint | Index) else None
    return None if rule and rule.kind == "INDEX" else rule


def _rejected(rule: Rule) -> Rule:
    """Return what a rule rejects: the same for an index and a constraint, and for new rows only."""
    is_unique = rule.kind in {"UNIQUE", "PRIMARY KEY"}
    return Rule(
        "UNIQUE" if is_unique else rule.kind,
        rule.keys,
        "" if is_unique else rule.method,
        condition=rule.condition,
        references=rule.references,
        nulls_not_distinct=rule.nulls_not_distinct,
    )


def _speaks_of(rule: Rule, columns: Iterable[str]) -> bool:
    """Tell whether a rule is about columns that were there before: on new ones the previous release writes nothing."""
    words = without_texts(" ".join([*rule.keys, rule.condition or ""]))
    return any(re.search(rf'(?<![\w"]){re.escape(column)}(?![\w"])', words) for column in columns)


def _with_default(things: Iterable[CatalogObject]) -> list[str]:
    return [thing.name for thing in things if isinstance(thing.facts, Column) and thing.facts.default is not None]
