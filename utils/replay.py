"""What does a revision really do to PostgreSQL? Run once on a scratch database, with open eyes.

The server says it itself: at `client_min_messages = debug1` a statement tells which tables it rewrites, scans and indexes, on an
empty table as on a full one, and pg_locks tells what it holds. No SQL is parsed, and no database that is in use is touched.
"""

from __future__ import annotations

import logging
import re
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import NamedTuple, Self

import alembic.context
import psycopg2
import sqlalchemy
from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationContext, RevisionStep
from alembic.script import ScriptDirectory
from psycopg2 import errorcodes, sql
from psycopg2.extensions import TRANSACTION_STATUS_IDLE
from psycopg2.extensions import connection as Driver
from psycopg2.extensions import cursor as Cursor
from sqlalchemy import event
from sqlalchemy.engine import Connection

from utils import catalog, database, embedded, operations, revisions
from utils.catalog import Catalog
from utils.logs import log
from utils.revisions import History, Revision
from utils.settings import Dsn, Settings

PREFIX = "railhead_scratch_"

STRENGTH = (
    "AccessShareLock",
    "RowShareLock",
    "RowExclusiveLock",
    "ShareUpdateExclusiveLock",
    "ShareLock",
    "ShareRowExclusiveLock",
    "ExclusiveLock",
    "AccessExclusiveLock",
)
"""PostgreSQL's table locks, weakest first (https://www.postgresql.org/docs/current/explicit-locking.html)."""

BLOCKS_WRITES = STRENGTH.index("ShareLock")
"""From this one on, others cannot write."""

EXCLUSIVE = STRENGTH.index("AccessExclusiveLock")
"""Others can neither write nor read."""

_WRITES = STRENGTH.index("RowExclusiveLock")
_READS = STRENGTH.index("AccessShareLock")
_SHARES = STRENGTH.index("ShareLock")


class Statement(NamedTuple):
    """What one statement did. Tables are named only if they were there before the revision; a partition counts as its parent."""

    sql: str
    held: Mapping[str, int]
    """The strongest lock on each table when the statement had ended, as an index of STRENGTH."""
    taken: Mapping[str, int]
    """The strongest lock on each table that this statement took."""
    rewritten: tuple[str, ...]
    scanned: tuple[str, ...]
    indexed: tuple[tuple[str, str], ...]
    """Pairs of index and table."""
    foreign_keys: tuple[tuple[str, str], ...]
    """Pairs of validated constraint and table."""
    written: tuple[str, ...]
    """Tables whose rows it changes; rows that it adds one by one do not count."""
    outside: bool
    """Whether it ran outside the revision's transaction."""
    alone: bool
    """Whether it was a transaction of its own."""


class Footprint(NamedTuple):
    """What a revision did to a scratch database: forwards, backwards, and forwards again."""

    revision: str
    statements: tuple[Statement, ...]
    before: Catalog
    after: Catalog
    tables: tuple[str, ...]
    """The tables that were there before it."""
    undone: str | None
    """Why its downgrade does not give back what was before; None when it does."""
    repeated: str | None
    """Why it cannot run again from the top after a crash; None when it can, or when one transaction keeps it whole."""

    @property
    def leaves(self) -> bool:
        """Tell whether the revision leaves its transaction."""
        return any(statement.outside for statement in self.statements)


def server(settings: Settings) -> Dsn:
    """Return where scratch databases may be made: the server that the settings name in development, else the embedded one.

    Starts the embedded one where the named server does not answer or does not let us create databases. Raises Stop.
    """
    named = settings.migrate_database
    if named is None or settings.production:
        return embedded.use()
    try:
        connection = database.connect(named, "railhead replay")
    except psycopg2.OperationalError as error:
        log.info("scratch databases are made on the embedded server: %s", database.said(error))
        return embedded.use()
    try:
        if database.scalar(connection, "SELECT rolcreatedb OR rolsuper FROM pg_roles WHERE rolname = current_user"):
            return named
    finally:
        connection.close()
    log.info("scratch databases are made on the embedded server: the role may not create any on %s", named.redacted())
    return embedded.use()


@contextmanager
def scratch(server: Dsn) -> Iterator[Dsn]:
    """Give an empty database of our own on `server`, and drop it afterwards. Raises psycopg2.Error where we may not."""
    name = f"{PREFIX}{int(time.time()):x}_{secrets.token_hex(4)}"
    admin = database.connect(server, "railhead replay")
    try:
        _sweep(admin)
        with admin.cursor() as cursor:
            cursor.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(sql.Identifier(name)))
        try:
            yield server.with_(dbname=name)
        finally:
            with admin.cursor() as cursor:
                cursor.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))
    finally:
        admin.close()


def _sweep(admin: Driver) -> None:
    """Drop the scratch databases that killed processes left behind: an hour old, and nobody in them."""
    for (name,) in database.rows(admin, _LEFT_BEHIND, (PREFIX,)):
        born = re.match(rf"{PREFIX}([0-9a-f]+)_", str(name))
        if born and time.time() - int(born[1], 16) > 3600:
            with suppress(psycopg2.Error), admin.cursor() as cursor:
                cursor.execute(sql.SQL("DROP DATABASE {}").format(sql.Identifier(str(name))))


def footprints(
    server: Dsn, history: History, wanted: Iterable[str], tell: Callable[[str], None], config: Config | None = None
) -> Iterator[Footprint]:
    """Yield the footprint of each wanted revision, in the order of the history. Changes scratch databases only.

    `tell` gets the id of each revision before it is replayed; `config` names another folder of revisions than the
    project's. Raises Failed when a revision does not run from empty, psycopg2.Error where there may be no scratch database.
    """
    todo = set(wanted)
    order = list(history.by_id.values())
    start = 0
    while todo:
        with scratch(server) as dsn, _Replay(dsn, config) as replay:
            first = next(index for index, one in enumerate(order) if index >= start and one.id in todo)
            replay.up(order[:first])
            for index in range(first, len(order)):
                if not todo:
                    return
                revision = order[index]
                if revision.id not in todo:
                    replay.up([revision])
                    continue
                todo.remove(revision.id)
                tell(revision.id)
                footprint, spoilt = replay.examine(revision)
                yield footprint
                if spoilt:  # what it left behind would be in the way of the next one
                    start = index + 1
                    break
            else:
                return


def build(dsn: Dsn, history: History) -> None:
    """Bring an empty scratch database to head. Changes the schema. Raises Failed."""
    with _Replay(dsn) as replay:
        replay.up(list(history.by_id.values()))


def catalogs(server: Dsn, history: History) -> Iterator[tuple[str, Catalog]]:
    """Yield the catalog after each revision, oldest first. Changes a scratch database only. Raises Failed."""
    with scratch(server) as dsn, _Replay(dsn) as replay:
        for revision in history.by_id.values():
            replay.up([revision])
            yield revision.id, replay.catalog()


class Failed(Exception):
    """A revision does not run on a scratch database that the ones before it have made."""

    def __init__(self, revision: Revision, error: Exception) -> None:
        super().__init__(f"{revision.id}: {_said(error)}")
        self.revision = revision
        self.error = error

    @property
    def cause(self) -> BaseException:
        """Return the driver's error below SQLAlchemy's, or the error itself."""
        return getattr(self.error, "orig", None) or self.error


class _Crash(Exception):
    """Raised in the place of a crash, to see whether a revision can run again from the top."""


class _Notices:
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


class _Replay:
    """One scratch database, and Alembic at work in it."""

    def __init__(self, dsn: Dsn, config: Config | None = None) -> None:
        self._dsn = dsn
        self._config = config or revisions.config()
        self._script = ScriptDirectory.from_config(self._config)
        self._eyes: _Eyes | None = None
        self._before: Catalog | None = None

    def __enter__(self) -> Self:
        self._onlooker = database.connect(self._dsn, "railhead replay")
        self._engine = sqlalchemy.create_engine(
            "postgresql+psycopg2://", creator=self._session, pool_size=1, max_overflow=0
        )
        event.listen(self._engine, "checkout", _as_new)
        event.listen(self._engine, "before_cursor_execute", self._probe)
        event.listen(self._engine, "after_cursor_execute", self._look)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._engine.dispose()
        self._onlooker.close()

    def up(self, wanted: Sequence[Revision]) -> None:
        """Apply these revisions. Raises Failed."""
        doing = iter(wanted)
        one = next(doing, None)

        def steps() -> Iterator[RevisionStep]:
            nonlocal one
            while one is not None:
                yield self._step(one, up=True)
                one = next(doing, None)

        self._before = None
        if one is not None:
            try:
                self._run(steps())
            except Exception as error:
                assert one is not None
                raise Failed(one, error) from error

    def catalog(self) -> Catalog:
        """Return the schema as it is now. Read-only."""
        return catalog.read(self._onlooker, often=True)

    def examine(self, revision: Revision) -> tuple[Footprint, bool]:
        """Apply a revision with open eyes, and back, and again. Tells also whether the database is spoilt by it."""
        before = self._before or self.catalog()
        eyes = _Eyes(self._onlooker)
        try:
            self._run([self._step(revision, up=True)], eyes)
        except Exception as error:
            raise Failed(revision, error) from error
        after = self.catalog()
        undone, spoilt = self._undone(revision, before, after)
        repeated = None
        if eyes.points and not spoilt:
            repeated, spoilt = self._repeated(revision, after, eyes.points)
        footprint = Footprint(revision.id, tuple(eyes.statements), before, after, eyes.tables, undone, repeated)
        self._before = None if spoilt else after
        return footprint, spoilt

    def _undone(self, revision: Revision, before: Catalog, after: Catalog) -> tuple[str | None, bool]:
        """Return why the way back does not lead back, and whether the database is spoilt now."""
        try:
            self._run([self._step(revision, up=False)])
        except Exception as error:
            return f"its downgrade fails: {_said(error)}", bool(catalog.difference(after, self.catalog()))
        told = _left(before, self.catalog())
        try:
            self._run([self._step(revision, up=True)])
        except Exception as error:
            return told or f"it cannot be applied again after its downgrade: {_said(error)}", True
        again = catalog.difference(after, self.catalog())
        return told or (f"applied again it gives another {again[0].object}" if again else None), bool(again)

    def _repeated(self, revision: Revision, after: Catalog, points: Sequence[_Point]) -> tuple[str | None, bool]:
        """Crash at each point and run it again from the top; return why that fails, and whether all is spoilt."""
        for point in points:
            try:
                self._run([self._step(revision, up=False)])
            except Exception:
                return None, True  # without a way back there is nothing to repeat it on
            where = f"run again after a crash {point}"
            try:
                self._crash(revision, point)
                if revision.id not in self._versions():
                    self._run([self._step(revision, up=True)])
            except Exception as error:
                return f"{where} it fails: {_said(error)}", True
            left = catalog.difference(after, self.catalog())
            if left:
                invalid = "INVALID" in (left[0].after or "")
                return f"{where} it {'keeps an INVALID' if invalid else 'gives another'} {left[0].object}", True
        return None, False

    def _crash(self, revision: Revision, point: _Point) -> None:
        """Begin a revision and leave the database as a crash at this point would."""
        eyes = _Eyes(self._onlooker, crash_after=point.number)
        try:
            self._run([self._step(revision, up=True)], eyes)
        except Exception:
            if len(eyes.statements) < point.number:  # it failed before it could crash
                raise
        if point.unfinished:
            with self._onlooker.cursor() as cursor:
                cursor.execute(_INVALID, (point.unfinished,))

    def _step(self, revision: Revision, *, up: bool) -> RevisionStep:
        script = self._script.get_revision(revision.id)
        assert script is not None
        return RevisionStep(self._script.revision_map, script, up)

    def _run(self, steps: Iterable[RevisionStep], eyes: _Eyes | None = None) -> None:
        def plan(_heads: object, _context: MigrationContext) -> Iterator[RevisionStep]:
            for step in steps:
                self._eyes = eyes
                yield step
                self._eyes = None

        try:
            with _quietly(), self._environment() as environment, self._engine.connect() as connection:
                environment.configure(connection=connection, fn=plan, transaction_per_migration=True)
                with environment.begin_transaction():
                    environment.run_migrations()
        finally:
            self._eyes = None

    @contextmanager
    def _environment(self) -> Iterator[EnvironmentContext]:
        """Give an environment of Alembic's. Its proxy for revisions, `alembic.context`, cannot be installed twice."""
        environment = EnvironmentContext(self._config, self._script)
        if hasattr(alembic.context, "config"):  # we are called by a command that Alembic runs
            yield environment
        else:
            with environment:
                yield environment

    def _session(self) -> Driver:
        driver = database.connect(self._dsn, "railhead replay")
        driver.notices = _Notices()  # type: ignore[assignment]  # psycopg2 asks for nothing but `append`
        driver.autocommit = False
        return driver

    def _versions(self) -> set[str]:
        return {str(row[0]) for row in database.rows(self._onlooker, "SELECT version_num FROM alembic_version")}

    def _probe(
        self, connection: Connection, _cursor: object, statement: str, values: object, _context: object, many: bool
    ) -> None:
        if self._eyes and "alembic_version" not in statement:
            self._eyes.probe(_driver(connection), statement, values, many=many)

    def _look(
        self, connection: Connection, cursor: Cursor, statement: str, _values: object, _context: object, _many: bool
    ) -> None:
        if self._eyes and "alembic_version" not in statement:
            self._eyes.look(_driver(connection), statement, (cursor.statusmessage or "").split(" ")[0])


class _Point(NamedTuple):
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


class _Eyes:
    """Sees what each statement of a step does."""

    def __init__(self, onlooker: Driver, crash_after: int = 0) -> None:
        self.statements: list[Statement] = []
        self.points: list[_Point] = []
        found = database.rows(onlooker, _TABLES)
        self._names = {int(str(oid)): str(name) for oid, name, _, _ in found}
        self._views = {int(str(oid)) for oid, _, kind, _ in found if kind == "m"}
        self.tables = tuple(sorted(set(self._names.values())))
        self._files = {int(str(oid)): int(str(file)) for oid, _, _, file in found}
        self._crash_after = crash_after
        self._last = _NOTHING
        self._probed: _Seen | None = None
        self._alone = False

    def probe(self, driver: Driver, statement: str, values: object, *, many: bool) -> None:
        """Try a statement that is a transaction of its own in one that is rolled back: its locks are gone once it has ended.

        What refuses to run inside a transaction works in several of its own and gives way by itself (CONCURRENTLY).
        """
        self._alone = driver.autocommit and driver.info.transaction_status == TRANSACTION_STATUS_IDLE
        self._probed = None
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
        _notices(driver).taken()

    def look(self, driver: Driver, statement: str, tag: str) -> None:
        """Note what the statement that has just ended did."""
        said = _notices(driver).taken()
        now = self._seen(driver)
        seen = self._probed or now
        held = self._strongest(seen.locks)
        taken = self._strongest(
            {oid: modes - self._last.locks.get(oid, frozenset()) for oid, modes in seen.locks.items()}
        )
        built = _BUILDS.findall(said)
        unfinished = self._alone and self._probed is _NOTHING
        self.statements.append(
            Statement(
                sql=statement.strip(),
                held=held,
                taken=taken,
                rewritten=self._rewritten(said, now),
                scanned=self._scanned(said, now, seen, tag),
                indexed=tuple((index, full) for index, table in built for full in self._known([table], now)),
                foreign_keys=tuple(self._foreign_keys(driver, _VALIDATES.findall(said))),
                written=self._written(driver, seen, tag),
                outside=driver.autocommit,
                alone=self._alone,
            )
        )
        self._last = now if driver.info.transaction_status != TRANSACTION_STATUS_IDLE else _NOTHING
        self._files.update({oid: table.file for oid, table in now.tables.items()})
        if driver.autocommit:
            self._note_point(driver, statement, tag, [index for index, _ in built] if unfinished else [])
        if self._crash_after and len(self.statements) >= self._crash_after:
            raise _Crash

    def _note_point(self, driver: Driver, statement: str, tag: str, unfinished: list[str]) -> None:
        """Note where a crash leaves something behind: where something was committed, and where the transaction was left."""
        number = len(self.statements)
        first = number == 1 or not self.statements[-2].outside
        committed = driver.info.transaction_status == TRANSACTION_STATUS_IDLE and tag not in _CHANGES_NOTHING
        if first or committed:
            self.points.append(_Point(number, statement))
        self.points += [_Point(number, statement, index) for index in unfinished]

    def _seen(self, driver: Driver) -> _Seen:
        locks: dict[int, set[int]] = {}
        tables: dict[int, _Table] = {}
        for kind, number, text, file, counted, *counts in database.rows(driver, _LOOK, (list(self._names),)):
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
        moved = {oid for oid, table in now.tables.items() if table.file != self._files.get(oid)}
        copied = {self._names[oid] for oid in moved if oid in self._views or not now.tables[oid].is_new}
        return tuple(sorted({*copied, *self._known(_REWRITES.findall(said), now)}))

    def _scanned(self, said: str, now: _Seen, seen: _Seen, tag: str) -> tuple[str, ...]:
        """Return the tables that were read for a rule. Of a domain's new rule the server says nothing: its lock tells."""
        silent = {
            self._names[oid]
            for oid, modes in seen.locks.items()
            if tag in _RULES and _SHARES in modes - self._last.locks.get(oid, frozenset())
        }
        return tuple(dict.fromkeys([*self._known(_VERIFIES.findall(said), now), *sorted(silent)]))

    def _written(self, driver: Driver, seen: _Seen, tag: str) -> tuple[str, ...]:
        """Return the tables whose rows were changed, which the lock tells even when there are none."""
        written = {oid for oid in seen.locks if self._is_written(oid, seen)}
        if not written and tag in _CHANGES_ROWS:  # the lock was there already: an INSERT before it has taken it
            written = {oid for oid in seen.locks if self._is_searched(oid, seen)}
        if tag == "DELETE" and written:
            written |= {int(str(oid)) for (oid,) in database.rows(driver, _CASCADES, (list(written),))}
        return tuple(sorted({self._names[oid] for oid in written if oid in self._names}))

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

    def _foreign_keys(self, driver: Driver, names: Iterable[str]) -> Iterator[tuple[str, str]]:
        for name in names:
            found = database.rows(
                driver, "SELECT conrelid FROM pg_constraint WHERE conname = %s AND contype = 'f'", (name,)
            )
            for row in found:
                if int(str(row[0])) in self._names:
                    yield name, self._names[int(str(row[0]))]


@contextmanager
def _quietly() -> Iterator[None]:
    """Inside, verbs do not tell how they get on: on a scratch database that is no news."""
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(level)


def _left(before: Catalog, now: Catalog) -> str | None:
    """Return what a downgrade leaves behind, None when it is nothing."""
    left = catalog.difference(before, now)
    if not left:
        return None
    more = f" and {len(left) - 1} more" if len(left) > 1 else ""
    return f"its downgrade leaves {left[0].object} {left[0].kind}{more}"


def _as_new(driver: Driver, _record: object, _proxy: object) -> None:
    """Make a session as good as new, which a crash may have left in its transaction: a fifth of what a new one costs."""
    driver.rollback()
    driver.autocommit = True
    with driver.cursor() as cursor:
        if driver.info.transaction_status != TRANSACTION_STATUS_IDLE:
            cursor.execute("ROLLBACK")
        cursor.execute("DISCARD ALL")
        cursor.execute("SET client_min_messages = debug1")
    driver.autocommit = False
    _notices(driver).taken()


def _driver(connection: Connection) -> Driver:
    driver = connection.connection.dbapi_connection
    assert driver is not None
    return driver  # type: ignore[return-value]  # SQLAlchemy's type is any driver's


def _notices(driver: Driver) -> _Notices:
    notices = driver.notices
    assert isinstance(notices, _Notices)
    return notices


def _said(error: BaseException) -> str:
    cause = getattr(error, "orig", None) or error
    return database.said(cause).splitlines()[0]


assert operations.REPEATABLE  # importing it registers the verbs that revisions use

_REWRITES = re.compile(r'rewriting table "(.+)"')
_VERIFIES = re.compile(r'verifying table "(.+)"')
_BUILDS = re.compile(r'building index "(.+)" on table "(.+)" (?:serially|with)')
_VALIDATES = re.compile(r'validating foreign key constraint "(.+)"')
_CHANGES_ROWS = {"UPDATE", "DELETE", "MERGE"}
_RULES = {"ALTER", "DO"}
_CHANGES_NOTHING = {"BEGIN", "SET", "RESET", "SHOW", "SELECT"}

_LEFT_BEHIND = """
SELECT datname FROM pg_database WHERE starts_with(datname, %s)
   AND NOT EXISTS (SELECT FROM pg_stat_activity a WHERE a.datname = pg_database.datname)
"""

_TABLES = """
SELECT c.oid, coalesce(pg_partition_root(c.oid), c.oid)::regclass::text, c.relkind, coalesce(pg_relation_filenode(c.oid), 0)
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relkind IN ('r', 'p', 'm') AND n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema'
   AND c.relname NOT IN ('alembic_version', 'migration_ledger')
"""

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

_CASCADES = """
WITH RECURSIVE reached (oid) AS (
    SELECT unnest(%s::oid[])
    UNION SELECT k.conrelid FROM pg_constraint k JOIN reached r ON k.confrelid = r.oid
           WHERE k.contype = 'f' AND k.confdeltype IN ('c', 'n', 'd')
) SELECT oid FROM reached
"""
"""Where rows go, or lose what they refer to, when rows of these tables are deleted."""

_INVALID = "UPDATE pg_index SET indisvalid = false WHERE indexrelid = (SELECT oid FROM pg_class WHERE relname = %s AND relkind = 'i')"
