"""What can be told about the schema? Everything that a console shows, as one record.

Read-only. In a handful of queries on one connection, which the caller opens and closes.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeVar

import psycopg2
from psycopg2.extensions import connection as Connection

from railhead.autogenerate.model_diff import Difference
from railhead.commands import report
from railhead.errors import Stop
from railhead.hazards import gate, loss_counts, table_sizes
from railhead.hazards.gate import Weighed
from railhead.history import manifest
from railhead.history.graph import History, Revision, syntax
from railhead.postgres.advisory_lock import Holder
from railhead.postgres.blockers import Blocker, blockers_of
from railhead.postgres.connection import fetch_all
from railhead.schema import catalog
from railhead.schema.catalog import Catalog
from railhead.schema.ownership import Ownership
from railhead.settings import Settings
from railhead.state import drift, inspection, ledger
from railhead.state.drift import Drift
from railhead.state.inspection import Snapshot
from railhead.state.ledger import Filter, LedgerRow
from railhead.state.owners import in_database
from railhead.state.status import Models, Status, edited, status_of

T = TypeVar("T")

Window = Callable[[int], tuple[int, int]]
"""Gets how many rows of the ledger there are; returns how many are wanted, and after how many."""

Compare = Callable[[Connection, Catalog], list[Difference]]
"""Returns where the models are ahead of a catalog. Ends the connection's transaction."""

_FLAGS = {
    "drifted": (
        "The schema was changed outside the migrations since the last run.",
        "Take the change back, or write it into models.py and make a revision of it. What it is stands below.",
    ),
    "edited": (
        "A revision that is applied here means something else now than when it was applied.",
        "Give the file its old content back, and put what is new into a revision of its own.",
    ),
    "unfinished": (
        "Post-deploy work has failed. The application serves without it.",
        "Mend the revision in a new release; each start tries it again. What PostgreSQL said stands in the ledger below.",
    ),
    "unsealed": (
        "migrations/manifest.txt lacks a revision.",
        "Run  python utils/migrate.py seal  and commit the file.",
    ),
}


class Flag(NamedTuple):
    """Something beside the state that wants a look."""

    name: str
    means: str
    remedy: str
    files: tuple[str, ...] = ()


class Milestone(NamedTuple):
    """A revision: what its file and the manifest say, and the row of the ledger that brought the database to it."""

    revision: str
    file: str | None
    """None when this code does not have it."""
    title: str
    place: str
    """`applied`, `pending`, or `newer` for those that this code does not have."""
    breaking: bool | None
    hazards: tuple[str, ...]
    entry: LedgerRow | None

    def record(self) -> dict[str, object]:
        """Return it for JSON."""
        entry = self.entry
        return {
            "revision": self.revision,
            "file": self.file,
            "message": self.title,
            "place": self.place,
            "breaking": self.breaking,
            "hazards": list(self.hazards),
            "applied_at": entry.started_at.isoformat() if entry else None,
            "action": entry.action if entry else None,
            "duration_ms": entry.duration_ms if entry else None,
            "release": entry.release if entry else None,
        }


class Planned(NamedTuple):
    """A pending revision, and what it would mean for this database."""

    milestone: Milestone
    weighed: tuple[Weighed, ...]
    code: str | None
    """What it does: its `upgrade`, as it is written."""
    instead: str
    """What to write instead; empty when nothing speaks against it."""

    @property
    def refused(self) -> bool:
        """Whether a large table would stand still."""
        return any(hazard.blocks for hazard in self.weighed)

    def record(self) -> dict[str, object]:
        """Return it for JSON."""
        fields = self.milestone.record()
        return {
            **{name: fields[name] for name in ("revision", "file", "message", "breaking")},
            "refused": self.refused,
            "hazards": [
                {"hazard": hazard.finding.slug, "blocks": hazard.blocks, **hazard.record()} for hazard in self.weighed
            ],
            "instead": self.instead,
            "code": self.code,
        }


class Work(NamedTuple):
    """What a session of the migration is doing. `age` in seconds."""

    pid: int
    age: float
    query: str
    phase: str | None
    percent: int | None
    blockers: tuple[Blocker, ...]

    def record(self) -> dict[str, object]:
        """Return it for JSON."""
        return {**self._asdict(), "blockers": [blocker._asdict() for blocker in self.blockers]}


class Overview(NamedTuple):
    """Everything there is to tell."""

    status: Status
    sentence: str
    next: str | None
    problem: Stop | None
    """What is wrong with the files, when the history is forked or cannot be read."""
    flags: tuple[Flag, ...]
    work: tuple[Work, ...]
    """Of the migration that runs now, if one does and we may look at it."""
    pending: tuple[Planned, ...]
    """Oldest first."""
    revisions: tuple[Milestone, ...]
    """Newest first."""
    ledger: tuple[LedgerRow, ...]
    """Newest first, as many as were asked for."""
    ledger_rows: int
    """How many there are in all."""
    drift: Drift | None
    """None while a migration runs, or while somebody holds a table for himself."""

    def record(self) -> dict[str, object]:
        """Return it for JSON."""
        return {
            **self.status.record(),
            "sentence": self.sentence,
            "next": self.next,
            "problem": self.problem.record() if self.problem else None,
            "unmet": None if self.status.unmet is None else list(self.status.unmet),
            "edited": [f"migrations/versions/{file}" for flag in self.flags for file in flag.files],
            "work": [work.record() for work in self.work],
            "plan": [planned.record() for planned in self.pending],
            "revisions": [milestone.record() for milestone in self.revisions],
            "ledger": [row.record() for row in self.ledger],
            "drift": self.drift.record() if self.drift else None,
        }


def overview(
    connection: Connection,
    settings: Settings,
    history: History,
    models: Models,
    *,
    compare: Compare,
    only: Filter,
    window: Window,
) -> Overview:
    """Return everything. Read-only; `connection` is in a transaction, and in autocommit mode afterwards. Raises psycopg2.Error.

    `only` and `window` say which rows of the ledger are wanted.
    """
    place = inspection.snapshot(connection, settings.project.version_table, closely=True)
    status = status_of(connection, settings, history, models, glance=place)
    arrivals = ledger.arrivals(connection) if place.has_ledger else {}
    total = ledger.count(connection, only) if place.has_ledger else 0
    limit, offset = window(total)
    rows = ledger.entries(connection, limit, offset=offset, only=only) if total else []
    work = _work(connection, place.holder) if place.holder else ()
    differences = None
    if not place.holder:
        whose = partial(in_database, connection, history, place.versions, models)
        differences = unless_locked(connection, lambda: _drift(connection, status, place, compare, whose()))
    connection.rollback()
    connection.autocommit = True  # what weighs the tables brings a transaction of its own
    return Overview(
        status=status,
        sentence=report.sentence(status),
        next=None if status.lock else report.next_step(status),  # somebody is at it
        problem=history.problem,
        flags=tuple(_flags(status, place, history)),
        work=work,
        pending=_planned(connection, settings, status, history),
        revisions=tuple(_milestones(status, history, arrivals)),
        ledger=tuple(rows),
        ledger_rows=total,
        drift=differences,
    )


def unless_locked(connection: Connection, ask: Callable[[], T]) -> T | None:
    """Return the answer; None when somebody holds a table so that it cannot be had soon. The connection is in a transaction."""
    with connection.cursor() as cursor:
        cursor.execute("SAVEPOINT question")
        try:
            return ask()
        except (psycopg2.errors.LockNotAvailable, psycopg2.errors.InFailedSqlTransaction):
            cursor.execute("ROLLBACK TO SAVEPOINT question")
            return None


def _drift(connection: Connection, status: Status, place: Snapshot, compare: Compare, whose: Ownership) -> Drift:
    """Compare with what the last run kept, and the models with the database where both should say the same."""
    schema = catalog.read(connection)
    outside, others = drift.sort_out(drift.since(place.kept, connection, schema), whose)
    return Drift.of(outside, compare(connection, schema) if status.state in inspection.COMPARABLE else None, others)


def _flags(now: Status, snapshot: Snapshot, history: History) -> Iterator[Flag]:
    for name in now.flags:
        files = tuple(edited(snapshot, history)) if name == "edited" else ()
        yield Flag(name, *_FLAGS[name], files)


def _milestones(now: Status, history: History, arrivals: Mapping[str, LedgerRow]) -> list[Milestone]:
    """Return all revisions, newest first: those that only the database has, then those of the files."""
    pending = {one.revision for one in now.pending}
    applied = history.ancestors(now.current)
    sealed = {one: line for one, line in manifest.entries(history.project.manifest).items() if one not in pending}
    sealed.update(gate.sealed(history.project, (one for one in history.by_id.values() if one.id in pending)))
    ours = [
        _milestone(one, "pending" if one.id in pending else "applied", sealed, arrivals.get(one.id))
        for one in history.by_id.values()
        if one.id in pending or one.id in applied or not history.problem
    ]
    newer = [_newer(one, arrivals.get(one)) for one in now.unknown]
    return [*reversed(newer), *reversed(ours)]


def _milestone(
    one: Revision, place: str, sealed: Mapping[str, manifest.SealedRevision], entry: LedgerRow | None
) -> Milestone:
    line = sealed.get(one.id)
    said = one.is_breaking(line)
    return Milestone(
        revision=one.id,
        file=one.file,
        title=next(iter(one.message.splitlines()), ""),
        place=place,
        breaking=said if said is not None or entry is None else entry.breaking,
        hazards=line.tokens if line else (),
        entry=entry if place == "applied" else None,
    )


def _planned(connection: Connection, settings: Settings, now: Status, history: History) -> tuple[Planned, ...]:
    """Weigh what the manifest says of the pending revisions against the sizes of the tables, as the start would."""
    pending = [history.by_id[waiting.revision] for waiting in now.pending]
    sealed = gate.sealed(history.project, pending)

    def sizes(names: Sequence[str]) -> Mapping[str, float]:
        try:
            return table_sizes.sizes_of(connection, names)
        except psycopg2.errors.LockNotAvailable:
            return {}

    weighed = gate.weigh(
        gate.known(pending, sealed), pending, settings, sizes, lambda losses: loss_counts.at_stake(connection, losses)
    )
    return tuple(
        _plan(waiting, history, [own for own in weighed if own.revision.id == waiting.id], sealed)
        for waiting in pending
    )


def _plan(
    revision: Revision, history: History, weighed: Sequence[Weighed], sealed: Mapping[str, manifest.SealedRevision]
) -> Planned:
    against = [own.finding for own in weighed if own.accepted is None]
    return Planned(
        milestone=_milestone(revision, "pending", sealed, None),
        weighed=tuple(weighed),
        code=_code(revision.path),
        instead=gate.rewritten(revision, history, against) if against else "",
    )


def _newer(revision: str, entry: LedgerRow | None) -> Milestone:
    return Milestone(revision, None, "", "newer", entry.breaking if entry else None, (), entry)


def _code(file: Path) -> str | None:
    """Return the source of a revision's `upgrade`, read and not run."""
    try:
        source = file.read_text(encoding="utf-8")
        function = next(node for node in syntax(source).body if getattr(node, "name", "") == "upgrade")
    except (OSError, SyntaxError, ValueError, StopIteration):
        return None
    return ast.get_source_segment(source, function)


def _work(connection: Connection, holder: Holder) -> tuple[Work, ...]:
    """Return what the lock holder's process is at. Behind a pooler, or for another role, PostgreSQL may not tell."""
    return tuple(
        Work(
            pid=int(str(pid)),
            age=float(str(age)),
            query=str(query),
            phase=None if phase is None else str(phase),
            percent=None if percent is None else int(str(percent)),
            blockers=tuple(blockers_of(connection, int(str(pid)))),
        )
        for pid, age, query, phase, percent in fetch_all(connection, _WORK, (holder.application, holder.pid))
    )


_WORK = """
SELECT a.pid, coalesce(extract(epoch FROM clock_timestamp() - a.query_start), 0),
       left(regexp_replace(a.query, '\\s+', ' ', 'g'), 200),
       p.phase, CASE WHEN p.blocks_total > 0 THEN 100 * p.blocks_done / p.blocks_total END
  FROM pg_stat_activity a LEFT JOIN pg_stat_progress_create_index p USING (pid)
 WHERE a.application_name = %s AND a.pid <> %s AND a.state = 'active' AND a.datname = current_database()
 ORDER BY a.query_start
"""
