"""Which tables are there, and what is known of each at one moment, from inside a transaction?

Two moments make a change: which rows were looked for in between, and which written.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from psycopg2.extensions import connection as Driver

from railhead.hazards.footprint import STRENGTH
from railhead.postgres.connection import fetch_all
from railhead.project import IS_OWN

_WRITES = STRENGTH.index("RowExclusiveLock")
_READS = STRENGTH.index("AccessShareLock")


class Table(NamedTuple):
    """A table at one moment."""

    name: str
    """Without its schema and without quotes; a revision may rename it."""
    file: int
    is_new: bool
    """Whether nobody has counted its rows since it was made or truncated."""
    added: int
    """Rows, in this transaction; and rows changed or removed."""
    changed: int
    scans: int
    """How often it, or an index of it, was searched."""


class Snapshot(NamedTuple):
    """One look at the database from inside a transaction."""

    locks: Mapping[int, frozenset[int]]
    """All locks that we hold on each table, by its oid."""
    tables: Mapping[int, Table]


NOTHING = Snapshot({}, {})


class KnownTables:
    """The tables and materialized views that were there before a revision, by their oids."""

    def __init__(self, onlooker: Driver) -> None:
        rows = fetch_all(onlooker, _TABLES)
        self.names = {int(str(oid)): str(name) for oid, name, _, _ in rows}
        self.views = {int(str(oid)) for oid, _, kind, _ in rows if kind == "m"}
        self._files = {int(str(oid)): int(str(file)) for oid, _, _, file in rows}

    def snapshot(self, driver: Driver) -> Snapshot:
        """Return what is known of them now. Read-only."""
        locks: dict[int, set[int]] = {}
        tables: dict[int, Table] = {}
        for kind, number, text, file, counted, *counts in fetch_all(driver, _LOOK, (list(self.names),)):
            oid = int(str(number))
            if kind == "table":
                tables[oid] = Table(str(text), int(str(file)), not counted, *(int(str(count)) for count in counts))
            elif oid in self.names and text in STRENGTH:
                locks.setdefault(oid, set()).add(STRENGTH.index(str(text)))
        return Snapshot({oid: frozenset(modes) for oid, modes in locks.items()}, tables)

    def called(self, oids: Iterable[int]) -> tuple[str, ...]:
        """Return the names of these tables, sorted; of a new one none."""
        return tuple(sorted({self.names[oid] for oid in oids if oid in self.names}))

    def bare(self, names: Iterable[str], now: Snapshot) -> tuple[str, ...]:
        """Return those of PostgreSQL's bare table names that were there before, as we call them.

        Where two schemas have a table of that name, it is the one that is locked.
        """
        full: list[str] = []
        for name in names:
            oids = [oid for oid, table in now.tables.items() if table.name == name]
            locked = [oid for oid in oids if oid in now.locks]
            full += [self.names[oid] for oid in locked or oids]
        return tuple(dict.fromkeys(full))

    def strongest(self, locks: Mapping[int, frozenset[int]]) -> dict[str, int]:
        """Return the strongest of the locks on each table."""
        strongest: dict[str, int] = {}
        for oid, modes in locks.items():
            if modes:
                strongest[self.names[oid]] = max(strongest.get(self.names[oid], 0), *modes)
        return strongest

    def moved(self, now: Snapshot) -> set[int]:
        """Return the tables that have new files."""
        return {oid for oid, table in now.tables.items() if table.file != self._files.get(oid)}

    def settle(self, now: Snapshot) -> None:
        """Take the files that there are now for those that are known."""
        self._files.update({oid: table.file for oid, table in now.tables.items()})


class Change(NamedTuple):
    """What one statement did, between two moments."""

    before: Snapshot
    after: Snapshot

    def taken(self) -> dict[int, frozenset[int]]:
        """Return the locks that it took on each table."""
        return {oid: modes - self.before.locks.get(oid, frozenset()) for oid, modes in self.after.locks.items()}

    def searched(self) -> set[int]:
        """Return the tables of which rows were looked for."""
        earlier = self.before.tables
        return {
            oid
            for oid, table in self.after.tables.items()
            if table.scans > (earlier[oid].scans if oid in earlier else 0)
        }

    def locked_for_writing(self) -> set[int]:
        """Return the tables whose rows may be written, which the lock tells even when there are none."""
        return {oid for oid, modes in self.after.locks.items() if _WRITES in modes and oid in self.after.tables}

    def written(self) -> set[int]:
        """Return the tables whose rows were changed; rows that are added one by one do not count."""
        return {oid for oid in self.locked_for_writing() if self._is_written(oid)}

    def _is_written(self, oid: int) -> bool:
        table, before = self.after.tables[oid], self.before.tables.get(oid)
        if table.changed > (before.changed if before else 0):
            return True
        added = table.added > (before.added if before else 0)
        return self.is_fresh(oid) and not (added and not self._reads())

    def is_fresh(self, oid: int) -> bool:
        """Tell whether the lock for writing was taken by this statement."""
        return _WRITES not in self.before.locks.get(oid, ())

    def _reads(self) -> bool:
        """Tell whether the statement read another table, so that it may have added as many rows as that one has."""
        return any(
            _READS in modes and _WRITES not in modes and _READS not in self.before.locks.get(oid, ())
            for oid, modes in self.after.locks.items()
        )


_TABLES = """
SELECT c.oid, coalesce(pg_partition_root(c.oid), c.oid)::regclass::text, c.relkind, coalesce(pg_relation_filenode(c.oid), 0)
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relkind IN ('r', 'p', 'm') AND n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema'
"""
_TABLES += f" AND NOT {IS_OWN}"

_LOOK = """
SELECT 'lock', l.relation, l.mode, 0, false, 0, 0, 0 FROM pg_locks l
 WHERE l.pid = pg_backend_pid() AND l.locktype = 'relation' AND l.granted
UNION ALL
SELECT 'table', c.oid, c.relname, coalesce(pg_relation_filenode(c.oid), 0), c.reltuples >= 0,
       pg_stat_get_xact_tuples_inserted(c.oid),
       pg_stat_get_xact_tuples_updated(c.oid) + pg_stat_get_xact_tuples_deleted(c.oid),
       pg_stat_get_xact_numscans(c.oid)
       + coalesce((SELECT sum(pg_stat_get_xact_numscans(indexrelid)) FROM pg_index WHERE indrelid = c.oid), 0)
  FROM pg_class c WHERE c.oid = ANY (%s::oid[])
"""
