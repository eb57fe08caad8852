"""Which verbs change a busy table without stopping it?

Each verb leaves the revision's transaction and is safe to run again from the top after a crash at any point, so a revision
that holds only such verbs can always be finished. What blocks is done in short transactions of its own that give way to
traffic and try again; what takes long blocks nobody. Under `--sql` they write SQL that may be run again just as well.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import sqlalchemy as sa
from alembic.operations import MigrateOperation, Operations, ops
from sqlalchemy.sql.elements import conv

from railhead.operations import indexes, replacing
from railhead.operations.autocommit import AutocommitSession, Table, autocommit, undoing
from railhead.operations.backfill import Backfill, script
from railhead.operations.indexes import IndexPart
from railhead.operations.long_names import cut
from railhead.operations.names import REPEATABLE
from railhead.postgres.quoting import qualified, quoted


class ConstraintVerbs(MigrateOperation):
    """What migrations may call about constraints as `op.<verb>(...)`. Each changes the schema."""

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
        replace: bool = False,
        **kw: object,
    ) -> None:
        """Make columns unique while the table is read and written: an index first, then the constraint takes it over.

        Takes what `op.create_unique_constraint` takes. Raises Stop(`index-differs`) as `create_index_concurrently` does; with
        `replace` the new index is built beside what has that name, and takes its place.
        """
        table, constraint_name = Table(table_name, schema), cut(constraint_name, operations.get_context().dialect)
        constraint, when = quoted(constraint_name), _when(deferrable, initially)
        with autocommit(operations) as session:
            if replace:
                deferring = (bool(deferrable) or _is_deferred(initially), _is_deferred(initially))
                replacing.unique(session, table, constraint_name, columns, kw, when, deferring)
                return
            existing = session.constraint(table, constraint_name)
            if session.as_sql or (existing and existing != (bool(deferrable), _is_deferred(initially))):
                session.change(table, f"ALTER TABLE {table} DROP CONSTRAINT IF EXISTS {constraint}")
            indexes.build_whole(session, table, constraint_name, columns, {"unique": True, **kw})
            _put(session, table, constraint_name, f"ADD CONSTRAINT {constraint} UNIQUE USING INDEX {constraint}{when}")

    @classmethod
    def create_primary_key_concurrently(
        cls,
        operations: Operations,
        constraint_name: str,
        table_name: str,
        columns: Sequence[str],
        *,
        schema: str | None = None,
    ) -> None:
        """Give a table its primary key, in the place of any other, while it is read and written; its columns become NOT NULL.

        Takes what `op.create_primary_key` takes. Foreign keys that need the old one must be gone.
        """
        table, name = Table(table_name, schema), cut(constraint_name, operations.get_context().dialect)
        with autocommit(operations) as session:
            for column in columns:
                _let_not_be_null(session, table, column)
            replacing.primary_key(session, table, name, columns)

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
        _put_constraint(operations, Table(source_table, source_schema), constraint_name, key)

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
        _put_constraint(operations, Table(table_name, schema), constraint_name, check)

    @classmethod
    def validate_constraint(
        cls, operations: Operations, constraint_name: str, table_name: str, *, schema: str | None = None
    ) -> None:
        """Check the rows that were there before a NOT VALID constraint, while the table is read and written."""
        _alter(operations, Table(table_name, schema), f"VALIDATE CONSTRAINT {quoted(constraint_name)}")

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
        table = Table(table_name, schema)
        with autocommit(operations) as session:
            session.change(
                table,
                f"ALTER TABLE {table} DROP CONSTRAINT IF EXISTS {quoted(constraint_name)}",
                beside=session.referred(table, constraint_name),
            )


class Verbs(ConstraintVerbs):
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
        replace: bool = False,
        if_not_exists: bool | None = None,  # noqa: ARG003  what op.create_index takes: here it always holds
        **kw: Any,
    ) -> None:
        """Build an index while the table is read and written; takes what `op.create_index` takes.

        An INVALID one that a crash left behind is dropped first, an equal one is kept; a partitioned table is indexed
        partition by partition. Raises Stop(`index-differs`) when there is another one of that name; with `replace` the new
        one is built beside that, and takes its place.
        """
        table, index_name = Table(table_name, schema), cut(index_name, operations.get_context().dialect, is_index=True)
        with autocommit(operations) as session:
            make = replacing.index if replace else indexes.build
            make(session, table, index_name, columns, {"unique": unique, **kw})

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
        with autocommit(operations) as session:
            indexes.drop(session, index_name, table_name, schema)

    @classmethod
    def set_not_null(
        cls, operations: Operations, table_name: str, column_name: str, *, schema: str | None = None
    ) -> None:
        """Make a column NOT NULL while the table is read and written; the rows are looked at by a check, not under a lock.

        When a row has NULL nothing stays behind, and PostgreSQL's error is raised: `backfill` comes first.
        """
        with autocommit(operations) as session:
            _let_not_be_null(session, Table(table_name, schema), column_name)

    @classmethod
    def drop_not_null(
        cls, operations: Operations, table_name: str, column_name: str, *, schema: str | None = None
    ) -> None:
        """Let a column be NULL; the way back from `set_not_null`."""
        _alter(operations, Table(table_name, schema), f"ALTER COLUMN {quoted(column_name)} DROP NOT NULL")

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
        Raises ValueError for a batch without rows, and for a negative pause.
        """
        if batch < 1 or throttle < 0:
            raise ValueError(f"a batch of {batch} rows with {throttle:g} s between two: write at least 1 row, and 0 s")
        table = Table(table_name, schema)
        with autocommit(operations) as session:
            if session.as_sql:
                session.execute(script(table, assignment, where, batch, throttle))
            else:
                Backfill(session, table, assignment, where, batch, throttle).run()


for _name_of_verb in sorted(REPEATABLE):
    Operations.register_operation(_name_of_verb)(Verbs)


def _alter(operations: Operations, table: Table, change: str) -> None:
    with autocommit(operations) as session:
        session.change(table, f"ALTER TABLE {table} {change}")


def _put(
    session: AutocommitSession,
    table: Table,
    name: str,
    add: str | Callable[[], object],
    *,
    replace: bool = False,
    beside: Sequence[str] = (),
) -> None:
    """Add a constraint unless it is there, or in the place of the one that is.

    Looks for it under the lock: the server may still be finishing what the killed predecessor of this process began.
    """

    def put() -> None:
        standing = session.constraint(table, name)
        if replace and (standing or session.as_sql):
            session.execute(f"ALTER TABLE {table} DROP CONSTRAINT IF EXISTS {quoted(name)}")
        if replace or not standing:
            session.execute(f"ALTER TABLE {table} {add}") if isinstance(add, str) else add()

    session.change(table, f"LOCK TABLE {table} IN SHARE ROW EXCLUSIVE MODE", put, beside=beside)


def _let_not_be_null(session: AutocommitSession, table: Table, column_name: str) -> None:
    column, check = quoted(column_name), quoted(_free_name(session, table, column_name))
    drop = f"ALTER TABLE {table} DROP CONSTRAINT IF EXISTS {check}"
    if session.is_not_null(table, column_name):
        session.change(table, drop)
        return
    session.change(table, drop, f"ALTER TABLE {table} ADD CONSTRAINT {check} CHECK ({column} IS NOT NULL) NOT VALID")
    with undoing(lambda: session.change(table, drop)):
        session.change(table, f"ALTER TABLE {table} VALIDATE CONSTRAINT {check}")
    session.change(table, f"ALTER TABLE {table} ALTER COLUMN {column} SET NOT NULL", drop)


def _free_name(session: AutocommitSession, table: Table, column: str) -> str:
    """Return the name of the check by which a column becomes NOT NULL: one that nobody uses for anything else. Read-only."""
    name = f"{column.encode()[:50].decode(errors='ignore')}_is_not_null"
    checks = session.rows(
        "SELECT conname FROM pg_constraint WHERE conrelid = to_regclass(:table) AND starts_with(conname, :name)"
        " AND regexp_replace(pg_get_constraintdef(oid), ' NOT VALID$', '')"
        " <> format('CHECK ((%I IS NOT NULL))', CAST(:column AS text))",
        table=str(table),
        name=name,
        column=column,
    )
    others = {str(used) for (used,) in checks}
    return next(
        candidate for candidate in (name, *(f"{name}{number}" for number in range(2, 10))) if candidate not in others
    )


def _put_constraint(
    operations: Operations,
    table: Table,
    name: str,
    operation: ops.CreateForeignKeyOp | ops.CreateCheckConstraintOp,
) -> None:
    with autocommit(operations) as session:
        context = session.context
        constraint = operation.to_constraint(context)
        beside = session.referred(table, name)
        if isinstance(operation, ops.CreateForeignKeyOp):
            beside.append(qualified(operation.referent_table, operation.kw.get("referent_schema")))
        _put(session, table, name, lambda: context.impl.add_constraint(constraint), replace=True, beside=beside)


def _when(deferrable: bool | None, initially: str | None) -> str:
    return (" DEFERRABLE" if deferrable else "") + (" INITIALLY DEFERRED" if _is_deferred(initially) else "")


def _is_deferred(initially: str | None) -> bool:
    return (initially or "").upper() == "DEFERRED"
