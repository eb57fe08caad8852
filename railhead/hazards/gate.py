"""Would that hurt the database at hand?

Weighs what the manifest says of the pending revisions against the sizes of the tables that are there. Read-only; refuses
before anything is touched.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple

import psycopg2
from psycopg2.extensions import connection as Connection

from railhead.diagnosis import refusals
from railhead.errors import Fact, Stop
from railhead.hazards import rules as hazards
from railhead.hazards.rules import Finding
from railhead.history import manifest
from railhead.history import planner as revisions
from railhead.history.graph import History, Revision, source_of
from railhead.logs import log
from railhead.postgres import connection as database
from railhead.settings import Settings

SEAL = "python utils/migrate.py seal"

_THEN = f"then:\n{SEAL}"

Sealed = Mapping[str, manifest.Entry]
"""The lines of the manifest that still speak of pending revisions, by revision; see `sealed`."""

Sizes = Callable[[Sequence[str]], Mapping[str, float]]
"""Gives the rows of tables; those that are not there it leaves out."""


class Weighed(NamedTuple):
    """A hazard, and how much there is to it on this database."""

    revision: Revision
    finding: Finding
    rows: float | None
    """The server's estimate; None when there is no such table."""
    large: bool
    accepted: str | None
    """The reason for which the file accepts it."""

    @property
    def blocks(self) -> bool:
        """Tell whether traffic would stand still, and nobody has accepted that."""
        return self.finding.hazard.blocking and self.large and self.accepted is None

    def record(self) -> dict[str, object]:
        """Return for JSON what every account of it tells."""
        return {
            "table": self.finding.table or None,
            "rows": None if self.rows is None else round(self.rows),
            "danger": self.finding.danger,
            "accepted": self.accepted,
        }

    def __str__(self) -> str:
        size = "" if self.rows is None else f", {count(self.rows)}"
        return f"{self.finding}{size}"


def sealed(pending: Iterable[Revision]) -> Sealed:
    """Return the sealed lines that still speak of these files: of a file that was edited since nobody knows what it does.

    Reads the manifest and all files once; everything else here is told of them.
    """
    entries = manifest.entries()
    known = [one for one in pending if one.id in entries]
    checksums = revisions.checksums({one.id: one.file for one in known}) if known else {}
    lines = {one.id: entries[one.id] for one in known}
    return {one: line for one, line in lines.items() if line.is_replayed and line.checksum == checksums.get(one)}


def known(pending: Iterable[Revision], lines: Sealed) -> list[tuple[Revision, Finding]]:
    """Return what is known to be able to hurt about these revisions."""
    return [(one, Finding.parse(token)) for one in pending if one.id in lines for token in lines[one.id].tokens]


def judge(
    pending: Sequence[Revision], lines: Sealed, history: History, settings: Settings, sizes: Sizes, place: str
) -> None:
    """Return when these revisions may be applied. Raises Stop(`hazard`) when one would block a large table.

    `place` is where the database is, for the message. As MIGRATE_HAZARDS says it is refused, only said, or neither.
    """
    if settings.hazards == "ignore":
        return
    weighed = [one for one in weigh(known(pending, lines), pending, settings, sizes) if one.blocks]
    if weighed and settings.hazards == "refuse":
        raise refusal(weighed, history, settings, place)
    for one in weighed:
        log.warning("%s: %s, and it runs all the same (MIGRATE_HAZARDS=warn)", one.revision.id, one)


def assert_repeatable(
    pending: Sequence[Revision], lines: Sealed, history: History, action: str, place: str, *, empty: bool
) -> None:
    """Return when no revision could be left half done by a crash. Raises Stop(`not-repeatable`).

    Where there is no table yet (`empty`), starting from nothing is a way out: there it is only said.
    """
    finding = Finding("not-repeatable")
    mixed = {one.id for one, found in known(pending, lines) if found == finding} if action == "upgrade" else set()
    for revision in pending:
        if hazards.accepted(revision, finding):
            continue
        if revision.id in mixed or hazards.mixes(manifest.FOLDER / revision.file, action):
            stop = not_repeatable(revision, history, f"unchanged, {place}")
            if not empty:
                raise stop
            log.warning("%s: accepted only because this database has no tables yet", stop.headline)


def warn_of_unsealed(pending: Iterable[Revision], lines: Sealed, settings: Settings) -> None:
    """Log which revisions nobody has looked at as they are now, so that nothing is known of what they would block."""
    names = [revision.id for revision in pending if revision.id not in lines]
    if names:
        advice = "" if settings.production else f"; before you commit:  {SEAL}"
        shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
        log.warning("unsealed, so nobody knows what it would block: %s%s", shown, advice)


def weigh(
    findings: Sequence[tuple[Revision, Finding]], pending: Sequence[Revision], settings: Settings, sizes: Sizes
) -> list[Weighed]:
    """Return each finding with the size of its table on the database that `sizes` speaks of."""
    if not findings:
        return []
    older = _older_names(pending)
    tables = {finding.table for _, finding in findings if finding.table and finding.slug != "breaks-previous-release"}
    rows = sizes(sorted(tables | {older[table] for table in tables if table in older})) if tables else {}

    def weighed(revision: Revision, finding: Finding) -> Weighed:
        table = finding.table if finding.table in rows else older.get(finding.table, "")
        found = rows.get(table)
        large = found is not None and found >= settings.large_table
        return Weighed(revision, finding, found, large, hazards.accepted(revision, finding))

    return [weighed(*one) for one in findings]


def refusal(weighed: Sequence[Weighed], history: History, settings: Settings, place: str) -> Stop:
    """Return the refusal of revisions that would block large tables, with what to write instead."""
    names = list(dict.fromkeys(one.revision.id for one in weighed))
    headline = (
        f"{names[0]} would block a large table"
        if len(names) == 1
        else f"{len(names)} revisions would block large tables"
    )
    facts: list[Fact] = []
    steps: list[str] = []
    for name in names:
        own = [one for one in weighed if one.revision.id == name]
        facts += [("hazard", f"{one}\n{one.finding.danger}") for one in own]
        facts.append(("file", f"migrations/versions/{own[0].revision.file}"))
        steps.append(rewritten(own[0].revision, history, [one.finding for one in own]))
        reasons = ", ".join(f'"{slug}": "why"' for slug in dict.fromkeys(one.finding.slug for one in own))
        steps.append(f"or accept it there, with the reason:\naccepted_hazards = {{{reasons}}}")
    steps.append(_THEN)
    facts.append(("large", f"from {settings.large_table:,} rows on (MIGRATE_LARGE_TABLE)"))
    return Stop("hazard", headline, facts=facts, database=f"unchanged, {place}", next_step="\n\n".join(steps))


def not_repeatable(revision: Revision, history: History, place: str) -> Stop:
    """Return the refusal of a revision that could not be mended after a crash, with the revisions to split it into."""
    advice = (
        f"{rewritten(revision, history, [Finding('not-repeatable')])}\n\n"
        'or accept it there, with the reason:\naccepted_hazards = {"not-repeatable": "why it is safe"}\n\n'
        f"{_THEN}"
    )
    return refusals.mixed(revision).replaced(database=place, next_step=advice)


def rewritten(revision: Revision, history: History, found: Sequence[Finding]) -> str:
    """Return what to write instead, made from the revision's own file where that is possible."""
    from railhead.hazards import rewrite as remedies  # 5 ms that only those pay who are refused

    numbers = [manifest.number(one) or 0 for one in history.by_id]
    successors = [one.file for one in history.by_id.values() if revision.id in one.parents]
    remedy = None
    with suppress(SyntaxError, OSError, ValueError, IndexError):
        source = source_of(manifest.FOLDER / revision.file)
        successor = successors[0] if len(successors) == 1 else None
        remedy = remedies.remedy(source, revision.file, found, max(numbers, default=0) + 1, successor)
    if remedy:
        return f"write it so:\n\n{remedy.text}"
    return "\n".join(dict.fromkeys(one.instead for one in found))


def sizes_of(connection: Connection, tables: Sequence[str]) -> dict[str, float]:
    """Return the rows of each of these tables, as the server estimates them; of a partitioned one, all together. Read-only.

    Like PostgreSQL's planner it takes the rows on a page when the table was analysed, times the pages of now. A table that
    was never analysed has the rows that the statistics count, or else as many as its pages hold at 100 bytes each.
    """
    try:
        with database.gently(connection):
            found = database.rows(
                connection,
                _SIZES.format(pages="pg_relation_size(c.oid) / current_setting('block_size')::int"),
                (list(tables),),
            )
    except (
        psycopg2.errors.LockNotAvailable
    ):  # somebody holds a table under ACCESS EXCLUSIVE: take the size of last time
        found = database.rows(connection, _SIZES.format(pages="c.relpages"), (list(tables),))
    return {str(name): float(str(rows)) for name, rows in found}


def count(rows: float) -> str:
    """Return an estimate for people: `about 1,200,000 rows`."""
    size = max(0, round(rows))
    digits = max(0, len(str(size)) - 2)
    return f"about {round(size, -digits):,} rows" if size else "no rows"


def _older_names(pending: Iterable[Revision]) -> dict[str, str]:
    """Return what tables are called now that pending revisions give new names."""
    names: dict[str, str] = {}
    for revision in pending:
        with suppress(OSError):
            source = (manifest.FOLDER / revision.file).read_text(encoding="utf-8", errors="replace")
            for old, new in _RENAMES.findall(source) if "ename" in source.lower() else ():
                names[new] = names.get(old, old)
    return names


_RENAMES = re.compile(
    r"""(?:rename_table\(\s*["']|ALTER\s+TABLE\s+)(\w+)(?:["'],\s*["']|\s+RENAME\s+TO\s+)(\w+)""", re.IGNORECASE
)

_SIZES = """
WITH RECURSIVE wanted AS (
    SELECT name, to_regclass(name)::oid AS oid FROM unnest(%s::text[]) AS name
), tree AS (
    SELECT name, oid FROM wanted WHERE oid IS NOT NULL
    UNION SELECT t.name, i.inhrelid FROM pg_inherits i JOIN tree t ON i.inhparent = t.oid
), leaf AS (
    SELECT t.name, c.oid, c.reltuples, c.relpages, {pages} AS pages
      FROM tree t JOIN pg_class c ON c.oid = t.oid WHERE c.relkind IN ('r', 'm')
)
SELECT w.name, coalesce(sum(CASE WHEN l.relpages > 0 AND l.reltuples >= 0 THEN l.reltuples / l.relpages * l.pages
                                 WHEN pg_stat_get_live_tuples(l.oid) > 0 THEN pg_stat_get_live_tuples(l.oid)
                                 ELSE l.pages * 80 END), 0)
  FROM wanted w LEFT JOIN leaf l USING (name) WHERE w.oid IS NOT NULL GROUP BY w.name
"""
