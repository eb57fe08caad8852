"""What does a revision really do to PostgreSQL? Run once on a scratch database, with open eyes.

The server says it itself: at `client_min_messages = debug1` a statement tells which tables it rewrites, scans and indexes, on an
empty table as on a full one, and pg_locks tells what it holds. No SQL is parsed, and no database that is in use is touched.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import alembic.context
import sqlalchemy
from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationContext, RevisionStep
from alembic.script import ScriptDirectory
from psycopg2 import sql
from psycopg2.extensions import connection as Driver
from sqlalchemy import event
from sqlalchemy.engine import Connection

from utils import catalog, database, operations, revisions
from utils.catalog import Catalog
from utils.revisions import History, Revision
from utils.settings import Dsn

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


class Statement(NamedTuple):
    """What one statement did. Tables are named only if they were there before the revision."""

    sql: str
    held: dict[str, int]
    """The strongest lock on each table when the statement had ended, as an index of STRENGTH."""
    taken: dict[str, int]
    """Those of `held` that this statement took."""
    rewritten: tuple[str, ...]
    scanned: tuple[str, ...]
    indexed: tuple[tuple[str, str], ...]
    """Pairs of index and table."""
    foreign_keys: tuple[tuple[str, str], ...]
    """Pairs of validated constraint and table."""
    outside: bool
    """Whether it ran outside the revision's transaction."""


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


@contextmanager
def scratch(server: Dsn) -> Iterator[Dsn]:
    """Give an empty database of our own on `server`, and drop it afterwards. Raises psycopg2.Error where we may not."""
    name = PREFIX + secrets.token_hex(6)
    admin = database.connect(server, "railhead replay")
    try:
        with admin.cursor() as cursor:
            cursor.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(sql.Identifier(name)))
        try:
            yield server.with_(dbname=name)
        finally:
            with admin.cursor() as cursor:
                cursor.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))
    finally:
        admin.close()


def footprints(
    server: Dsn, history: History, wanted: Iterable[str], tell: Callable[[str], None]
) -> Iterator[Footprint]:
    """Yield the footprint of each wanted revision, in the order of the history. Changes scratch databases only.

    `tell` gets the id of each revision before it is replayed. Raises Failed when a revision does not run from empty.
    """
    todo = set(wanted)
    order = list(history.by_id.values())
    start = 0
    while todo:
        with scratch(server) as dsn:
            replay = _Replay(dsn)
            replay.up(order[:start])
            for index in range(start, len(order)):
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


def catalogs(server: Dsn, history: History) -> Iterator[tuple[str, Catalog]]:
    """Yield the catalog after each revision, oldest first. Changes a scratch database only. Raises Failed."""
    with scratch(server) as dsn:
        replay = _Replay(dsn)
        for revision in history.by_id.values():
            replay.up([revision])
            yield revision.id, replay.catalog()


class Failed(Exception):
    """A revision does not run on a scratch database that the ones before it have made."""

    def __init__(self, revision: Revision, error: Exception) -> None:
        super().__init__(f"{revision.id}: {error}")
        self.revision = revision
        self.error = error


class _Crash(Exception):
    """Raised in the place of a crash, to see whether a revision can run again from the top."""


class _Notices:
    """Takes the place of psycopg2's list of notices, which keeps the last fifty only."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def append(self, line: str) -> None:
        """Keep what the server said."""
        self.lines.append(line)


class _Replay:
    """One scratch database, and Alembic at work in it."""

    def __init__(self, dsn: Dsn) -> None:
        config = revisions.config()
        self._dsn = dsn
        self._config = config
        self._script = ScriptDirectory.from_config(config)

    def up(self, wanted: Sequence[Revision]) -> None:
        """Apply these revisions. Raises Failed."""
        if wanted:
            try:
                self._run([self._step(one, up=True) for one in wanted])
            except Exception as error:
                raise Failed(wanted[-1], error) from error

    def catalog(self) -> Catalog:
        """Return the schema as it is now. Read-only."""
        connection = database.connect(self._dsn, "railhead replay")
        try:
            return catalog.read(connection)
        finally:
            connection.close()

    def examine(self, revision: Revision) -> tuple[Footprint, bool]:
        """Apply a revision with open eyes, and back, and again. Tells also whether the database is spoilt by it."""
        before = self.catalog()
        eyes = _Eyes()
        try:
            self._run([self._step(revision, up=True)], eyes)
        except Exception as error:
            raise Failed(revision, error) from error
        after = self.catalog()
        undone, spoilt = self._undone(revision, before, after)
        repeated = None
        if eyes.left and not spoilt:
            repeated, spoilt = self._repeated(revision, after, len(eyes.statements))
        footprint = Footprint(revision.id, tuple(eyes.statements), before, after, eyes.tables, undone, repeated)
        return footprint, spoilt

    def _undone(self, revision: Revision, before: Catalog, after: Catalog) -> tuple[str | None, bool]:
        """Return why the way back does not lead back, and whether the database is spoilt now."""
        try:
            self._run([self._step(revision, up=False)])
        except Exception as error:
            return f"its downgrade fails: {_said(error)}", self.catalog() != after
        left = catalog.difference(before, self.catalog())
        told = None
        if left:
            told = f"its downgrade leaves {left[0].object} {left[0].kind}" + (
                f" and {len(left) - 1} more" * (len(left) > 1)
            )
        try:
            self._run([self._step(revision, up=True)])
        except Exception as error:
            return told or f"it cannot be applied again after its downgrade: {_said(error)}", True
        again = catalog.difference(after, self.catalog())
        return told or (f"applied again it gives another {again[0].object}" if again else None), bool(again)

    def _repeated(self, revision: Revision, after: Catalog, statements: int) -> tuple[str | None, bool]:
        """Crash after each statement and run it again from the top; return why that fails, and whether all is spoilt."""
        for number in range(1, statements + 1):
            try:
                self._run([self._step(revision, up=False)])
            except Exception:
                return None, True  # without a way back there is nothing to repeat it on
            try:
                self._run([self._step(revision, up=True)], _Eyes(crash_after=number))
            except _Crash:
                pass
            try:
                if revision.id not in self._versions():
                    self._run([self._step(revision, up=True)])
            except Exception as error:
                return f"run again after a crash behind statement {number} it fails: {_said(error)}", True
            if catalog.difference(after, self.catalog()):
                return f"run again after a crash behind statement {number} it gives another schema", True
        return None, False

    def _step(self, revision: Revision, *, up: bool) -> RevisionStep:
        script = self._script.get_revision(revision.id)
        assert script is not None
        return RevisionStep(self._script.revision_map, script, up)

    def _run(self, steps: list[RevisionStep], eyes: _Eyes | None = None) -> None:
        engine = sqlalchemy.create_engine(
            "postgresql+psycopg2://", creator=self._session, poolclass=sqlalchemy.NullPool
        )
        if eyes:
            eyes.open(engine)

        def plan(_heads: object, _context: MigrationContext) -> Iterator[RevisionStep]:
            for step in steps:
                if eyes:
                    eyes.begin()
                yield step
                if eyes:
                    eyes.end()

        try:
            with self._environment() as environment, engine.connect() as connection:
                if eyes:
                    eyes.look_around(connection)
                    connection.rollback()
                environment.configure(connection=connection, fn=plan, transaction_per_migration=True)
                with environment.begin_transaction():
                    environment.run_migrations()
        finally:
            engine.dispose()

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
        with driver.cursor() as cursor:
            cursor.execute("SET client_min_messages = debug1")
        driver.autocommit = False
        return driver

    def _versions(self) -> set[str]:
        connection = database.connect(self._dsn, "railhead replay")
        try:
            return {str(row[0]) for row in database.rows(connection, "SELECT version_num FROM alembic_version")}
        finally:
            connection.close()


class _Eyes:
    """Sees what each statement of a step does."""

    def __init__(self, crash_after: int = 0) -> None:
        self.statements: list[Statement] = []
        self.left = False
        self.tables: tuple[str, ...] = ()
        self._crash_after = crash_after
        self._names: dict[int, str] = {}
        self._nodes: dict[int, str] = {}
        self._held: dict[str, int] = {}
        self._open = False

    def open(self, engine: sqlalchemy.Engine) -> None:
        """Look at every statement of this engine from now on."""
        event.listen(engine, "after_cursor_execute", self._after)

    def look_around(self, connection: Connection) -> None:
        """Remember which tables there are."""
        driver = _driver(connection)
        driver.notices = _Notices()  # type: ignore[assignment]  # psycopg2 asks for nothing but `append`
        found = database.rows(driver, _TABLES)
        self._names = {int(str(oid)): str(name) for oid, name, _ in found}
        self._nodes = {int(str(oid)): str(node) for oid, _, node in found}
        self.tables = tuple(sorted(self._names.values()))

    def begin(self) -> None:
        """A step begins."""
        self._open = True

    def end(self) -> None:
        """A step ends."""
        self._open = False

    def _after(
        self, connection: Connection, _cursor: object, statement: str, _values: object, _context: object, _many: bool
    ) -> None:
        if not self._open or "alembic_version" in statement:
            return
        driver = _driver(connection)
        notices = driver.notices
        assert isinstance(notices, _Notices)
        said, notices.lines = "".join(notices.lines), []
        self.left = self.left or driver.autocommit
        held, nodes = self._locks_and_nodes(driver)
        taken = {table: mode for table, mode in held.items() if mode > self._held.get(table, -1)}
        moved = [self._names[oid] for oid, node in nodes.items() if node != self._nodes.get(oid)]
        self._held = held
        self._nodes.update(nodes)
        self.statements.append(
            Statement(
                sql=statement.strip(),
                held=held,
                taken=taken,
                rewritten=tuple(sorted({*moved, *self._known(_REWRITES.findall(said))})),
                scanned=self._known(_VERIFIES.findall(said)),
                indexed=tuple((index, full) for index, table in _BUILDS.findall(said) for full in self._known([table])),
                foreign_keys=tuple(self._foreign_keys(driver, _VALIDATES.findall(said))),
                outside=driver.autocommit,
            )
        )
        if self._crash_after and len(self.statements) >= self._crash_after:
            raise _Crash

    def _locks_and_nodes(self, driver: Driver) -> tuple[dict[str, int], dict[int, str]]:
        held: dict[str, int] = {}
        nodes: dict[int, str] = {}
        for kind, number, text in database.rows(driver, _LOOK, (list(self._names),)):
            oid = int(str(number))
            if kind == "node":
                nodes[oid] = str(text)
            elif oid in self._names and text in STRENGTH:
                name = self._names[oid]
                held[name] = max(held.get(name, 0), STRENGTH.index(str(text)))
        return held, nodes

    def _known(self, names: Iterable[str]) -> tuple[str, ...]:
        """Return those of PostgreSQL's bare table names that were there before, as we call them."""
        bare = {name.rpartition(".")[2].strip('"').replace('""', '"'): name for name in self._names.values()}
        return tuple(bare[name] for name in names if name in bare)

    def _foreign_keys(self, driver: Driver, names: Iterable[str]) -> Iterator[tuple[str, str]]:
        for name in names:
            found = database.rows(
                driver, "SELECT conrelid FROM pg_constraint WHERE conname = %s AND contype = 'f'", (name,)
            )
            for row in found:
                if int(str(row[0])) in self._names:
                    yield name, self._names[int(str(row[0]))]


def _driver(connection: Connection) -> Driver:
    driver = connection.connection.dbapi_connection
    assert driver is not None
    return driver  # type: ignore[return-value]  # SQLAlchemy's type is any driver's


def _said(error: Exception) -> str:
    cause = getattr(error, "orig", None) or error
    return database.said(cause).splitlines()[0]


assert operations.REPEATABLE  # importing it registers the verbs that revisions use

_REWRITES = re.compile(r'rewriting table "((?:[^"]|"")+)"')
_VERIFIES = re.compile(r'verifying table "((?:[^"]|"")+)"')
_BUILDS = re.compile(r'building index "((?:[^"]|"")+)" on table "((?:[^"]|"")+)"')
_VALIDATES = re.compile(r'validating foreign key constraint "((?:[^"]|"")+)"')

_TABLES = """
SELECT c.oid, c.oid::regclass::text, coalesce(pg_relation_filenode(c.oid), 0)
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relkind IN ('r', 'p', 'm') AND n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema'
   AND c.relname NOT IN ('alembic_version', 'migration_ledger')
"""

_LOOK = """
SELECT 'lock', l.relation, l.mode FROM pg_locks l
 WHERE l.pid = pg_backend_pid() AND l.locktype = 'relation' AND l.granted
UNION ALL
SELECT 'node', c.oid, coalesce(pg_relation_filenode(c.oid), 0)::text FROM pg_class c WHERE c.oid = ANY (%s::oid[])
"""
