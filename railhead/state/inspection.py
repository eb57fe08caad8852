"""Where is this database, at a glance? One query; psycopg2 only."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import NamedTuple

from psycopg2.extensions import connection as Connection

from railhead.history.graph import History
from railhead.postgres import advisory_lock
from railhead.postgres.advisory_lock import Holder
from railhead.postgres.connection import IN_NO_QUEUE, fetch_all
from railhead.project import IS_OWN, VersionTable
from railhead.state import ledger, owners

COMPARABLE = frozenset({"current", "fallback", "unmanaged"})
"""States in which models.py and the database should say the same."""


class Snapshot(NamedTuple):
    """What one glance at the database shows."""

    versions: tuple[str, ...]
    """What alembic_version holds, sorted; empty when there is no such table."""
    has_ledger: bool
    has_tables: bool
    """Whether there is any table on the search path but Alembic's, the ledger and what extensions brought."""
    holder: Holder | None
    last: ledger.LedgerRow | None
    last_action: str | None
    """What the ledger says was done last with success."""
    taken_back: bool
    """Whether that was to take back a first revision: what is left belongs to nobody's history."""
    kept: str | None
    """The catalog that the last run has kept; None unless looked at closely."""
    checksums: Mapping[str, str | None]
    """Of each revision's file when it was applied; empty unless looked at closely."""
    tables: tuple[str, ...] = ()
    """The names of the tables there are, if there is no version; somebody else's where the state is not `unmanaged`."""

    @property
    def place(self) -> str:
        """Return where the database is, for a sentence."""
        return (
            f"at {', '.join(self.versions)}" if self.versions else "without a version" if self.has_tables else "empty"
        )


def snapshot(connection: Connection, table: VersionTable, *, closely: bool = False) -> Snapshot:
    """Return what one glance shows, in two round trips. Read-only. Raises psycopg2.Error.

    That is LockNotAvailable when somebody has one of the two tables for himself and keeps it.
    `closely` fetches also what it takes to find drift and edited files.
    """
    facts = fetch_all(connection, _LOOK.format(version_table=table.regclass))[0]
    has_versions, has_ledger, has_tables = (bool(fact) for fact in facts[:3])
    holder = Holder(int(str(facts[3])), str(facts[4]), float(str(facts[5]))) if facts[3] is not None else None
    columns = [
        _VERSIONS.format(table.sql) if has_versions else "NULL",
        *(_LEDGER if has_ledger else ["NULL"] * len(_LEDGER)),
    ]
    columns += _CLOSELY if has_ledger and closely else ["NULL"] * len(_CLOSELY)
    columns.append((_TABLES_UNLESS_VERSIONS.format(table.sql) if has_versions else _TABLES) if has_tables else "NULL")
    answer = fetch_all(connection, f"{IN_NO_QUEUE} SELECT {', '.join(columns)}")[0]
    versions, last, done, kept, checksums, tables = answer
    action, parent = done if isinstance(done, list) else (None, None)
    return Snapshot(
        versions=tuple(versions) if isinstance(versions, list) else (),
        has_ledger=has_ledger,
        has_tables=has_tables,
        holder=holder,
        last=_entry(last) if isinstance(last, dict) else None,
        last_action=None if action is None else str(action),
        taken_back=action == "downgrade" and parent is None,
        kept=None if kept is None else str(kept),
        checksums=checksums if isinstance(checksums, dict) else {},
        tables=tuple(tables) if isinstance(tables, list) else (),
    )


def state(glance: Snapshot, history: History, on_top: Iterable[str] = ()) -> str:
    """Return the one word for where a database is; `on_top` are the unknown revisions that build on our heads.

    It is `settling` where only post-deploy work is left; whether it has all that the models need is for who can ask them.

    A database with the tables of others only, which neither a revision nor a model knows, lacks our revisions: nothing else.
    """
    if history.problem:
        return "forked"
    if any(version not in history.by_id for version in glance.versions):
        return "ahead" if on_top else "unknown"
    if history.redundant(glance.versions):
        return "unknown"
    if not glance.versions and glance.has_tables and not glance.taken_back:
        if glance.last_action == "create_all":
            return "fallback"
        if owners.ours(glance.tables, history):
            return "unmanaged"
    pending = [revision.id for revision in history.pending(glance.versions)]
    if glance.versions and pending and not history.before_serving(pending):
        return "settling"
    return "behind" if pending else "current"


def on_top(connection: Connection, glance: Snapshot, history: History) -> tuple[str, ...]:
    """Return the revisions that this code lacks, oldest first, if the ledger shows that they build on all of our heads.

    Empty when nothing is unknown, and when the ledger does not tell. Read-only.
    """
    if not glance.has_ledger or all(version in history.by_id for version in glance.versions):
        return ()
    parents = ledger.parents(connection)
    ours: set[str] = set()
    unknown: dict[str, None] = {}
    todo = list(glance.versions)
    while todo:
        revision = todo.pop()
        if revision in history.by_id:
            ours.add(revision)
        elif revision not in parents:
            return ()
        elif revision not in unknown:
            unknown[revision] = None
            todo.extend(parents[revision])
    return tuple(reversed(unknown)) if set(history.heads) <= history.ancestors(ours) else ()


def _entry(row: dict[str, object]) -> ledger.LedgerRow:
    told = ledger.LedgerRow(**{**row, "started_at": datetime.fromisoformat(str(row["started_at"]))})  # type: ignore[arg-type]
    return ledger.readable(told)


_OF_SOMEBODY = f"""
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE c.relkind IN ('r', 'p') AND n.nspname = ANY (current_schemas(false)) AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
       AND NOT {IS_OWN}
       AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
"""
_LOOK = f"""
SELECT {{version_table}} IS NOT NULL, to_regclass('{ledger.TABLE}') IS NOT NULL, EXISTS (SELECT {_OF_SOMEBODY}),
    h.* FROM (SELECT) one LEFT JOIN ({advisory_lock.HOLDER}) h ON true
"""
_VERSIONS = "(SELECT array_agg(coalesce(version_num::text, 'NULL') ORDER BY version_num) FROM {})"
_TABLES = f"(SELECT array_agg(c.relname::text ORDER BY c.relname) {_OF_SOMEBODY})"
_TABLES_UNLESS_VERSIONS = f"CASE WHEN NOT EXISTS (SELECT FROM {{}}) THEN {_TABLES} END"
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
