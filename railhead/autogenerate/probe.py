"""What would PostgreSQL do? Asked on empty temporary copies of tables, in savepoints that are rolled back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import sqlalchemy as sa
from alembic.operations import ops
from alembic.runtime.migration import MigrationContext
from alembic_postgresql_enum.operations.add_enum_values import AddEnumValuesOp
from alembic_postgresql_enum.operations.sync_enum_values import SyncEnumValuesOp
from alembic_postgresql_enum.sql_commands.column_default import get_column_default
from sqlalchemy.exc import DBAPIError

from railhead.autogenerate import columns, same_sql
from railhead.autogenerate.render import Key, as_written
from railhead.autogenerate.same_sql import Unreadable

KEPT, CHANGED, LOST = "kept", "changed", "lost"

_CHECK_VIOLATION = "23514"
_NEEDS_USING = {"42804", "42704", "42846"}


class Effect(NamedTuple):
    """What a change did to an empty copy."""

    rewrites: bool
    rebuilds: bool = False
    """Whether an index was built anew."""
    sqlstate: str | None = None
    """With which error PostgreSQL refused to do it unasked."""


class View(NamedTuple):
    """A view that needs a column."""

    kind: str
    name: str
    sql: str
    """Its name as SQL takes it."""
    definition: str


class Probe:
    """Questions to the database, each answered in a savepoint that is rolled back."""

    def __init__(self, context: MigrationContext) -> None:
        assert context.connection is not None
        self._context = context
        self._connection = context.connection
        self.default_schema = context.dialect.default_schema_name

    def partitioned(self) -> set[Key]:
        """Return the partitioned tables. Read-only."""
        found = self._connection.execute(
            sa.text(
                "SELECT nspname, relname FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace WHERE relkind = 'p'"
            )
        )
        return {(None if schema == self.default_schema else schema, name) for schema, name in found}

    def name_of(self, type_: sa.types.TypeEngine[object] | None) -> str:
        """Return a type as SQL writes it."""
        return type_.compile(dialect=self._context.dialect) if type_ is not None else ""

    def read_defaults(self, operation: AddEnumValuesOp | SyncEnumValuesOp) -> None:
        """Note what the columns' defaults are now: that is what they will be again when the values are taken back."""
        operation.affected_columns = [
            replace(
                column,
                existing_server_default=get_column_default(
                    self._connection, str(column.table_schema), column.table_name, column.column_name
                ),
            )
            for column in operation.affected_columns
        ]

    def rewrites_when_added(self, operation: ops.AddColumnOp) -> bool:
        """Tell whether every row is written when the column is added; no, when PostgreSQL cannot be asked. Read-only."""
        impl = self._context.impl
        outcome = self._try(_written(operation), lambda copy: impl.add_column(copy, operation.column))
        return isinstance(outcome, Effect) and outcome.rewrites

    def checks_on(self, operation: ops.AlterColumnOp) -> list[str]:
        """Return the checks that hold for a column: PostgreSQL makes sure of them again when its type changes. Read-only."""
        found = self._connection.execute(
            sa.text(
                "SELECT conname FROM pg_constraint JOIN pg_attribute ON attrelid = conrelid AND attnum = ANY (conkey)"
                " WHERE conrelid = to_regclass(:table) AND attname = :column AND contype = 'c' AND convalidated ORDER BY 1"
            ),
            {"table": _written(operation), "column": operation.column_name},
        )
        return [str(name) for (name,) in found]

    def effect_of_retyping(self, operation: ops.AlterColumnOp) -> Effect:
        """Tell whether every row is written, or indexes are built anew, and whether PostgreSQL must be told how to convert. Read-only."""
        return self._retyped(operation)

    def _retyped(self, operation: ops.AlterColumnOp, using: str = "") -> Effect:
        name, table = as_written(operation.column_name), _written(operation)
        old, new = self.name_of(operation.existing_type), self.name_of(operation.modify_type)

        def prepare(copy: str) -> None:
            if not self._is_so(operation, old):
                self._execute(f"ALTER TABLE {copy} DROP COLUMN {name}")
                self._execute(f"ALTER TABLE {copy} ADD COLUMN {name} {old}")

        def convert(copy: str) -> None:
            self._execute(f"ALTER TABLE {copy} ALTER COLUMN {name} TYPE {new}{using}")

        outcome = self._try(table, convert, prepare, "INCLUDING INDEXES")
        if isinstance(outcome, Effect):
            return outcome
        return Effect(rewrites=True, sqlstate=outcome)

    def _is_so(self, operation: ops.AlterColumnOp, type_: str) -> bool:
        """Tell whether the column is of this type already."""
        query = "SELECT format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = to_regclass(:table) AND attname = :name"
        there = self._connection.scalar(sa.text(query), {"table": _written(operation), "name": operation.column_name})
        try:
            return bool(columns.canonical_type(self._connection, columns.split_collation(type_)[0]) == there)
        except Unreadable:
            return False

    def conversion(self, operation: ops.AlterColumnOp, sample: str | None) -> str | None:
        """Return how PostgreSQL is to be told to convert, empty where it knows; None where no value can be converted. Read-only."""
        effect = self.effect_of_retyping(operation)
        if effect.sqlstate not in _NEEDS_USING or not self.name_of(operation.existing_type):
            return ""
        name = as_written(operation.column_name)
        old, new = (
            columns.split_collation(self.name_of(type_))[0]
            for type_ in (operation.existing_type, operation.modify_type)
        )
        for way in ("{0}::text::{1}", "{0}::{1}"):
            if sample is None:
                return way.format(name, new)
            try:
                same_sql.planned(self._connection, [way.format(f"CAST({sample} AS {old})", new)])
            except Unreadable as error:
                if error.sqlstate == "42704":
                    return way.format(name, new)  # the type comes with the same change
                continue
            return way.format(name, new)
        return None

    def fate_of_default(self, operation: ops.AlterColumnOp, old: str | None, new: str | None, conversion: str) -> str:
        """Return what becomes of the default when the type changes below it: it is the wanted one, another, or in the way. Read-only."""
        if old is None or new is None or conversion:
            return LOST
        name, type_ = as_written(operation.column_name), self.name_of(operation.modify_type)
        found: list[object] = []
        query = "SELECT pg_get_expr(adbin, adrelid) FROM pg_attrdef WHERE adrelid = 'pg_temp.railhead_copy'::regclass"

        def change(copy: str) -> None:
            self._execute(f"ALTER TABLE {copy} DROP COLUMN {name}")
            self._execute(f"ALTER TABLE {copy} ADD COLUMN {name} {self.name_of(operation.existing_type)} DEFAULT {old}")
            self._execute(f"ALTER TABLE {copy} ALTER COLUMN {name} TYPE {type_}")
            found.append(self._connection.scalar(sa.text(query)))
            self._execute(f"ALTER TABLE {copy} ALTER COLUMN {name} SET DEFAULT {new}")
            found.append(self._connection.scalar(sa.text(query)))

        self._try(_written(operation), change)
        return LOST if not found else KEPT if found[0] == found[-1] and len(found) == 2 else CHANGED

    def allows(self, table: str, column: sa.Column[Any], conditions: Sequence[str]) -> Callable[[str], bool]:
        """Return what tells whether none of these checks says no to a value of a column, whatever the others hold. Read-only."""
        type_ = self.name_of(column.type)

        def allowed(value: str) -> bool:
            def insert(copy: str) -> None:
                name = as_written(column.name)
                self._execute(f"ALTER TABLE {copy} ADD COLUMN IF NOT EXISTS {name} {type_}")
                for condition in conditions:
                    self._execute_if_it_can(f"ALTER TABLE {copy} ADD CHECK ({condition})")
                self._let_all_be_null(copy)
                self._execute(f"INSERT INTO {copy} ({name}) VALUES ({value})")

            return self._try(table, insert) != _CHECK_VIOLATION

        return allowed

    def _let_all_be_null(self, copy: str) -> None:
        query = f"SELECT attname FROM pg_attribute WHERE attrelid = '{copy}'::regclass AND attnum > 0 AND attnotnull AND NOT attisdropped"
        for (name,) in self._connection.execute(sa.text(query)).all():
            self._execute(f"ALTER TABLE {copy} ALTER COLUMN {as_written(name)} DROP NOT NULL")

    def _execute_if_it_can(self, sql: str) -> None:
        savepoint = self._connection.begin_nested()
        try:
            self._execute(sql)
        except DBAPIError:
            savepoint.rollback()
        else:
            savepoint.commit()

    def _execute(self, sql: str) -> None:
        self._connection.exec_driver_sql(sql.replace("%", "%%"))

    def views_on(self, operation: ops.AlterColumnOp | ops.DropColumnOp) -> list[View]:
        """Return the views that need a column, each behind those that it is made of. Read-only."""
        rows = self._connection.execute(
            sa.text(_VIEWS), {"table": _written(operation), "column": operation.column_name}
        )
        return [View(kind, name, sql, definition.rstrip().rstrip(";")) for kind, name, sql, definition in rows]

    def _try(
        self,
        table: str,
        change: Callable[[str], object],
        prepare: Callable[[str], object] = lambda _copy: None,
        like: str = "",
    ) -> Effect | str | None:
        """Make a change to an empty copy of the table; return what that wrote, or else with which error it failed."""
        savepoint = self._connection.begin_nested()
        try:
            self._execute(f"CREATE TEMPORARY TABLE railhead_copy (LIKE {table} {like})")
            prepare("railhead_copy")
            before = self._files()
            change("railhead_copy")
            after = self._files()
            own = [oid for oid, is_table, _ in after if is_table]
            rewrites = {row for row in after if row[0] in own} != {row for row in before if row[0] in own}
            rebuilds = {row[2] for row in after} != {row[2] for row in before}
            return Effect(rewrites=rewrites, rebuilds=rebuilds)
        except DBAPIError as error:
            return getattr(error.orig, "pgcode", None)
        finally:
            savepoint.rollback()

    def _files(self) -> set[tuple[int, bool, int]]:
        """Return the files of the copy and of its indexes."""
        rows = self._connection.execute(
            sa.text(
                "SELECT c.oid, c.relkind = 'r', pg_relation_filenode(c.oid) FROM pg_class c LEFT JOIN pg_index i ON i.indexrelid = c.oid"
                " WHERE 'pg_temp.railhead_copy'::regclass IN (c.oid, i.indrelid)"
            )
        )
        return {tuple(row) for row in rows}


def _written(operation: ops.AddColumnOp | ops.AlterColumnOp | ops.DropColumnOp) -> str:
    return ".".join(as_written(part) for part in (operation.schema, operation.table_name) if part)


_VIEWS = """
WITH RECURSIVE needing (oid, depth) AS (
  SELECT r.ev_class, 1 FROM pg_depend d JOIN pg_rewrite r ON r.oid = d.objid
    JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
   WHERE d.classid = 'pg_rewrite'::regclass AND d.refclassid = 'pg_class'::regclass AND r.ev_class <> d.refobjid
     AND d.refobjid = to_regclass(:table) AND a.attname = :column
  UNION
  SELECT r.ev_class, n.depth + 1 FROM needing n JOIN pg_depend d ON d.refobjid = n.oid AND d.refclassid = 'pg_class'::regclass
    JOIN pg_rewrite r ON r.oid = d.objid WHERE d.classid = 'pg_rewrite'::regclass AND r.ev_class <> n.oid)
SELECT CASE c.relkind WHEN 'm' THEN 'materialized view' ELSE 'view' END, c.relname, n.oid::regclass::text, pg_get_viewdef(n.oid)
  FROM (SELECT oid, max(depth) AS depth FROM needing GROUP BY oid) n JOIN pg_class c ON c.oid = n.oid
 WHERE c.relkind IN ('v', 'm') ORDER BY n.depth, c.relname
"""
