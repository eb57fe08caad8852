"""Which verbs change a busy table without stopping it?

Each verb leaves the revision's transaction and is safe to run again from the top after a crash at any point, so a revision
that holds only such verbs can always be finished. What blocks is done in short transactions of its own that give way to
traffic and try again; what takes long blocks nobody. Under `--sql` they write SQL that may be run again just as well.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple, TypeVar

import sqlalchemy as sa
from alembic.operations import MigrateOperation, Operations, ops
from alembic.runtime.migration import MigrationContext
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.sql.elements import conv

from utils import database
from utils.errors import ROLLED_BACK, Stop
from utils.logs import log

REPEATABLE = frozenset(
    {
        "backfill",
        "create_check_constraint_not_valid",
        "create_foreign_key_not_valid",
        "create_index_concurrently",
        "create_unique_constraint_concurrently",
        "drop_constraint_if_exists",
        "drop_index_concurrently",
        "drop_not_null",
        "set_not_null",
        "validate_constraint",
    }
)
"""Methods of `op` that leave the transaction and are safe to run again from the top."""

IndexPart = str | sa.TextClause | sa.ColumnElement[object]
"""What an index is on: a column's name or an expression."""

Done = TypeVar("Done")

_TELL_EVERY = 5.0
_PASSES = 5
_ORPHANS = 10.0

_BUILDERS = (
    "SELECT pid FROM pg_locks JOIN pg_stat_activity USING (pid) WHERE relation = to_regclass(:table)"
    " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    " AND mode = 'ShareUpdateExclusiveLock' AND backend_type = 'client backend' AND pid <> pg_backend_pid()"
)
"""Who has, or waits for, the lock under which PostgreSQL works CONCURRENTLY; autovacuum, which gives way, is no client."""


class Verbs(MigrateOperation):
    """What migrations may call as `op.<verb>(...)`. Each changes the schema, `backfill` rows."""

    @classmethod
    def create_index_concurrently(
        cls,
        operations: Operations,
        index_name: str,
        table_name: str,
        columns: Sequence[IndexPart],
        *,
        schema: str | None = None,
        unique: bool = False,
        if_not_exists: bool | None = None,  # noqa: ARG003  what op.create_index takes: here it always holds
        **kw: Any,
    ) -> None:
        """Build an index while the table is read and written; takes what `op.create_index` takes.

        An INVALID one that a crash left behind is dropped first, an equal one is kept. Raises Stop(`index-differs`) when
        there is another one of that name.
        """
        table = _Table(table_name, schema)
        with _outside(operations) as session:
            _build_index(session, table, index_name, columns, {"unique": unique, **kw})

    @classmethod
    def drop_index_concurrently(
        cls,
        operations: Operations,
        index_name: str,
        table_name: str | None = None,
        *,
        schema: str | None = None,
        if_exists: bool | None = None,  # noqa: ARG003  here it always holds
        **kw: object,  # noqa: ARG003  what autogenerate keeps for the way back
    ) -> None:
        """Drop an index, if it is there, while its table is read and written; takes what `op.drop_index` takes."""
        with _outside(operations) as session:
            if table_name:
                session.wait_for_orphans(_Table(table_name, schema))
            session.unhurried(_drop_index(_name(index_name, schema)))

    @classmethod
    def create_unique_constraint_concurrently(
        cls,
        operations: Operations,
        constraint_name: str,
        table_name: str,
        columns: Sequence[str],
        *,
        schema: str | None = None,
        deferrable: bool | None = None,
        initially: str | None = None,
        **kw: object,
    ) -> None:
        """Make columns unique while the table is read and written: an index first, then the constraint takes it over.

        Takes what `op.create_unique_constraint` takes. Raises Stop(`index-differs`) as `create_index_concurrently` does.
        """
        table = _Table(table_name, schema)
        constraint, when = _quoted(constraint_name), _when(deferrable, initially)
        with _outside(operations) as session:
            existing = session.constraint(table, constraint_name)
            if session.as_sql or (existing and existing != (bool(deferrable), _is_deferred(initially))):
                session.short(f"ALTER TABLE {table} DROP CONSTRAINT IF EXISTS {constraint}")
            _build_index(session, table, constraint_name, columns, {"unique": True, **kw})
            _put(session, table, constraint_name, f"ADD CONSTRAINT {constraint} UNIQUE USING INDEX {constraint}{when}")

    @classmethod
    def create_foreign_key_not_valid(
        cls,
        operations: Operations,
        constraint_name: str,
        source_table: str,
        referent_table: str,
        local_cols: list[str],
        remote_cols: list[str],
        *,
        source_schema: str | None = None,
        **kw: object,
    ) -> None:
        """Add a foreign key for rows written from now on, in the place of one of that name; rows there are not looked at.

        Takes what `op.create_foreign_key` takes. `validate_constraint` comes next.
        """
        kw["postgresql_not_valid"] = True
        key = ops.CreateForeignKeyOp(
            conv(constraint_name),
            source_table,
            referent_table,
            local_cols,
            remote_cols,
            source_schema=source_schema,
            **kw,
        )
        _put_constraint(operations, _Table(source_table, source_schema), constraint_name, key)

    @classmethod
    def create_check_constraint_not_valid(
        cls,
        operations: Operations,
        constraint_name: str,
        table_name: str,
        condition: str | sa.ColumnElement[bool],
        *,
        schema: str | None = None,
        **kw: object,
    ) -> None:
        """Add a check for rows written from now on, in the place of one of that name; rows there are not looked at.

        Takes what `op.create_check_constraint` takes. `validate_constraint` comes next.
        """
        kw["postgresql_not_valid"] = True
        check = ops.CreateCheckConstraintOp(conv(constraint_name), table_name, condition, schema=schema, **kw)
        _put_constraint(operations, _Table(table_name, schema), constraint_name, check)

    @classmethod
    def validate_constraint(
        cls, operations: Operations, constraint_name: str, table_name: str, *, schema: str | None = None
    ) -> None:
        """Check the rows that were there before a NOT VALID constraint, while the table is read and written."""
        with _outside(operations) as session:
            session.short(f"ALTER TABLE {_Table(table_name, schema)} VALIDATE CONSTRAINT {_quoted(constraint_name)}")

    @classmethod
    def drop_constraint_if_exists(
        cls,
        operations: Operations,
        constraint_name: str,
        table_name: str,
        *,
        schema: str | None = None,
        type_: str | None = None,  # noqa: ARG003  what op.drop_constraint takes
        if_exists: bool | None = None,  # noqa: ARG003  here it always holds
    ) -> None:
        """Drop a constraint, if it is there; takes what `op.drop_constraint` takes."""
        with _outside(operations) as session:
            session.short(
                f"ALTER TABLE {_Table(table_name, schema)} DROP CONSTRAINT IF EXISTS {_quoted(constraint_name)}"
            )

    @classmethod
    def set_not_null(
        cls, operations: Operations, table_name: str, column_name: str, *, schema: str | None = None
    ) -> None:
        """Make a column NOT NULL while the table is read and written; the rows are looked at by a check, not under a lock.

        When a row has NULL nothing stays behind, and PostgreSQL's error is raised: `backfill` comes first.
        """
        table, column = _Table(table_name, schema), _quoted(column_name)
        name = f"{column_name.encode()[:51].decode(errors='ignore')}_is_not_null"
        check, condition = _quoted(name), f"{column} IS NOT NULL"
        drop = f"ALTER TABLE {table} DROP CONSTRAINT IF EXISTS {check}"
        with _outside(operations) as session:
            if session.is_not_null(table, column_name):
                session.short(drop)
                return
            session.short(drop, f"ALTER TABLE {table} ADD CONSTRAINT {check} CHECK ({condition}) NOT VALID")
            with _undoing(lambda: session.short(drop)):
                session.short(f"ALTER TABLE {table} VALIDATE CONSTRAINT {check}")
            session.short(f"ALTER TABLE {table} ALTER COLUMN {column} SET NOT NULL", drop)

    @classmethod
    def drop_not_null(
        cls, operations: Operations, table_name: str, column_name: str, *, schema: str | None = None
    ) -> None:
        """Let a column be NULL; the way back from `set_not_null`."""
        with _outside(operations) as session:
            session.short(f"ALTER TABLE {_Table(table_name, schema)} ALTER COLUMN {_quoted(column_name)} DROP NOT NULL")

    @classmethod
    def backfill(
        cls,
        operations: Operations,
        table_name: str,
        assignment: str,
        where: str,
        *,
        batch: int = 5000,
        throttle: float = 0.0,
        schema: str | None = None,
    ) -> None:
        """Set `assignment` (`"price = 0"`) in all rows that match `where` (`"price IS NULL"`). Writes rows.

        At most `batch` rows are written and locked in one transaction, with `throttle` seconds between two. `where` must
        no longer hold for a row that is done: that is how it goes on after a crash; Stop(`backfill-endless`) otherwise.
        """
        table = _Table(table_name, schema)
        with _outside(operations) as session:
            if session.as_sql:
                session.execute(_backfill_script(table, assignment, where, batch, throttle))
            else:
                _Backfill(session, table, assignment, where, batch, throttle).run()


for _name_of_verb in sorted(REPEATABLE):
    Operations.register_operation(_name_of_verb)(Verbs)


class _Table(NamedTuple):
    """A table as a migration names it; as text it is quoted."""

    name: str
    schema: str | None

    def __str__(self) -> str:
        return _name(self.name, self.schema)


class _Constraint(NamedTuple):
    """What PostgreSQL says of a constraint."""

    deferrable: bool
    deferred: bool


class _Session:
    """The migration's connection while it is outside the revision's transaction, or the SQL script under `--sql`."""

    def __init__(self, context: MigrationContext) -> None:
        self.context = context
        self.as_sql = context.as_sql
        self._patience = context.opts.get("patience") or database.Patience(240.0, 0.9)
        self._pooled = bool(context.opts.get("pooled"))
        self._fence: Callable[[], None] = context.opts.get("fence") or (lambda: None)
        self._blockers: Callable[[], list[database.Blocker]] = context.opts.get("blockers") or list

    def execute(self, sql: str) -> None:
        """Run one statement, or write it."""
        self.context.impl.execute(_text(sql))

    def rows(self, sql: str, **values: object) -> list[tuple[object, ...]]:
        """Return what a query gives; nothing under `--sql`. Read-only."""
        if self.as_sql:
            return []
        assert self.context.connection is not None
        return [tuple(row) for row in self.context.connection.execute(sa.text(sql), values)]

    def short(self, *work: str | Callable[[], Done]) -> Done | None:
        """Do `work` in one transaction that gives way: short lock timeout, rolled back, tried again while patience lasts.

        Returns what the last callable in it returned.
        """

        def attempt() -> Done | None:
            with self._transaction():
                return _do(self.execute, work)

        return self._climb(attempt)

    def unhurried(self, *work: str | Callable[[], Done]) -> None:
        """Do `work`, which no transaction may surround, without a lock timeout: CONCURRENTLY blocks no traffic while it waits."""

        def attempt() -> None:
            with self._no_lock_timeout():
                self._fence()
                _do(self.execute, work)

        self._climb(attempt)

    def wait_for_orphans(self, table: _Table) -> None:
        """Return when nobody else builds or drops an index of the table concurrently, or after ten seconds. Read-only.

        The backend of a killed process goes on for up to half a second, and two at the same index end in a deadlock or
        in `tuple concurrently updated`. Asks again and again: to wait for the lock would be that deadlock.
        """
        deadline = time.monotonic() + _ORPHANS
        while self.rows(_BUILDERS, table=str(table)) and time.monotonic() < deadline:
            time.sleep(0.05)

    def constraint(self, table: _Table, name: str) -> _Constraint | None:
        """Return the constraint of that name, None when there is none. Read-only."""
        found = self.rows(
            "SELECT condeferrable, condeferred FROM pg_constraint"
            " WHERE conrelid = to_regclass(:table) AND conname = :name",
            table=str(table),
            name=name,
        )
        return _Constraint(bool(found[0][0]), bool(found[0][1])) if found else None

    def is_not_null(self, table: _Table, column: str) -> bool:
        """Tell whether the column has a NOT NULL that holds for every row. Read-only.

        PostgreSQL 18 sets attnotnull for a NOT NULL that is NOT VALID, too: its row in pg_constraint tells.
        """
        found = self.rows(
            "SELECT FROM pg_attribute a WHERE attrelid = to_regclass(:table) AND attname = :column AND attnotnull"
            " AND NOT EXISTS (SELECT FROM pg_constraint c WHERE conrelid = attrelid AND contype = 'n'"
            " AND conkey = ARRAY[attnum] AND NOT convalidated)",
            table=str(table),
            column=column,
        )
        return bool(found)

    def _climb(self, attempt: Callable[[], Done]) -> Done:
        while True:
            began = time.monotonic()
            try:
                return attempt()
            except DBAPIError as error:
                missed = error.orig is not None and database.is_lock_miss(error.orig)
                if not missed or self._patience.left <= 0:
                    raise
            log.info(
                "a lock was not to be had within %.0f ms; in the way: %s; trying again, for %.0f s more at most",
                self._patience.lock_timeout * 1000,
                "; ".join(map(str, self._blockers())) or "nobody any more",
                self._patience.left,
            )
            self._patience.miss(time.monotonic() - began)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self.execute("BEGIN")
        try:
            if not self.as_sql:
                self.execute(f"SET LOCAL lock_timeout = '{max(1, round(self._patience.lock_timeout * 1000))}ms'")
            yield
            self._fence()
            self.execute("COMMIT")
        except BaseException:
            self._try("ROLLBACK")
            raise

    @contextmanager
    def _no_lock_timeout(self) -> Iterator[None]:
        """Inside, waiting for a lock takes as long as it takes.

        Behind a transaction pooler nothing is set: it would reach other clients, and perhaps not this statement.
        """
        if self._pooled:
            yield
            return
        before = self.rows("SELECT current_setting('lock_timeout')")
        again = f"SET lock_timeout = '{before[0][0]}'" if before else "RESET lock_timeout"
        self.execute("SET lock_timeout = 0")
        try:
            yield
        except BaseException:
            self._try(again)
            raise
        self.execute(again)

    def _try(self, sql: str) -> None:
        """Run a statement that puts things straight after a failure; that the connection is gone is no new failure."""
        try:
            self.execute(sql)
        except SQLAlchemyError:
            pass


@contextmanager
def _outside(operations: Operations) -> Iterator[_Session]:
    """Leave the revision's transaction, and begin a new one afterwards.

    What fails inside is raised as it was: on a lost connection Alembic's way back fails too, and would hide the cause.
    """
    context = operations.get_context()
    cause: BaseException | None = None
    try:
        with context.autocommit_block():
            try:
                yield _Session(context)
            except BaseException as error:
                cause = error
                raise
    except BaseException as error:
        if cause is not None and error is not cause:
            raise cause from None
        raise


@contextmanager
def _undoing(undo: Callable[[], object]) -> Iterator[None]:
    """When what is inside fails, take back what led to it, if that is possible, and let the failure be told."""
    try:
        yield
    except (DBAPIError, Stop) as error:
        if not (isinstance(error, DBAPIError) and error.connection_invalidated):
            try:
                undo()
            except DBAPIError as another:
                log.warning("what was begun could not be taken back: %s", another.orig)
        raise


def _do(execute: Callable[[str], None], work: Sequence[str | Callable[[], Done]]) -> Done | None:
    done = None
    for piece in work:
        if isinstance(piece, str):
            execute(piece)
        else:
            done = piece()
    return done


def _put(
    session: _Session, table: _Table, name: str, add: str | Callable[[], object], *, replace: bool = False
) -> None:
    """Add a constraint unless it is there, or in the place of the one that is.

    Looks for it under the lock: the server may still be finishing what the killed predecessor of this process began.
    """

    def put() -> None:
        there = session.constraint(table, name)
        if replace and (there or session.as_sql):
            session.execute(f"ALTER TABLE {table} DROP CONSTRAINT IF EXISTS {_quoted(name)}")
        if replace or not there:
            session.execute(f"ALTER TABLE {table} {add}") if isinstance(add, str) else add()

    session.short(f"LOCK TABLE {table} IN SHARE ROW EXCLUSIVE MODE", put)


def _put_constraint(
    operations: Operations,
    table: _Table,
    name: str,
    wanted: ops.CreateForeignKeyOp | ops.CreateCheckConstraintOp,
) -> None:
    with _outside(operations) as session:
        context = session.context
        constraint = wanted.to_constraint(context)
        _put(session, table, name, lambda: context.impl.add_constraint(constraint), replace=True)


def _build_index(
    session: _Session, table: _Table, name: str, columns: Sequence[IndexPart], options: Mapping[str, Any]
) -> None:
    """Build the index unless it is there already and equal."""
    drop = _drop_index(_name(name, _schema_of(session, table)))

    def drop_leftover() -> None:
        if session.as_sql or _is_invalid(session, table, name):
            session.execute(drop)

    def build() -> None:
        _create_index(session, table, conv(name), columns, {**options, "postgresql_concurrently": True})

    session.wait_for_orphans(table)
    there = _definition(session, table, name)
    if there is None:
        with _undoing(lambda: session.unhurried(drop_leftover)):
            session.unhurried(drop_leftover, build)
        return
    wanted = session.short(lambda: _wanted_definition(session, table, columns, options))
    if there != wanted:
        raise _differs(table, name, there, str(wanted))


def _create_index(
    session: _Session, table: _Table, name: str, columns: Sequence[IndexPart], options: Mapping[str, Any]
) -> None:
    wanted = ops.CreateIndexOp(name, table.name, columns, schema=table.schema, **options)
    session.context.impl.create_index(wanted.to_index(session.context))


def _drop_index(name: str) -> str:
    return f"DROP INDEX CONCURRENTLY IF EXISTS {name}"


_INDEX = (
    "FROM pg_index JOIN pg_class c ON c.oid = indexrelid WHERE indrelid = to_regclass(:table) AND c.relname = :name"
)


def _is_invalid(session: _Session, table: _Table, name: str) -> bool:
    """Tell whether a crash has left an INVALID index of that name. Read-only."""
    return bool(session.rows(f"SELECT {_INDEX} AND NOT indisvalid", table=str(table), name=name))


def _definition(session: _Session, table: _Table, name: str) -> str | None:
    """Return what the valid index of that name is on, None when there is none. Read-only."""
    found = session.rows(f"SELECT pg_get_indexdef(indexrelid) {_INDEX} AND indisvalid", table=str(table), name=name)
    return _what_on(str(found[0][0])) if found else None


def _wanted_definition(
    session: _Session, table: _Table, columns: Sequence[IndexPart], options: Mapping[str, Any]
) -> str:
    """Return what PostgreSQL would make of the index, asked with a temporary table that nobody else sees."""
    copy = _Table("railhead_copy", None)
    session.execute(f"CREATE TEMPORARY TABLE {copy} (LIKE {table}) ON COMMIT DROP")
    _create_index(session, copy, "railhead_copy_index", columns, options)
    found = session.rows("SELECT pg_get_indexdef('pg_temp.railhead_copy_index'::regclass)")
    session.execute(f"DROP TABLE {copy}")
    return _what_on(str(found[0][0]))


def _what_on(definition: str) -> str:
    """Return an index definition without the names of the index and its table."""
    return re.sub(r"^CREATE (UNIQUE )?INDEX .*? ON .*? USING ", lambda found: f"{found[1] or ''}USING ", definition)


def _schema_of(session: _Session, table: _Table) -> str | None:
    """Return where the table is, and its indexes with it. Read-only."""
    if table.schema:
        return table.schema
    found = session.rows(
        "SELECT nspname FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace WHERE c.oid = to_regclass(:table)",
        table=str(table),
    )
    return str(found[0][0]) if found else None


def _differs(table: _Table, name: str, there: str, wanted: str) -> Stop:
    return Stop(
        "index-differs",
        f"there is another index named {name}",
        facts=[("table", str(table).replace('"', "")), ("there", there), ("wanted", wanted)],
        database="this step changed nothing",
        next_step=f"give the new index another name, or drop the old one first:\nop.drop_index_concurrently({name!r})",
        exit_code=ROLLED_BACK,
    )


class _Backfill:
    """Walks a table from its first page to its last, and again for what was written behind its back meanwhile.

    A window of pages at a time (a TID range scan, PostgreSQL 14): no index is needed, and pages that are done are not read
    again. Nothing rests on the order in which rows are found. A row that somebody else changes at the same moment is left
    for the next pass.
    """

    def __init__(
        self, session: _Session, table: _Table, assignment: str, where: str, batch: int, throttle: float
    ) -> None:
        self._session = session
        self._table = table
        self._assignment = assignment
        self._where = where
        self._batch = batch
        self._throttle = throttle
        self._began = self._told = time.monotonic()
        self._done = 0

    def run(self) -> None:
        """Return when no row matches any more."""
        for number in range(1, _PASSES + 1):
            found = sum(self._walk(relation, pages, number) for relation, pages in self._relations())
            if not found:
                break
        else:
            log.warning("backfill of %s: new rows keep matching; something still writes them", self._table.name)
        log.info("backfill of %s: %s", self._table.name, self._rate())

    def _relations(self) -> list[tuple[str, int]]:
        """Return the table, or its partitions, each with its size in pages. Read-only."""
        found = self._session.rows(
            f"WITH RECURSIVE {_TREE.format(table=':table')}"
            " SELECT oid::regclass::text, pg_relation_size(oid) / current_setting('block_size')::int"
            " FROM tree JOIN pg_class USING (oid) WHERE relkind = 'r' ORDER BY oid",
            table=str(self._table),
        )
        return [(str(name), int(str(pages))) for name, pages in found]

    def _walk(self, relation: str, pages: int, number: int) -> int:
        """Go through one relation and return how many rows matched."""
        page, window, matched = 0, _WINDOW, 0
        while page < pages:
            found = self._session.short(partial(self._step, relation, page, page + window)) or 0
            matched += found
            if found < self._batch:
                page += window
                window = min(window * 2, _WIDEST) if not found else _WINDOW
            self._tell(min(page / pages, 1.0) if number == 1 else 1.0)
            if found:
                time.sleep(self._throttle)
        return matched

    def _step(self, relation: str, page: int, end: int) -> int:
        """Write one batch of what matches from `page` to before `end`; return how many rows that were."""
        rows = f"ONLY {relation} AS {_quoted(self._table.name)}"
        sql = (
            f"WITH chosen AS MATERIALIZED (SELECT ctid AS place FROM {rows} WHERE {_between(page, end)}"
            f" AND ({self._where}) LIMIT {self._batch}),"
            f" changed AS (UPDATE {rows} SET {self._assignment} WHERE ctid = ANY (ARRAY(SELECT place FROM chosen))"
            f" AND ({self._where}) RETURNING ({self._where}) AS again)"
            " SELECT (SELECT count(*) FROM chosen), count(*), count(*) FILTER (WHERE again) FROM changed"
        )
        [(found, changed, again)] = [[int(str(number)) for number in row] for row in self._session.rows(_escaped(sql))]
        if again:
            raise self._endless(again)
        self._done += changed
        return found

    def _tell(self, share: float) -> None:
        now = time.monotonic()
        if now - self._told >= _TELL_EVERY:
            self._told = now
            left = (now - self._began) * (1 - share) / share if share else 0.0
            log.info("backfill of %s: %s, %.0f %%, %.0f s left", self._table.name, self._rate(), share * 100, left)

    def _rate(self) -> str:
        seconds = time.monotonic() - self._began
        return f"{self._done} rows in {seconds:.1f} s, {self._done / max(seconds, 0.001):.0f} rows/s"

    def _endless(self, again: int) -> Stop:
        return Stop(
            "backfill-endless",
            f"the backfill of {self._table.name} would never end",
            facts=[("where", self._where), ("set", self._assignment), ("still true", f"for {again} rows just written")],
            database="this batch was rolled back",
            next_step="write a condition that no longer holds for a row that is done, for instance `... IS NULL`",
            exit_code=ROLLED_BACK,
        )


_WINDOW = 64
"""Pages that are looked at in one step; twice as many each time when nothing in them matched, up to the widest."""
_WIDEST = 4096

_TREE = (
    "tree (oid) AS (SELECT to_regclass({table})::oid"
    " UNION SELECT inhrelid FROM pg_inherits JOIN tree ON inhparent = tree.oid)"
)
"""A table and what inherits from it, its partitions for instance."""


def _between(page: int, end: int) -> str:
    return f"ctid >= '({page},0)' AND ctid < '({end},0)'"


def _backfill_script(table: _Table, assignment: str, where: str, batch: int, throttle: float) -> str:
    """Return the same walk as one block that commits after each batch."""
    alias, condition = _quoted(table.name), _formatted(where)
    return f"""\
DO $backfill$
DECLARE relation regclass; page bigint; pages bigint; found bigint; changed bigint;
BEGIN
  FOR pass IN 1..{_PASSES} LOOP
    changed := 0;
    FOR relation IN
      WITH RECURSIVE {_TREE.format(table=_literal(str(table)))}
      SELECT oid FROM tree JOIN pg_class USING (oid) WHERE relkind = 'r'
    LOOP
      page := 0;
      pages := pg_relation_size(relation) / current_setting('block_size')::int;
      WHILE page < pages LOOP
        EXECUTE format($update$UPDATE ONLY %1$s AS {alias} SET {_formatted(assignment)} WHERE ({condition})
          AND ctid = ANY (ARRAY(SELECT ctid FROM ONLY %1$s AS {alias} WHERE ({condition})
          AND ctid >= %2$L AND ctid < %3$L LIMIT {batch}))$update$,
          relation, format('(%s,0)', page), format('(%s,0)', page + {_WINDOW}));
        GET DIAGNOSTICS found = ROW_COUNT;
        COMMIT;
        changed := changed + found;
        IF found > 0 THEN PERFORM pg_sleep({throttle}); END IF;
        IF found < {batch} THEN page := page + {_WINDOW}; END IF;
      END LOOP;
    END LOOP;
    EXIT WHEN changed = 0;
  END LOOP;
END $backfill$"""


def _when(deferrable: bool | None, initially: str | None) -> str:
    return (" DEFERRABLE" if deferrable else "") + (" INITIALLY DEFERRED" if _is_deferred(initially) else "")


def _is_deferred(initially: str | None) -> bool:
    return (initially or "").upper() == "DEFERRED"


def _name(name: str, schema: str | None) -> str:
    return f"{_quoted(schema)}.{_quoted(name)}" if schema else _quoted(name)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _formatted(sql: str) -> str:
    """Return SQL for PostgreSQL's format(), which reads percent signs."""
    return sql.replace("%", "%%")


def _escaped(sql: str) -> str:
    """Return SQL for SQLAlchemy's text(), which reads `:name` as a parameter."""
    return sql.replace(":", "\\:")


def _text(sql: str) -> sa.TextClause:
    return sa.text(_escaped(sql))
