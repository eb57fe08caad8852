"""What would an upgrade do here, and what would that cost?

Shows the pending revisions with their SQL, their footprint and their hazards on tables of the size that they have. Changes
nothing: what is not sealed is tried on a scratch database, in development only.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import NamedTuple

import psycopg2

from railhead.commands.progress import Progress
from railhead.devserver import scratch
from railhead.execution.arrival import UNMANAGED
from railhead.execution.entry import plan
from railhead.hazards import gate, loss_counts, parallel_replay, rules, table_sizes, unseen
from railhead.hazards.footprint import BLOCKS_WRITES, STRENGTH, Footprint, Statement
from railhead.hazards.gate import Weighed
from railhead.hazards.replay import Failed
from railhead.hazards.rules import Finding
from railhead.history import loader, manifest, offline_sql
from railhead.history.graph import PRE_DEPLOY, History, Revision
from railhead.postgres import failures
from railhead.postgres.connection import open_now
from railhead.project import Project
from railhead.schema import compatibility
from railhead.schema.ownership import few
from railhead.settings import Settings
from railhead.state import inspection

_FRAME = {"BEGIN", "COMMIT", "LOCK", "SELECT", "SET", "SHOW", "RESET", "WITH"}


class Effect(NamedTuple):
    """One statement, and what it does."""

    sql: str
    does: tuple[str, ...]


class Planned(NamedTuple):
    """A revision that would be applied."""

    revision: str
    file: str
    message: str
    source: str
    """How we know: `replay`, `manifest`, or `nothing` when nobody has looked."""
    statements: tuple[Effect, ...]
    hazards: tuple[Weighed, ...]
    breaking: bool | None
    """Whether the release before this one stops working; None when nobody knows."""
    breaks: tuple[str, ...]
    back: str | None
    """Why its downgrade does not lead back; None when it does, or when nobody has looked."""
    instead: str | None
    """What to write instead, made from its own file, when it would be refused."""
    unseen: str | None = None
    """What a replay could not see of it; None when nothing."""
    phase: str = PRE_DEPLOY

    def record(self) -> dict[str, object]:
        """Return it for JSON."""
        return {
            "revision": self.revision,
            "file": self.file,
            "message": self.message,
            "source": self.source,
            "sql": [one.sql for one in self.statements],
            "footprint": [{"sql": one.sql, "does": list(one.does)} for one in self.statements],
            "hazards": [_record(one) for one in self.hazards],
            "previous_release": None if self.breaking is None else "breaks" if self.breaking else "works",
            "breaks": list(self.breaks),
            "can_be_undone": None if self.source == "nothing" else self.back is None,
            "back": self.back,
            "instead": self.instead,
            "unseen": self.unseen,
            "phase": self.phase,
        }


class Plan(NamedTuple):
    """What an upgrade would do."""

    place: str
    """Where the database is."""
    target: str
    steps: tuple[Planned, ...]
    note: str | None
    """Why it tells less than it could; None when it tells all."""
    out_of_order: tuple[tuple[str, str], ...] = ()
    """Pre-deploy revisions, each with the post-deploy one that a start has to do first because of it."""

    def record(self) -> dict[str, object]:
        """Return it for JSON."""
        return {
            "at": self.place,
            "target": self.target,
            "pending": [step.record() for step in self.steps],
            "note": self.note,
        }


def make(target: str, settings: Settings) -> Plan:
    """Return what `upgrade` to `target` would do. Read-only; replays on scratch databases in development.

    Raises Stop when there is no way to `target` or the database cannot be reached.
    """
    steps = plan("upgrade", target, settings)
    history = loader.history(settings.project)
    pending = [history.by_id[step.revision] for step in steps if step.revision in history.by_id]
    place = ", ".join(sorted(steps[0].source)) if steps else "there already"
    begins = bool(steps) and not steps[0].source and history.origin.baseline in {one.id for one in pending}
    if begins:
        pending = [one for one in pending if one.id not in history.in_baseline]
    footprints, note = _footprints(pending, history, settings) if pending else ({}, None)
    connection = _connect(settings)
    try:
        seen = inspection.snapshot(connection, settings.project.version_table)
        where = inspection.state(seen, history)
        planned = _planned(pending, history, footprints, settings, connection)
    finally:
        connection.close()
    if where in UNMANAGED:
        note = _NO_VERSION if note is None else f"{_NO_VERSION}; {note}"
    elif seen.tables and not seen.taken_back:
        left = f"left alone, because no revision and no model names them: {few(seen.tables)}"
        note = left if note is None else f"{left}; {note}"
    if begins:
        first = f"migrations/baseline.sql makes the schema at {history.origin.baseline} first"
        note = first if note is None else f"{first}; {note}"
    if not seen.versions and seen.has_tables:
        place = "without a version"
    return Plan(place or "empty", target, planned, note, history.out_of_order(one.id for one in pending))


_NO_VERSION = (
    "the database has tables but no version: upgrade takes it over where its schema is a revision's, else refuses"
)


def _connect(settings: Settings) -> psycopg2.extensions.connection:
    return open_now(settings.migrations, "plan")


def _footprints(
    pending: Sequence[Revision], history: History, settings: Settings
) -> tuple[dict[str, Footprint], str | None]:
    """Return what PostgreSQL says of the revisions, and why it could not be asked about all of them."""
    if settings.production:
        return {}, "this is production: what is shown was sealed, nothing was tried"
    found: dict[str, Footprint] = {}
    ids = [revision.id for revision in pending]
    try:
        with Progress("replaying", len(ids)) as progress:
            for one in parallel_replay.footprints(scratch.server(settings), history, ids, progress.tell):
                found[one.revision] = one
    except Failed as failed:
        return found, failed.told
    except psycopg2.Error as error:
        return found, f"there is no scratch database to try it on: {failures.server_words(error)}"
    return found, None


def _planned(
    pending: Sequence[Revision],
    history: History,
    footprints: Mapping[str, Footprint],
    settings: Settings,
    connection: psycopg2.extensions.connection,
) -> tuple[Planned, ...]:
    sealed = gate.sealed(history.project, pending)
    known = [
        (one, finding) for one in pending for finding in _findings(one, footprints.get(one.id), sealed.get(one.id))
    ]
    weighed = gate.weigh(
        known,
        pending,
        settings,
        lambda tables: table_sizes.sizes_of(connection, tables),
        lambda losses: loss_counts.at_stake(connection, losses),
    )
    return tuple(
        _one(
            revision,
            history,
            footprints.get(revision.id),
            sealed.get(revision.id),
            [one for one in weighed if one.revision.id == revision.id],
        )
        for revision in pending
    )


def _findings(revision: Revision, footprint: Footprint | None, entry: manifest.SealedRevision | None) -> list[Finding]:
    if footprint is not None:
        return rules.findings(footprint, revision)
    return [Finding.parse(token) for token in entry.tokens] if entry else []


def _one(
    revision: Revision,
    history: History,
    footprint: Footprint | None,
    entry: manifest.SealedRevision | None,
    weighed: Sequence[Weighed],
) -> Planned:
    refused = [
        one.finding for one in weighed if one.blocks or (one.finding.slug == "not-repeatable" and not one.accepted)
    ]
    back = next(
        (one.finding.thing or one.finding.hazard.thing for one in weighed if one.finding.slug == "not-reversible"), None
    )
    return Planned(
        revision=revision.id,
        file=f"migrations/versions/{revision.file}",
        message=revision.message,
        source="replay" if footprint else "manifest" if entry else "nothing",
        statements=_effects(history.project, revision, footprint),
        hazards=tuple(weighed),
        breaking=rules.is_breaking(footprint, revision) if footprint else revision.is_breaking(entry),
        breaks=tuple(one.why for one in compatibility.breaks(footprint.before, footprint.after)) if footprint else (),
        back=back,
        instead=gate.rewritten(revision, history, refused) if refused else None,
        unseen=unseen.words(revision.path, footprint),
        phase=revision.phase,
    )


def _effects(project: Project, revision: Revision, footprint: Footprint | None) -> tuple[Effect, ...]:
    if footprint is not None:
        effects = (
            Effect(_shown(statement.sql), tuple(_does(statement)))
            for statement in footprint.statements
            if not _only_asks(statement)
        )
        return tuple(effect for effect, _ in groupby(effects))  # a verb may take the same step many times
    text = offline_sql.upgrade_sql(project, revision)
    return (Effect(text, ()),) if text else ()


def _shown(sql: str) -> str:
    """Return a statement as it is shown: a verb that does its work in many says in a comment what they come to."""
    sql = sql.replace("%%", "%")  # as the driver wants it
    comment = re.match(r"/\* (.+?) \*/", sql, re.DOTALL)
    return comment[1] if comment else sql


def _only_asks(statement: Statement) -> bool:
    """Tell whether a statement is one of those between which a verb does its work."""
    words = statement.sql.split(maxsplit=1)
    first = words[0].upper() if words else ""
    is_soft = max(statement.taken.values(), default=0) < BLOCKS_WRITES and not statement.written
    return statement.outside and is_soft and first in _FRAME


def _does(statement: Statement) -> list[str]:
    """Return what a statement does to the tables that were there, in words."""
    effects = [f"{_lock_words(mode)} on {table}" for table, mode in sorted(statement.taken.items())]
    effects += [f"writes all of {table} anew" for table in statement.rewritten]
    effects += [f"reads every row of {table}" for table in statement.scanned]
    effects += [f"builds the index {index} on {table}" for index, table in statement.indexed]
    effects += [f"checks {name} for every row of {table}" for name, table in statement.foreign_keys]
    effects += [f"changes rows of {table}" for table in statement.written]
    return [*effects, *(["outside the transaction"] if statement.outside and effects else [])]


def _lock_words(mode: int) -> str:
    """Return a lock as PostgreSQL's manual writes it: ACCESS EXCLUSIVE."""
    words = STRENGTH[mode].removesuffix("Lock")
    return "".join(f" {letter}" if letter.isupper() else letter.upper() for letter in words).strip()


def _record(weighed: Weighed) -> dict[str, object]:
    return {
        "slug": weighed.finding.slug,
        "large": weighed.large,
        "blocking": weighed.finding.hazard.blocking,
        "refused": weighed.blocks,
        "instead": weighed.finding.instead,
        **weighed.record(),
    }
