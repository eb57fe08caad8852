"""What of a footprint is which hazard?

Each check yields tables, with what in them is meant. From what PostgreSQL said, not from SQL.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from railhead.hazards.footprint import BLOCKS_WRITES, EXCLUSIVE, Footprint, Statement
from railhead.schema import compatibility
from railhead.schema.objects import CatalogObject, Column, Constraint, Index, identity
from railhead.schema.phrases import Rule, without_texts

Hit = tuple[str, str]
"""A table (empty where it is about the revision as a whole), and what in it is meant, in words."""


def rewrites(footprint: Footprint) -> Iterator[Hit]:
    """Yield each table that is written anew."""
    for statement in footprint.statements:
        for table in statement.rewritten:
            yield table, _first_words(statement)
    rewritten = {table for statement in footprint.statements for table in statement.rewritten}
    for table in _zoned(footprint) - rewritten:
        for statement in footprint.statements:
            if statement.held.get(table) == EXCLUSIVE and re.search(r"\bTYPE\b", statement.sql, re.IGNORECASE):
                yield table, _first_words(statement)


def _zoned(footprint: Footprint) -> set[str]:
    """Return the tables with a timestamp that gets a time zone or loses it.

    Where `TimeZone` is UTC, as on a scratch database, PostgreSQL need not write the rows: anywhere else it does.
    """
    old, new = footprint.before.objects, footprint.after.objects
    both = ((new[name].place, old[name].facts, new[name].facts) for name in old.keys() & new.keys())
    return {
        table
        for table, was, now in both
        if isinstance(was, Column) and isinstance(now, Column)
        if was.type.startswith("timestamp") and now.type.startswith("timestamp")
        if (" with time zone" in was.type) != (" with time zone" in now.type)
    }


def scans(footprint: Footprint) -> Iterator[Hit]:
    """Yield each table that is read whole while somebody waits."""
    for statement in footprint.statements:
        for table in statement.scanned:
            if _blocks(statement, table) and table not in statement.rewritten:
                yield table, f"{_first_words(statement)}{_meanwhile(statement, table)}"


def indexes(footprint: Footprint) -> Iterator[Hit]:
    """Yield each table whose writes wait for an index."""
    for statement in footprint.statements:
        for index, table in statement.indexed:
            if _blocks(statement, table) and table not in statement.rewritten:
                yield table, f"the index {index}{_meanwhile(statement, table)}"


def foreign_keys(footprint: Footprint) -> Iterator[Hit]:
    """Yield each table with a foreign key that is checked for all rows while somebody waits."""
    for statement in footprint.statements:
        for name, table in statement.foreign_keys:
            if _blocks(statement, table) and table not in statement.rewritten:
                yield table, f"the foreign key {name}{_meanwhile(statement, table)}"


def _blocks(statement: Statement, table: str) -> bool:
    """Tell whether somebody waits while this works on a table: for that one, or for another that is locked meanwhile."""
    return bool(_blocked(statement, table))


def _blocked(statement: Statement, table: str) -> list[str]:
    """Return the tables that nobody can write meanwhile; its own first."""
    blocked = [name for name, mode in statement.held.items() if mode >= BLOCKS_WRITES]
    return sorted(blocked, key=lambda name: (name != table, name))


def _meanwhile(statement: Statement, table: str) -> str:
    """Return, where others wait than those of the table itself, for whom."""
    first, *_ = _blocked(statement, table)
    return "" if first == table else f" (while nobody can write {first})"


def writes(footprint: Footprint) -> Iterator[Hit]:
    """Yield each table whose rows are written in one transaction."""
    for statement in footprint.statements:
        if statement.alone or not statement.outside:  # what a verb commits in batches is neither
            for table in statement.written:
                yield table, _first_words(statement)


def chains(footprint: Footprint) -> Iterator[Hit]:
    """Yield the last table of the longest chain: one of its tables can be neither read nor written, the others not written."""
    most: list[str] = []
    for statement in footprint.statements:
        held = [table for table, mode in statement.held.items() if mode >= BLOCKS_WRITES]
        last = [table for table in held if statement.taken.get(table, -1) >= BLOCKS_WRITES]
        last.sort(key=lambda table: -statement.taken[table])
        if EXCLUSIVE in statement.held.values() and len(held) > max(len(most), 1):
            most = [*(table for table in held if table not in last), *last]
    if most:
        yield most[-1], " and ".join(most[:-1])


def breaks(footprint: Footprint) -> Iterator[Hit]:
    """Yield what the release before misses."""
    for broken in compatibility.breaks(footprint.before, footprint.after):
        yield broken.object, broken.why


def not_repeatable(footprint: Footprint) -> Iterator[Hit]:
    """Yield why it cannot be run again after a crash."""
    if footprint.repeated:
        yield "", footprint.repeated


def not_reversible(footprint: Footprint) -> Iterator[Hit]:
    """Yield why the way back does not lead back."""
    if footprint.undone:
        yield "", footprint.undone


def destroys(footprint: Footprint) -> Iterator[Hit]:
    """Yield what is lost."""
    gone = {loss.table for loss in footprint.losses if loss.what == "table"}
    for loss in footprint.losses:
        if loss.what == "table" or loss.table not in gone:
            yield loss.table, loss.what


def _first_words(statement: Statement) -> str:
    words = " ".join(statement.sql.split())
    return words if len(words) <= 80 else f"{words[:77]}..."


def rejects(footprint: Footprint) -> Iterator[Hit]:
    """Yield each table that has a new rule, or a stricter unique, and the rule in words. Under another name a rule is not new."""
    old, new = footprint.before.objects, footprint.after.objects
    standing = {(thing.place, _rejected(rule)) for thing in old.values() if (rule := _rule(thing))}
    stricter = {
        name for name in new.keys() & old.keys() if _is_unique(new[name]) and _rule(new[name]) != _rule(old[name])
    }
    for thing in (new[name] for name in sorted((new.keys() - old.keys()) | stricter)):
        rule, table = _rule(thing), identity("table", thing.place)
        if rule is None or (thing.place, _rejected(rule)) in standing or not (table in old and table in new):
            continue
        kept = [there for place, there in standing if place == thing.place]
        if thing.identity in stricter and _is_implied(_rejected(rule), kept):
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


def _is_unique(thing: CatalogObject) -> bool:
    rule = _rule(thing)
    return rule is not None and _rejected(rule).kind == "UNIQUE"


def _is_implied(rule: Rule, standing: Iterable[Rule]) -> bool:
    """Tell whether what is unique in fewer columns, for as many rows, was so before: then nothing new is rejected."""
    return rule.kind == "UNIQUE" and any(
        there.kind == "UNIQUE"
        and set(there.keys) <= set(rule.keys)
        and there.condition in {None, "", rule.condition}
        and (there.nulls_not_distinct or not rule.nulls_not_distinct)
        for there in standing
    )


def _speaks_of(rule: Rule, columns: Iterable[str]) -> bool:
    """Tell whether a rule is about columns that were there before: on new ones the previous release writes nothing."""
    words = without_texts(" ".join([*rule.keys, rule.condition or ""]))
    return any(re.search(rf'(?<![\w"]){re.escape(column)}(?![\w"])', words) for column in columns)


def _with_default(things: Iterable[CatalogObject]) -> list[str]:
    return [thing.name for thing in things if isinstance(thing.facts, Column) and thing.facts.default is not None]
