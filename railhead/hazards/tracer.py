"""What did a statement do to the tables that were there before?

The server says it itself: at `client_min_messages = debug1` a statement tells which tables it rewrites, scans and indexes, on an
empty table as on a full one, and pg_locks tells what it holds. No SQL is parsed.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

import psycopg2
from psycopg2 import errorcodes
from psycopg2.extensions import TRANSACTION_STATUS_IDLE
from psycopg2.extensions import connection as Driver

from railhead.hazards import rows
from railhead.hazards.explained import Explained, explain
from railhead.hazards.footprint import BLOCKS_WRITES, EXCLUSIVE, STRENGTH, Statement
from railhead.operations import autocommit
from railhead.postgres.connection import fetch_all
from railhead.postgres.observed import Observed
from railhead.postgres.sql_text import End
from railhead.project import IS_OWN

_WRITES = STRENGTH.index("RowExclusiveLock")
_READS = STRENGTH.index("AccessShareLock")
_SHARES = STRENGTH.index("ShareLock")


class Notices:
    """Takes the place of psycopg2's list of notices, which keeps the last fifty only."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def append(self, line: str) -> None:
        """Keep what the server said."""
        self.lines.append(line)

    def taken(self) -> str:
        """Return what was said since the last time."""
        said, self.lines = "".join(self.lines), []
        return said


class Crash(Exception):
    """Raised in the place of a crash, to see whether a revision can run again from the top."""


class Point(NamedTuple):
    """A moment at which a crash leaves something behind."""

    number: int
    """How many statements have run."""
    statement: str
    unfinished: str | None = None
    """The index that is built at this moment, and that the crash leaves INVALID."""

    def __str__(self) -> str:
        when = "while this was building an index" if self.unfinished else "behind"
        return f"{when} {' '.join(self.statement.split())[:60]!r}"


class _Seen(NamedTuple):
    """One look at the database from inside a transaction."""

    locks: Mapping[int, frozenset[int]]
    """All locks that we hold on each table, by its oid."""
    tables: Mapping[int, _Table]


class _Table(NamedTuple):
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


_NOTHING = _Seen({}, {})


class Tracer:
    """Sees what each statement of a step does."""

    def __init__(self, onlooker: Driver, crash_after: int = 0) -> None:
        self.statements: list[Statement] = []
        self._added: list[tuple[int, str]] = []
        """Statements that write rows, not by a verb, and how many had run with each."""
        self.points: list[Point] = []
        found = fetch_all(onlooker, _TABLES)
        self._names = {int(str(oid)): str(name) for oid, name, _, _ in found}
        self._views = {int(str(oid)) for oid, _, kind, _ in found if kind == "m"}
        self.tables = tuple(sorted(set(self._names.values())))
        self._files = {int(str(oid)): int(str(file)) for oid, _, _, file in found}
        self._crash_after = crash_after
        self._last = _NOTHING
        self._probed: _Seen | None = None
        self._alone = False
        self._values: object = None
        """What the statement that runs is given; of many rows, the first."""

    def probe(self, driver: Observed, statement: str, values: object, *, many: bool) -> None:
        """Try a statement that is a transaction of its own in one that is rolled back: its locks are gone once it has ended.

        What refuses to run inside a transaction works in several of its own and gives way by itself (CONCURRENTLY).
        """
        is_open = driver.info.transaction_status != TRANSACTION_STATUS_IDLE
        self._alone = (driver.autocommit or driver.is_loose) and not is_open
        self._probed = None
        self._values = next(iter(values), None) if many and isinstance(values, list | tuple) else values
        if not self._alone and self._last is _NOTHING:  # the server's counters run on from one transaction to the next
            self._last = _Seen({}, self._seen(driver).tables)
        if not self._alone or statement == "BEGIN":
            return
        with driver.cursor() as cursor:
            cursor.execute("BEGIN")
            before = self._seen(driver)
            try:
                cursor.executemany(statement, values) if many else cursor.execute(statement, values)  # type: ignore[arg-type]
                self._last, self._probed = before, self._seen(driver)
            except psycopg2.Error as error:
                if error.pgcode == errorcodes.ACTIVE_SQL_TRANSACTION:
                    self._last = self._probed = _NOTHING
            finally:
                cursor.execute("ROLLBACK")
        notices(driver).taken()

    def look_at_end(self, driver: Observed, how: End) -> None:
        """Note that a transaction was ended by hand."""
        self._alone, self._probed, self._values = False, None, None
        self.look(driver, how, how)

    def look(self, driver: Observed, statement: str, tag: str) -> None:
        """Note what the statement that has just ended did."""
        outside = driver.autocommit or driver.is_loose or tag == "COMMIT"
        said = notices(driver).taken()
        now = self._seen(driver)
        seen = self._probed or now
        held = self._strongest(seen.locks)
        taken = self._strongest(
            {oid: modes - self._last.locks.get(oid, frozenset()) for oid, modes in seen.locks.items()}
        )
        built = [] if tag in _WITH_ITS_INDEXES else _BUILDS.findall(said)
        unfinished = self._alone and self._probed is _NOTHING
        written = self._written(driver, seen, tag)
        searched = self._searched(now)
        plan = self._plan(driver, statement, tag, searched, held)
        emptied = self._truncated(said, statement, tag, seen, now) | rows.deleted(
            driver, statement, tag, plan, self._writing(seen, now, searched)
        )
        asked = rows.asked(driver, statement, tag, {oid for oid in searched if self._names[oid] not in written})
        self.statements.append(
            Statement(
                sql=statement.strip(),
                held=held,
                taken=taken,
                rewritten=self._rewritten(said, now),
                scanned=(*self._scanned(said, now, seen, statement), *self._read(tag, held, searched, plan)),
                indexed=tuple((index, full) for index, table in built for full in self._known([table], now)),
                foreign_keys=tuple(self._foreign_keys(driver, Counter(_VALIDATES.findall(said)))),
                written=written,
                emptied=self._called(emptied),
                asked=self._called(asked),
                outside=outside,
                alone=self._alone,
            )
        )
        if tag in _ADDS_ROWS and not (autocommit.is_working() or _ADDS_ONCE.search(statement)):
            self._added.append((len(self.statements), statement))
        if driver.info.transaction_status == TRANSACTION_STATUS_IDLE:
            self._last = _NOTHING
        else:
            self._last = self._seen(driver) if plan else now  # to plan is to search, too
        self._files.update({oid: table.file for oid, table in now.tables.items()})
        if outside:
            self._note_point(driver, statement, tag, [index for index, _ in built] if unfinished else [])
        if self._crash_after and len(self.statements) >= self._crash_after:
            raise Crash

    @property
    def doubled(self) -> str | None:
        """Return the first statement whose rows would be written twice by a revision that is run again after a crash behind it."""
        last = max((point.number for point in self.points), default=0)
        return next((statement for number, statement in self._added if number <= last), None)

    def _note_point(self, driver: Driver, statement: str, tag: str, unfinished: list[str]) -> None:
        """Note where a crash leaves something behind: where something was committed, and where the transaction was left."""
        number = len(self.statements)
        first = number == 1 or not self.statements[-2].outside
        committed = driver.info.transaction_status == TRANSACTION_STATUS_IDLE and tag not in _CHANGES_NOTHING
        if first or committed:
            self.points.append(Point(number, statement))
        self.points += [Point(number, statement, index) for index in unfinished]

    def _seen(self, driver: Driver) -> _Seen:
        locks: dict[int, set[int]] = {}
        tables: dict[int, _Table] = {}
        for kind, number, text, file, counted, *counts in fetch_all(driver, _LOOK, (list(self._names),)):
            oid = int(str(number))
            if kind == "table":
                tables[oid] = _Table(str(text), int(str(file)), not counted, *(int(str(count)) for count in counts))
            elif oid in self._names and text in STRENGTH:
                locks.setdefault(oid, set()).add(STRENGTH.index(str(text)))
        return _Seen({oid: frozenset(modes) for oid, modes in locks.items()}, tables)

    def _strongest(self, locks: Mapping[int, frozenset[int]]) -> dict[str, int]:
        strongest: dict[str, int] = {}
        for oid, modes in locks.items():
            if modes:
                strongest[self._names[oid]] = max(strongest.get(self._names[oid], 0), *modes)
        return strongest

    def _rewritten(self, said: str, now: _Seen) -> tuple[str, ...]:
        """Return the tables that have new files. A TRUNCATE makes new ones too, but copies nothing."""
        copied = {self._names[oid] for oid in self._moved(now) if oid in self._views or not now.tables[oid].is_new}
        return tuple(sorted({*copied, *self._known(_REWRITES.findall(said), now)}))

    def _scanned(self, said: str, now: _Seen, seen: _Seen, statement: str) -> tuple[str, ...]:
        """Return the tables that were read for a rule. Of a domain's new rule the server says nothing: its lock tells."""
        silent = {
            self._names[oid]
            for oid, modes in seen.locks.items()
            if _DOMAIN.search(statement) and _SHARES in modes - self._last.locks.get(oid, frozenset())
        }
        return tuple(dict.fromkeys([*self._known(_VERIFIES.findall(said), now), *sorted(silent)]))

    def _written(self, driver: Driver, seen: _Seen, tag: str) -> tuple[str, ...]:
        """Return the tables whose rows were changed, which the lock tells even when there are none."""
        written = {oid for oid in seen.locks if self._is_written(oid, seen)}
        if not written and tag in rows.CHANGES_ROWS:  # the lock was there already: an INSERT before it has taken it
            written = {oid for oid in seen.locks if self._is_searched(oid, seen)}
        if tag == "DELETE" and written:
            written |= {int(str(oid)) for (oid,) in fetch_all(driver, _CASCADES, (list(written),))}
        return tuple(sorted({self._names[oid] for oid in written if oid in self._names}))

    def _moved(self, now: _Seen) -> set[int]:
        """Return the tables that have new files."""
        return {oid for oid, table in now.tables.items() if table.file != self._files.get(oid)}

    def _truncated(self, said: str, statement: str, tag: str, seen: _Seen, now: _Seen) -> frozenset[int]:
        """Return the tables that were emptied whole. In a file that is new in this transaction that is done without another one."""
        if tag in _COPIES:
            return frozenset()
        copied = self._known(_REWRITES.findall(said), now)
        fresh = {oid for oid in self._moved(now) - self._views if now.tables[oid].is_new}
        if tag == "TRUNCATE":
            words = set(re.findall(r'"(?:[^"]|"")*"|\w+', statement.lower()))
            locked = {oid for oid, modes in seen.locks.items() if EXCLUSIVE in modes and oid in now.tables}
            fresh |= {
                oid for oid in locked if {now.tables[oid].name.lower(), f'"{now.tables[oid].name.lower()}"'} & words
            }
        return frozenset(oid for oid in fresh if self._names[oid] not in copied)

    def _searched(self, now: _Seen) -> set[int]:
        """Return the tables of which rows were looked for."""
        last = self._last.tables
        return {oid for oid, table in now.tables.items() if table.scans > (last[oid].scans if oid in last else 0)}

    def _writing(self, seen: _Seen, now: _Seen, searched: set[int]) -> dict[int, str]:
        """Return the tables, with their bare names, that this statement may have written: locked for it just now, or searched."""
        locked = {oid for oid, modes in seen.locks.items() if _WRITES in modes and oid in now.tables}
        return {
            oid: now.tables[oid].name
            for oid in locked
            if oid in searched or _WRITES not in self._last.locks.get(oid, frozenset())
        }

    def _plan(
        self, driver: Driver, statement: str, tag: str, searched: set[int], held: Mapping[str, int]
    ) -> Explained | None:
        """Return the plan of a statement where it decides something."""
        decides = tag in _READS_ROWS and searched and max(held.values(), default=0) >= BLOCKS_WRITES
        if not (decides or rows.mentions_delete(statement)):
            return None
        plan = explain(driver, statement, self._values)
        notices(driver).taken()
        return plan

    def _read(self, tag: str, held: Mapping[str, int], searched: set[int], plan: Explained | None) -> tuple[str, ...]:
        """Return the tables that were read whole while somebody could not write."""
        if tag not in _READS_ROWS or max(held.values(), default=0) < BLOCKS_WRITES:
            return ()
        return self._called(searched if plan is None else plan.read & searched)

    def _called(self, tables: Iterable[int]) -> tuple[str, ...]:
        return tuple(sorted({self._names[oid] for oid in tables if oid in self._names}))

    def _is_searched(self, oid: int, seen: _Seen) -> bool:
        table, before = seen.tables.get(oid), self._last.tables.get(oid)
        return _WRITES in seen.locks[oid] and table is not None and table.scans > (before.scans if before else 0)

    def _is_written(self, oid: int, seen: _Seen) -> bool:
        table, before = seen.tables.get(oid), self._last.tables.get(oid)
        if table is None or _WRITES not in seen.locks[oid]:  # None: it was dropped
            return False
        if table.changed > (before.changed if before else 0):
            return True
        added = table.added > (before.added if before else 0)
        fresh = _WRITES not in self._last.locks.get(oid, ())
        return fresh and not (added and not self._reads(seen))

    def _reads(self, seen: _Seen) -> bool:
        """Tell whether the statement read another table, so that it may have added as many rows as that one has."""
        return any(
            _READS in modes and _WRITES not in modes and _READS not in self._last.locks.get(oid, ())
            for oid, modes in seen.locks.items()
        )

    def _known(self, names: Iterable[str], now: _Seen) -> tuple[str, ...]:
        """Return those of PostgreSQL's bare table names that were there before, as we call them.

        Where two schemas have a table of that name, it is the one that is locked.
        """
        found: list[str] = []
        for name in names:
            oids = [oid for oid, table in now.tables.items() if table.name == name]
            locked = [oid for oid in oids if oid in now.locks]
            found += [self._names[oid] for oid in locked or oids]
        return tuple(dict.fromkeys(found))

    def _foreign_keys(self, driver: Driver, names: Mapping[str, int]) -> Iterator[tuple[str, str]]:
        """Yield each validated foreign key with its table. Of several with one name it is the ones last written."""
        for name, count in names.items():
            for (table,) in fetch_all(driver, _YOUNGEST_KEYS, (name, count)):
                if int(str(table)) in self._names:
                    yield name, self._names[int(str(table))]


def notices(driver: Driver) -> Notices:
    """Return what the server has said to this session, which must have been given Notices of its own."""
    notices = driver.notices
    assert isinstance(notices, Notices)
    return notices


_REWRITES = re.compile(r'rewriting table "(.+)"')
_VERIFIES = re.compile(r'verifying table "(.+)"')
_BUILDS = re.compile(r'building index "(.+)" on table "(.+)" (?:serially|with)')
_VALIDATES = re.compile(r'validating foreign key constraint "(.+)"')
_WITH_ITS_INDEXES = {"CLUSTER", "TRUNCATE", "VACUUM"}
"""What gives a table a new file makes its indexes with it: all of it is done, or nothing."""
_ADDS_ROWS = {"INSERT", "UPDATE", "MERGE", "COPY"}
_ADDS_ONCE = re.compile(r"\bON\s+CONFLICT\b|\bNOT\s+EXISTS\b|\bIS\s+NULL\b", re.IGNORECASE)
"""Found in a statement that sees what it has done before. Of any other nobody knows, on tables without rows."""
_COPIES = {"ALTER", "CLUSTER", "REFRESH", "VACUUM"}
"""What gives a table a new file and keeps its rows."""
_READS_ROWS = {"INSERT", "SELECT"}
_DOMAIN = re.compile(r"\bALTER\s+DOMAIN\b", re.IGNORECASE)
_CHANGES_NOTHING = {"BEGIN", "SET", "RESET", "SHOW", "SELECT"}

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

_YOUNGEST_KEYS = """
SELECT conrelid FROM pg_constraint WHERE conname = %s AND contype = 'f' ORDER BY age(xmin), oid DESC LIMIT %s
"""

_CASCADES = """
WITH RECURSIVE reached (oid) AS (
    SELECT unnest(%s::oid[])
    UNION SELECT k.conrelid FROM pg_constraint k JOIN reached r ON k.confrelid = r.oid
           WHERE k.contype = 'f' AND k.confdeltype IN ('c', 'n', 'd')
) SELECT oid FROM reached
"""
"""Where rows go, or lose what they refer to, when rows of these tables are deleted."""
