"""What did a statement do to the tables that were there before?

The server says it itself: at `client_min_messages = debug1` a statement tells which tables it rewrites, scans and indexes, on an
empty table as on a full one, and pg_locks tells what it holds. No SQL is parsed.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import psycopg2
from psycopg2 import errorcodes
from psycopg2.extensions import TRANSACTION_STATUS_IDLE
from psycopg2.extensions import connection as Driver

from railhead.hazards import row_effects
from railhead.hazards.footprint import BLOCKS_WRITES, EXCLUSIVE, STRENGTH, Statement
from railhead.hazards.query_plan import Explained, explain
from railhead.hazards.snapshots import NOTHING, Change, KnownTables, Snapshot
from railhead.operations import autocommit
from railhead.postgres.connection import fetch_all
from railhead.postgres.observed import Observed
from railhead.postgres.sql_text import End

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


class Tracer:
    """Sees what each statement of a step does."""

    def __init__(self, onlooker: Driver, crash_after: int = 0) -> None:
        self.statements: list[Statement] = []
        self._added: list[tuple[int, str]] = []
        """Statements that write rows, not by a verb, and how many had run with each."""
        self.points: list[Point] = []
        self._known = KnownTables(onlooker)
        self.tables = self._known.called(self._known.names)
        self._crash_after = crash_after
        self._last = NOTHING
        self._probed: Snapshot | None = None
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
        if not self._alone and self._last is NOTHING:  # the server's counters run on from one transaction to the next
            self._last = Snapshot({}, self._known.snapshot(driver).tables)
        if not self._alone or statement == "BEGIN":
            return
        with driver.cursor() as cursor:
            cursor.execute("BEGIN")
            before = self._known.snapshot(driver)
            try:
                cursor.executemany(statement, values) if many else cursor.execute(statement, values)  # type: ignore[arg-type]
                self._last, self._probed = before, self._known.snapshot(driver)
            except psycopg2.Error as error:
                if error.pgcode == errorcodes.ACTIVE_SQL_TRANSACTION:
                    self._last = self._probed = NOTHING
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
        notice = notices(driver).taken()
        now = self._known.snapshot(driver)
        seen = self._probed or now
        change = Change(self._last, seen)
        held, taken = self._known.strongest(seen.locks), self._known.strongest(change.taken())
        built = [] if tag in _WITH_ITS_INDEXES else _BUILDS.findall(notice)
        unfinished = self._alone and self._probed is NOTHING
        written = self._written(driver, change, tag)
        searched = Change(self._last, now).searched()
        plan = self._plan(driver, statement, tag, searched, held)
        emptied = self._truncated(notice, statement, tag, seen, now) | row_effects.deleted(
            driver, statement, tag, plan, self._writing(change, now, searched)
        )
        asked = row_effects.asked(
            driver, statement, tag, {oid for oid in searched if self._known.names[oid] not in written}
        )
        self.statements.append(
            Statement(
                sql=statement.strip(),
                held=held,
                taken=taken,
                rewritten=self._rewritten(notice, now),
                scanned=(*self._scanned(notice, now, seen, statement), *self._read(tag, held, searched, plan)),
                indexed=tuple((index, full) for index, table in built for full in self._known.bare([table], now)),
                foreign_keys=tuple(self._foreign_keys(driver, Counter(_VALIDATES.findall(notice)))),
                written=written,
                emptied=self._known.called(emptied),
                asked=self._known.called(asked),
                outside=outside,
                alone=self._alone,
            )
        )
        if tag in _ADDS_ROWS and not (autocommit.is_working() or _ADDS_ONCE.search(statement)):
            self._added.append((len(self.statements), statement))
        if driver.info.transaction_status == TRANSACTION_STATUS_IDLE:
            self._last = NOTHING
        else:
            self._last = self._known.snapshot(driver) if plan else now  # to plan is to search, too
        self._known.settle(now)
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

    def _rewritten(self, notice: str, now: Snapshot) -> tuple[str, ...]:
        """Return the tables that have new files. A TRUNCATE makes new ones too, but copies nothing."""
        copied = {
            self._known.names[oid]
            for oid in self._known.moved(now)
            if oid in self._known.views or not now.tables[oid].is_new
        }
        return tuple(sorted({*copied, *self._known.bare(_REWRITES.findall(notice), now)}))

    def _scanned(self, notice: str, now: Snapshot, seen: Snapshot, statement: str) -> tuple[str, ...]:
        """Return the tables that were read for a rule. Of a domain's new rule the server says nothing: its lock tells."""
        silent = {
            self._known.names[oid]
            for oid, modes in seen.locks.items()
            if _DOMAIN.search(statement) and _SHARES in modes - self._last.locks.get(oid, frozenset())
        }
        return tuple(dict.fromkeys([*self._known.bare(_VERIFIES.findall(notice), now), *sorted(silent)]))

    def _written(self, driver: Driver, change: Change, tag: str) -> tuple[str, ...]:
        """Return the tables whose rows were changed, which the lock tells even when there are none."""
        written = change.written()
        if (
            not written and tag in row_effects.CHANGES_ROWS
        ):  # the lock was there already: an INSERT before it has taken it
            written = change.locked_for_writing() & change.searched()
        if tag == "DELETE" and written:
            written |= {int(str(oid)) for (oid,) in fetch_all(driver, _CASCADES, (list(written),))}
        return self._known.called(written)

    def _writing(self, change: Change, now: Snapshot, searched: set[int]) -> dict[int, str]:
        """Return the tables, with their bare names, that this statement may have written: locked for it just now, or searched."""
        locked = {oid for oid in change.locked_for_writing() if oid in now.tables}
        return {oid: now.tables[oid].name for oid in locked if oid in searched or change.is_fresh(oid)}

    def _truncated(self, notice: str, statement: str, tag: str, seen: Snapshot, now: Snapshot) -> frozenset[int]:
        """Return the tables that were emptied whole. In a file that is new in this transaction that is done without another one."""
        if tag in _COPIES:
            return frozenset()
        copied = self._known.bare(_REWRITES.findall(notice), now)
        fresh = {oid for oid in self._known.moved(now) - self._known.views if now.tables[oid].is_new}
        if tag == "TRUNCATE":
            words = set(re.findall(r'"(?:[^"]|"")*"|\w+', statement.lower()))
            locked = {oid for oid, modes in seen.locks.items() if EXCLUSIVE in modes and oid in now.tables}
            fresh |= {
                oid for oid in locked if {now.tables[oid].name.lower(), f'"{now.tables[oid].name.lower()}"'} & words
            }
        return frozenset(oid for oid in fresh if self._known.names[oid] not in copied)

    def _plan(
        self, driver: Driver, statement: str, tag: str, searched: set[int], held: Mapping[str, int]
    ) -> Explained | None:
        """Return the plan of a statement where it decides something."""
        decides = tag in _READS_ROWS and searched and max(held.values(), default=0) >= BLOCKS_WRITES
        if not (decides or row_effects.mentions_delete(statement)):
            return None
        plan = explain(driver, statement, self._values)
        notices(driver).taken()
        return plan

    def _read(self, tag: str, held: Mapping[str, int], searched: set[int], plan: Explained | None) -> tuple[str, ...]:
        """Return the tables that were read whole while somebody could not write."""
        if tag not in _READS_ROWS or max(held.values(), default=0) < BLOCKS_WRITES:
            return ()
        return self._known.called(searched if plan is None else plan.read & searched)

    def _foreign_keys(self, driver: Driver, names: Mapping[str, int]) -> Iterator[tuple[str, str]]:
        """Yield each validated foreign key with its table. Of several with one name it is the ones last written."""
        for name, count in names.items():
            for (table,) in fetch_all(driver, _YOUNGEST_KEYS, (name, count)):
                if int(str(table)) in self._known.names:
                    yield name, self._known.names[int(str(table))]


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
