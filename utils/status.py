"""Where are we, in one record?

The same `Status` is what the command line, `/readyz`, the console and `--json` show. Read-only, always.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from psycopg2.extensions import connection as Connection

from utils import database, ledger, lock, manifest, revisions
from utils.lock import Holder
from utils.revisions import History
from utils.settings import Settings


class Look(NamedTuple):
    """What one glance at the database shows."""

    versions: tuple[str, ...]
    """What alembic_version holds, sorted; empty when there is no such table."""
    has_version_table: bool
    has_ledger: bool
    has_tables: bool
    """Whether there is any table on the search path but Alembic's, the ledger and what extensions brought."""
    last_action: str | None
    """What the ledger says was done last with success."""

    @property
    def place(self) -> str:
        """Return where the database is, for a sentence."""
        return f"at {', '.join(self.versions)}" if self.versions else "without a version" if self.has_tables else "empty"


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
    database: str
    server: str
    lock: Holder | None
    last: ledger.Entry | None

    @property
    def can_serve(self) -> bool:
        """Tell whether this code can serve requests on that schema."""
        return self.state == "current"

    def record(self) -> dict[str, object]:
        """Return it for JSON."""
        last = self.last
        return {
            **self._asdict(),
            "flags": list(self.flags),
            "current": list(self.current),
            "heads": list(self.heads),
            "pending": [one.record() for one in self.pending],
            "unknown": list(self.unknown),
            "lock": self.lock._asdict() if self.lock else None,
            "last": last.record() if last else None,
        }


def look(connection: Connection) -> Look:
    """Return what one glance shows. Read-only, and never a statement that could fail inside an open transaction."""
    found = database.rows(connection, _LOOK)[0]
    has_version_table, has_ledger, has_tables = (bool(one) for one in found)
    versions = database.rows(connection, "SELECT version_num FROM alembic_version") if has_version_table else []
    last = _last_action(connection) if has_ledger and not versions else None
    return Look(tuple(sorted(str(one[0]) for one in versions)), has_version_table, has_ledger, has_tables, last)


def read(settings: Settings, history: History | None = None) -> Status:
    """Return where the database is. Read-only. Raises Stop when it cannot be reached at once."""
    assert settings.database is not None
    history = history or revisions.history()
    connection = database.open_now(settings.database, lock.name("status", settings), settings.database_variable)
    try:
        return _read(connection, settings, history)
    finally:
        connection.close()


def state(seen: Look, history: History) -> str:
    """Return the one word for where a database is."""
    if history.problem:
        return "forked"
    if any(version not in history.by_id for version in seen.versions):
        return "unknown"
    if not seen.versions and seen.has_tables and seen.last_action != "downgrade":
        return "fallback" if seen.last_action == "create_all" else "unmanaged"
    return "behind" if history.pending(seen.versions) else "current"


def _read(connection: Connection, settings: Settings, history: History) -> Status:
    assert settings.database is not None
    seen = look(connection)
    last = ledger.entries(connection, 1) if seen.has_ledger else []
    unknown = tuple(version for version in seen.versions if version not in history.by_id)
    return Status(
        state=state(seen, history),
        flags=_flags(history),
        current=seen.versions,
        heads=history.heads,
        pending=tuple(_pending(history, seen.versions)) if not unknown else (),
        unknown=unknown,
        database=settings.database.redacted(),
        server=database.server_version(connection),
        lock=lock.holder(connection),
        last=last[0] if last else None,
    )


def _pending(history: History, current: Iterable[str]) -> Iterable[Pending]:
    sealed = manifest.read()
    for one in history.pending(current):
        entry = sealed.entry(one.id) if sealed else None
        breaking = one.breaking if one.breaking is not None else entry.breaking if entry else None
        hazards = tuple(entry.hazards.split(",")) if entry and entry.hazards != "-" else ()
        yield Pending(one.id, f"migrations/versions/{one.file}", one.message, breaking, hazards)


def _flags(history: History) -> tuple[str, ...]:
    sealed = manifest.read()
    known = {entry.revision for entry in sealed.entries} if sealed else set()
    return () if set(history.by_id) <= known else ("unsealed",)


def _last_action(connection: Connection) -> str | None:
    action = database.scalar(
        connection, f"SELECT action FROM {ledger.TABLE} WHERE outcome = 'applied' ORDER BY id DESC LIMIT 1"
    )
    return None if action is None else str(action)


_LOOK = f"""
SELECT to_regclass('alembic_version') IS NOT NULL, to_regclass('{ledger.TABLE}') IS NOT NULL, EXISTS (
    SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE c.relkind IN ('r', 'p') AND n.nspname = ANY (current_schemas(false))
       AND c.relname NOT IN ('alembic_version', '{ledger.TABLE}')
       AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e'))
"""
