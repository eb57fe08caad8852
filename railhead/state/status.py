"""Where are we, in one record?

The same `Status` is what the command line, `/readyz`, the console and `--json` show. Read-only, always.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from datetime import datetime
from typing import NamedTuple

import psycopg2
from psycopg2.extensions import connection as Connection
from sqlalchemy import MetaData

from railhead.diagnosis import messages as diagnosis
from railhead.errors import Forked, Stop, TwoDatabases
from railhead.hazards import rules as hazards
from railhead.hazards.rules import Finding
from railhead.history import manifest
from railhead.history import planner as revisions
from railhead.history.graph import History
from railhead.logs import log
from railhead.postgres import advisory_lock as lock
from railhead.postgres import connection as database
from railhead.postgres.advisory_lock import Holder
from railhead.postgres.connection import Allowance
from railhead.schema import catalog
from railhead.schema.catalog import Catalog
from railhead.settings import Address, Settings
from railhead.state import drift, ledger
from railhead.state.drift import Drift

Models = Callable[[], MetaData]
"""Gives the metadata of models.py, which is imported only when it is needed."""


COMPARABLE = frozenset({"current", "fallback", "unmanaged"})
"""States in which models.py and the database should say the same."""


class Look(NamedTuple):
    """What one glance at the database shows."""

    versions: tuple[str, ...]
    """What alembic_version holds, sorted; empty when there is no such table."""
    has_ledger: bool
    has_tables: bool
    """Whether there is any table on the search path but Alembic's, the ledger and what extensions brought."""
    holder: Holder | None
    last: ledger.Entry | None
    last_action: str | None
    """What the ledger says was done last with success."""
    taken_back: bool
    """Whether that was to take back a first revision: what is left belongs to nobody's history."""
    kept: str | None
    """The catalog that the last run has kept; None unless looked at closely."""
    checksums: Mapping[str, str | None]
    """Of each revision's file when it was applied; empty unless looked at closely."""

    @property
    def place(self) -> str:
        """Return where the database is, for a sentence."""
        return (
            f"at {', '.join(self.versions)}" if self.versions else "without a version" if self.has_tables else "empty"
        )


class Pending(NamedTuple):
    """A revision that the database lacks."""

    revision: str
    file: str
    message: str
    breaking: bool | None
    hazards: tuple[str, ...]

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
    last: ledger.Entry | None
    redundant: tuple[str, ...] = ()
    """Versions that another one builds on, which no tool leaves in alembic_version."""
    unmet: tuple[str, ...] | None = None
    """What models.py needs and this schema does not give; None when that does not decide (see `served`), or nobody asked."""

    @property
    def newer_release(self) -> str | None:
        """Return the release that made the newest revision that this code does not have, if it is the last thing done."""
        newest = self.last and self.last.revision in self.unknown[-1:]
        return self.last.release if self.last and newest else None

    @property
    def can_serve(self) -> bool:
        """Tell whether this code can serve requests on that schema."""
        return self.state == "current" or self.unmet == ()

    def record(self) -> dict[str, object]:
        """Return it for JSON."""
        found = self._asdict()
        del found["unmet"], found["redundant"]
        return {
            **found,
            "flags": list(self.flags),
            "current": list(self.current),
            "heads": list(self.heads),
            "pending": [one.record() for one in self.pending],
            "unknown": list(self.unknown),
            "lock": self.lock._asdict() if self.lock else None,
            "last": self.last.record() if self.last else None,
        }


def look(connection: Connection, *, closely: bool = False) -> Look:
    """Return what one glance shows, in two round trips. Read-only. Raises psycopg2.Error.

    That is LockNotAvailable when somebody has one of the two tables for himself and keeps it.
    `closely` fetches also what it takes to find drift and edited files.
    """
    found = database.rows(connection, _LOOK)[0]
    has_versions, has_ledger, has_tables = (bool(one) for one in found[:3])
    holder = Holder(int(str(found[3])), str(found[4]), float(str(found[5]))) if found[3] is not None else None
    columns = [_VERSIONS if has_versions else "NULL", *(_LEDGER if has_ledger else ["NULL"] * len(_LEDGER))]
    columns += _CLOSELY if has_ledger and closely else ["NULL"] * len(_CLOSELY)
    told = database.rows(connection, f"{database.IN_NO_QUEUE} SELECT {', '.join(columns)}")[0]
    versions, last, done, kept, checksums = told
    action, parent = done if isinstance(done, list) else (None, None)
    return Look(
        versions=tuple(versions) if isinstance(versions, list) else (),
        has_ledger=has_ledger,
        has_tables=has_tables,
        holder=holder,
        last=_entry(last) if isinstance(last, dict) else None,
        last_action=None if action is None else str(action),
        taken_back=action == "downgrade" and parent is None,
        kept=None if kept is None else str(kept),
        checksums=checksums if isinstance(checksums, dict) else {},
    )


def read(
    settings: Settings,
    history: History | None = None,
    models: Models | None = None,
    *,
    closely: bool = True,
    allowance: Allowance | None = None,
) -> Status:
    """Return where the database is. Read-only. Raises Stop when it cannot be reached at once, or within `allowance`.

    `models` is asked only where they decide. Without `closely`, drift and edited files are not looked for. Raises Stop, too,
    when migrations would go to another database; a server of theirs that does not answer from here says nothing.
    """
    history = history or revisions.history()
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
            return of(connection, settings, history, models, closely=closely)
    finally:
        connection.close()


def _reach(address: Address, allowance: Allowance | None) -> Connection:
    return database.reach(address, "status", allowance) if allowance else database.open_now(address, "status")


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
        other = database.open_now(settings.migrations, "status")
        stack.callback(other.close)
        if database.identity(connection) != database.identity(other):
            raise diagnosis.two_databases(settings.addresses, look(other).place)


def of(
    connection: Connection,
    settings: Settings,
    history: History,
    models: Models | None = None,
    *,
    closely: bool = True,
    seen: Look | None = None,
) -> Status:
    """Return where the database of an open connection is, as `read` does; `seen` is a look that was just taken. Read-only."""
    seen = seen or look(connection, closely=closely)
    newer = on_top(connection, seen, history)
    where = state(seen, history, newer)
    missing = [version for version in seen.versions if version not in history.by_id]
    return Status(
        state=where,
        flags=tuple(_flags(connection, seen, history)) if closely else (),
        current=seen.versions,
        heads=history.heads,
        pending=tuple(_pending(history, seen.versions)) if where in {"behind", "fallback", "unmanaged"} else (),
        unknown=newer or tuple(missing),
        database=settings.application.dsn.redacted(),
        server=database.server_version(connection),
        lock=seen.holder,
        last=seen.last,
        redundant=history.redundant(seen.versions) if where == "unknown" else (),
        unmet=tuple(drift.unmet(models(), connection)) if models and served(where, seen, settings) else None,
    )


def served(where: str, seen: Look, settings: Settings) -> bool:
    """Tell whether a database in this state is served when it has all that the models need.

    So is one that is ahead; and one where DEV_CREATE_TABLES made the tables, while that is still asked for and heeded.
    """
    made = seen.last_action == "create_all" and settings.dev_create_tables and not settings.production
    return where == "ahead" or (made and where in {"fallback", "behind"})


def drifted(settings: Settings, models: Models) -> Drift:
    """Return how the schema differs from what the last run left, and models.py from the schema. Read-only.

    The second is asked only of a database at head, or of one without a version: elsewhere revisions are missing or too many.
    Raises Stop when the database cannot be reached at once.
    """
    history = revisions.history()
    connection = database.open_now(settings.application, "drift")
    try:
        with catalog.told_who(connection):
            seen = look(connection)
            comparable = state(seen, history, on_top(connection, seen, history)) in COMPARABLE
            return Drift.of(drift.outside(connection), drift.models_ahead(models(), connection) if comparable else None)
    finally:
        connection.close()


def state(seen: Look, history: History, on_top: Iterable[str] = ()) -> str:
    """Return the one word for where a database is; `on_top` are the unknown revisions that build on our heads."""
    if history.problem:
        return "forked"
    if any(version not in history.by_id for version in seen.versions):
        return "ahead" if on_top else "unknown"
    if history.redundant(seen.versions):
        return "unknown"
    if not seen.versions and seen.has_tables and not seen.taken_back:
        return "fallback" if seen.last_action == "create_all" else "unmanaged"
    return "behind" if history.pending(seen.versions) else "current"


def on_top(connection: Connection, seen: Look, history: History) -> tuple[str, ...]:
    """Return the revisions that this code lacks, oldest first, if the ledger shows that they build on all of our heads.

    Empty when nothing is unknown, and when the ledger does not tell. Read-only.
    """
    if not seen.has_ledger or all(version in history.by_id for version in seen.versions):
        return ()
    parents = ledger.parents(connection)
    known: set[str] = set()
    unknown: dict[str, None] = {}
    todo = list(seen.versions)
    while todo:
        one = todo.pop()
        if one in history.by_id:
            known.add(one)
        elif one not in parents:
            return ()
        elif one not in unknown:
            unknown[one] = None
            todo.extend(parents[one])
    return tuple(reversed(unknown)) if set(history.heads) <= history.ancestors(known) else ()


def _pending(history: History, current: Iterable[str]) -> Iterable[Pending]:
    sealed = manifest.entries()
    for one in history.pending(current):
        entry = sealed.get(one.id)
        tokens = entry.tokens if entry else ()
        hurting = tuple(token for token in tokens if hazards.accepted(one, Finding.parse(token)) is None)
        yield Pending(one.id, f"migrations/versions/{one.file}", one.message, one.is_breaking(entry), hurting)


def _flags(connection: Connection, seen: Look, history: History) -> Iterable[str]:
    if seen.kept and not seen.holder and _drifted(connection, seen.kept):  # while somebody migrates it is on its way
        yield "drifted"
    if edited(seen, history):
        yield "edited"
    sealed = manifest.read()
    if not set(history.by_id) <= {entry.revision for entry in (sealed.entries if sealed else ())}:
        yield "unsealed"


def _drifted(connection: Connection, kept: str) -> bool:
    try:
        before = Catalog.from_text(kept)
    except ValueError:
        return False
    if before.format != catalog.FORMAT:
        return False
    try:
        return bool(catalog.difference(before, catalog.read(connection)))
    except psycopg2.errors.LockNotAvailable:
        log.warning(
            "somebody has a table for himself, so nobody looked for drift; who it is:  python utils/migrate.py drift"
        )
        return False


def edited(seen: Look, history: History) -> list[str]:
    """Return the files of applied revisions that mean something else now than when they were applied."""
    applied = history.ancestors(seen.versions)
    current = revisions.checksums({one.id: one.file for one in history.by_id.values() if one.id in applied})
    return [
        history.by_id[one].file
        for one, checksum in seen.checksums.items()
        if one in applied and checksum is not None and current.get(one) != checksum
    ]


def _entry(row: dict[str, object]) -> ledger.Entry:
    return ledger.Entry(**{**row, "started_at": datetime.fromisoformat(str(row["started_at"]))})  # type: ignore[arg-type]


_LOOK = f"""
SELECT to_regclass('alembic_version') IS NOT NULL, to_regclass('{ledger.TABLE}') IS NOT NULL, EXISTS (
    SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE c.relkind IN ('r', 'p') AND n.nspname = ANY (current_schemas(false))
       AND c.relname NOT IN ('alembic_version', '{ledger.TABLE}')
       AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')),
    h.* FROM (SELECT) one LEFT JOIN ({lock.HOLDER}) h ON true
"""
_VERSIONS = "(SELECT array_agg(coalesce(version_num::text, 'NULL') ORDER BY version_num) FROM alembic_version)"
_LEDGER = [
    f"(SELECT to_jsonb(l) FROM (SELECT {ledger.COLUMNS} FROM {ledger.TABLE} ORDER BY id DESC LIMIT 1) l)",
    f"(SELECT ARRAY[action, parent] FROM {ledger.TABLE} WHERE outcome = 'applied' ORDER BY id DESC LIMIT 1)",
]
_CLOSELY = [
    f"({ledger.LAST_CATALOG})",
    (
        "(SELECT jsonb_object_agg(l.revision, l.checksum) FROM (SELECT DISTINCT ON (revision) revision, checksum"
        f" FROM {ledger.TABLE} WHERE outcome = 'applied' AND action IN ('upgrade', 'adopt') ORDER BY revision, id DESC) l)"
    ),
]
