"""Where are we, in one record?

The same `Status` is what the command line, `/readyz`, the console and `--json` show. Read-only, always.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from typing import NamedTuple

import psycopg2
from psycopg2.extensions import connection as Connection
from sqlalchemy import MetaData

from railhead.autogenerate import model_diff
from railhead.diagnosis import comparing, messages
from railhead.dsn import Address
from railhead.errors import Forked, Stop, TwoDatabases
from railhead.hazards import gate, loss_counts, rules
from railhead.hazards.rules import Finding
from railhead.history import loader, manifest
from railhead.history.graph import POST_DEPLOY, PRE_DEPLOY, History, checksums_of
from railhead.history.models import why_not_loaded
from railhead.logs import log
from railhead.postgres.advisory_lock import Holder
from railhead.postgres.connection import database_identity, open_now, reach, server_version
from railhead.postgres.retry_budget import Allowance
from railhead.schema import catalog, requirements
from railhead.settings import Settings
from railhead.state import drift, ledger, releases
from railhead.state.drift import Drift
from railhead.state.inspection import COMPARABLE, Snapshot, on_top, snapshot, state
from railhead.state.owners import in_database

Models = Callable[[], MetaData]
"""Gives the metadata of models.py, which is imported only when it is needed."""


CHANGED = frozenset({"drifted", "edited"})
"""What is known to have changed since a run: then being at head does not mean that the models find what they need."""


class Pending(NamedTuple):
    """A revision that the database lacks."""

    revision: str
    file: str
    message: str
    breaking: bool | None
    hazards: tuple[str, ...]
    lost: Mapping[str, str] | None = None
    """How much there is of what it would take away, in words, by the hazard; None when nobody has counted."""
    phase: str = PRE_DEPLOY

    def record(self) -> dict[str, object]:
        """Return it for JSON."""
        return {**self._asdict(), "hazards": list(self.hazards)}


class Status(NamedTuple):
    """Where a database is, seen from this code."""

    state: str
    flags: tuple[str, ...]
    current: tuple[str, ...]
    heads: tuple[str, ...]
    pending: tuple[Pending, ...]
    unknown: tuple[str, ...]
    """Revisions of the database that this code does not have, oldest first."""
    database: str
    server: str
    lock: Holder | None
    last: ledger.LedgerRow | None
    redundant: tuple[str, ...] = ()
    """Versions that another one builds on, which no tool leaves in alembic_version."""
    unmet: tuple[str, ...] | None = None
    """What models.py needs and this schema does not give; None when that does not decide (see `served`), or nobody knows."""
    waits: str | None = None
    """What post-deploy work is waiting for before it takes something away; None when nothing is waited for, or nobody looked."""
    others: tuple[str, ...] = ()
    """Tables of others in a database that has none of ours yet, which are left alone."""

    @property
    def known(self) -> tuple[str, ...]:
        """Return those of the database's versions that this code has."""
        return tuple(version for version in self.current if version not in self.unknown)

    @property
    def newer_release(self) -> str | None:
        """Return the release that made the newest revision that this code does not have, if it is the last thing done."""
        newest = self.last and self.last.revision in self.unknown[-1:]
        return self.last.release if self.last and newest else None

    @property
    def can_serve(self) -> bool:
        """Tell whether this code can serve requests on that schema."""
        return not self.unmet if self.state == "current" else self.unmet == ()

    def record(self) -> dict[str, object]:
        """Return it for JSON."""
        shown = self._asdict()
        del shown["unmet"], shown["redundant"], shown["others"]
        return {
            **shown,
            "flags": list(self.flags),
            "current": list(self.current),
            "heads": list(self.heads),
            "pending": [revision.record() for revision in self.pending],
            "unknown": list(self.unknown),
            "lock": self.lock._asdict() if self.lock else None,
            "last": self.last.record() if self.last else None,
        }


def read(
    settings: Settings,
    history: History | None = None,
    models: Models | None = None,
    *,
    closely: bool = True,
    allowance: Allowance | None = None,
) -> Status:
    """Return where the database is. Read-only. Raises Stop when it cannot be reached at once, or within `allowance`.

    `models` is asked only where they decide. Without `closely`, drift, edited files and losses are not looked for. Raises Stop, too,
    when migrations would go to another database; a server of theirs that does not answer from here says nothing.
    """
    history = history or loader.history(settings.project)
    if history.problem and not isinstance(history.problem, Forked):
        raise history.problem
    connection = _reach(settings.application, allowance)
    try:
        try:
            assert_one_database(settings, connection)
        except TwoDatabases:
            raise
        except Stop:
            pass  # a server of theirs that does not answer from here
        with catalog.told_who(connection):
            place = status_of(connection, settings, history, models, closely=closely)
        return _counted(place, connection, history) if closely else place
    finally:
        connection.close()


def _reach(address: Address, allowance: Allowance | None) -> Connection:
    return reach(address, "status", allowance) if allowance else open_now(address, "status")


def assert_one_database(
    settings: Settings, connection: Connection | None = None, *, allowance: Allowance | None = None
) -> None:
    """Raise Stop when the URLs of the application and of migrations name two databases, or one that cannot be reached. Read-only.

    `connection` leads to the application's, where there is one already; else that is reached at once, or within `allowance`. Costs
    nothing where the two URLs are one.
    """
    if len(settings.addresses) == 1:
        return
    with ExitStack() as stack:
        if connection is None:
            connection = _reach(settings.application, allowance)
            stack.callback(connection.close)
        for_migrations = open_now(settings.migrations, "status")
        stack.callback(for_migrations.close)
        if database_identity(connection) != database_identity(for_migrations):
            raise messages.two_databases(
                settings.addresses, snapshot(for_migrations, settings.project.version_table).place
            )


def status_of(
    connection: Connection,
    settings: Settings,
    history: History,
    models: Models | None = None,
    *,
    closely: bool = True,
    glance: Snapshot | None = None,
) -> Status:
    """Return where the database of an open connection is, as `read` does; `glance` is one that was just taken. Read-only."""
    glance = glance or snapshot(connection, settings.project.version_table, closely=closely)
    newer = on_top(connection, glance, history)
    where = state(glance, history, newer)
    missing = [version for version in glance.versions if version not in history.by_id]
    flags = tuple(_flags(connection, glance, history, models)) if closely else ()
    unmet = _unmet(models, connection, where) if models and served(where, glance, settings, flags) else None
    where = "behind" if where == "settling" and unmet else where
    return Status(
        state=where,
        flags=flags,
        current=glance.versions,
        heads=history.heads,
        pending=tuple(_pending(history, glance.versions))
        if where in {"behind", "settling", "fallback", "unmanaged"}
        else (),
        unknown=newer or tuple(missing),
        database=settings.application.dsn.redacted(),
        server=server_version(connection),
        lock=glance.holder,
        last=glance.last,
        redundant=history.redundant(glance.versions) if where == "unknown" else (),
        unmet=unmet,
        waits=_waits(connection, settings, history, glance) if closely and where == "settling" else None,
        others=glance.tables if where in {"behind", "current"} and not glance.taken_back else (),
    )


def _waits(connection: Connection, settings: Settings, history: History, glance: Snapshot) -> str | None:
    """Return what the next piece of post-deploy work is waiting for, if it breaks the previous release. Read-only."""
    revision = history.pending(glance.versions)[0]
    if not revision.is_breaking(manifest.entries(history.project.manifest).get(revision.id)):
        return None
    hindrance = releases.in_use(connection, settings).hindrance(settings)
    return hindrance and f"{revision.id} breaks the previous release: {hindrance}"


def served(where: str, glance: Snapshot, settings: Settings, flags: Iterable[str] = ()) -> bool:
    """Tell whether a database in this state is served when it has all that the models need.

    So is one that is ahead; one at head whose schema was changed by hand, or a revision of which was edited after it was applied; and one
    where DEV_CREATE_TABLES made the tables, while that is still asked for and heeded.
    """
    created = glance.last_action == "create_all" and settings.dev_create_tables and not settings.production
    changed = where == "current" and not CHANGED.isdisjoint(flags)
    return where in {"ahead", "settling"} or changed or (created and where in {"fallback", "behind"})


def _unmet(models: Models, connection: Connection, where: str) -> tuple[str, ...] | None:
    """Return what the models miss; None where the database is at head and they cannot be loaded, which is no reason to end a look."""
    try:
        metadata = models()
    except Exception as error:  # somebody's code
        if where != "current":
            raise
        words = why_not_loaded(error)
        log.warning("the models cannot be loaded (%s), so nobody knows whether this schema has what they need", words)
        return None
    return tuple(requirements.unmet(metadata, connection))


def drifted(settings: Settings, models: Models) -> Drift:
    """Return how the schema differs from what the last run left, and models.py from the schema. Read-only.

    The second is asked only of a database at head, or of one without a version: elsewhere revisions are missing or too many.
    Raises Stop when the database cannot be reached at once.
    """
    history = loader.history(settings.project)
    connection = open_now(settings.application, "drift")
    try:
        with catalog.told_who(connection):
            glance = snapshot(connection, settings.project.version_table)
            comparable = state(glance, history, on_top(connection, glance, history)) in COMPARABLE
            owners = in_database(connection, history, glance.versions, models)
            outside, others = drift.sort_out(drift.outside(connection), owners)
            with comparing.told("python utils/migrate.py drift"):
                ahead = model_diff.models_ahead(settings.project, models(), connection) if comparable else None
            return Drift.of(outside, ahead, others)
    finally:
        connection.close()


def _pending(history: History, current: Iterable[str]) -> Iterable[Pending]:
    sealed = manifest.entries(history.project.manifest)
    for revision in history.pending(current):
        entry = sealed.get(revision.id)
        tokens = entry.tokens if entry else ()
        hurting = tuple(token for token in tokens if rules.accepted(revision, Finding.parse(token)) is None)
        yield Pending(
            revision.id,
            f"migrations/versions/{revision.file}",
            revision.message,
            revision.is_breaking(entry),
            hurting,
            phase=revision.phase,
        )


def _counted(place: Status, connection: Connection, history: History) -> Status:
    """Return the same status, with what is there of all that the pending revisions would take away. Read-only."""
    findings = {token: Finding.parse(token) for waiting in place.pending for token in waiting.hazards}
    losses = {token: finding.loss for token, finding in findings.items() if finding.loss}
    if not losses:
        return place
    revisions = [history.by_id[waiting.revision] for waiting in place.pending]
    amounts = gate.lost(list(losses.values()), revisions, lambda chosen: loss_counts.at_stake(connection, chosen))
    words = {token: amounts.get(loss, "nothing is there") for token, loss in losses.items()}
    counted = (
        waiting._replace(lost={token: words[token] for token in waiting.hazards if token in words})
        for waiting in place.pending
    )
    return place._replace(pending=tuple(counted))


def _flags(connection: Connection, glance: Snapshot, history: History, models: Models | None) -> Iterable[str]:
    if not glance.holder and _drifted(connection, glance, history, models):  # while somebody migrates it is on its way
        yield "drifted"
    if edited(glance, history):
        yield "edited"
    if is_unfinished(glance, history):
        yield "unfinished"
    sealed = manifest.read(history.project.manifest)
    if not set(history.by_id) <= {entry.revision for entry in (sealed.entries if sealed else ())}:
        yield "unsealed"


def _drifted(connection: Connection, glance: Snapshot, history: History, models: Models | None) -> bool:
    try:
        differences = drift.since(glance.kept, connection)
        return bool(
            differences and drift.sort_out(differences, in_database(connection, history, glance.versions, models))[0]
        )
    except psycopg2.errors.LockNotAvailable:
        log.warning(
            "somebody has a table for himself, so nobody looked for drift; who it is:  python utils/migrate.py drift"
        )
        return False


def is_unfinished(glance: Snapshot, history: History) -> bool:
    """Tell whether post-deploy work has failed, so that it waits for a release that mends it, or for the next start."""
    late = {revision.id for revision in history.pending(glance.versions) if revision.phase == POST_DEPLOY}
    return glance.last is not None and glance.last.outcome == "failed" and glance.last.revision in late


def edited(glance: Snapshot, history: History) -> list[str]:
    """Return the files of applied revisions that mean something else now than when they were applied."""
    applied = history.ancestors(glance.versions)
    current = checksums_of(history.project, (revision for revision in history.by_id.values() if revision.id in applied))
    return [
        history.by_id[revision].file
        for revision, checksum in glance.checksums.items()
        if revision in applied and checksum is not None and current.get(revision) != checksum
    ]
