"""What would PostgreSQL do? Asked on empty temporary copies of tables, in savepoints that are rolled back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import sqlalchemy as sa
from alembic.operations import ops
from alembic.runtime.migration import MigrationContext
from alembic_postgresql_enum.operations.add_enum_values import AddEnumValuesOp
from alembic_postgresql_enum.sql_commands.column_default import get_column_default
from sqlalchemy.exc import DBAPIError

from railhead.autogenerate.render import Key, as_written


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

    def read_defaults(self, operation: AddEnumValuesOp) -> None:
        """Note what the columns' defaults are now: that is what they will be again when the values are taken back."""
        operation.affected_columns = [
            replace(
                one,
                existing_server_default=get_column_default(
                    self._connection, str(one.table_schema), one.table_name, one.column_name
                ),
            )
            for one in operation.affected_columns
        ]

    def rewrites_when_added(self, operation: ops.AddColumnOp) -> bool:
        """Tell whether every row is written when the column is added; no, when PostgreSQL cannot be asked. Read-only."""
        impl = self._context.impl
        rewritten, _ = self._try(operation, lambda copy: impl.add_column(copy, operation.column))
        return bool(rewritten)

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

    def effect_of_retyping(self, operation: ops.AlterColumnOp) -> tuple[bool, bool]:
        """Tell whether every row is written, and whether PostgreSQL must be told how to convert. Read-only."""
        impl, name = self._context.impl, operation.column_name
        plain = {"type_": operation.modify_type, "existing_type": operation.existing_type}
        self_made = sa.Column(name, operation.existing_type)

        def prepare(copy: str) -> None:
            self._connection.execute(sa.text(f"ALTER TABLE {copy} DROP COLUMN {as_written(name)}"))
            impl.add_column(copy, sa.Column(name, self_made.type))

        def convert(copy: str) -> None:
            impl.alter_column(copy, name, **plain)

        rewritten, sqlstate = self._try(operation, convert, prepare)
        if rewritten is not None:
            return rewritten, False
        return True, sqlstate in {"42804", "42704", "42846"} and self.name_of(operation.existing_type) != ""

    def _try(
        self,
        operation: ops.AddColumnOp | ops.AlterColumnOp,
        change: Callable[[str], object],
        prepare: Callable[[str], object] = lambda _copy: None,
    ) -> tuple[bool | None, str | None]:
        """Make a change to an empty copy of the table; tell whether that rewrote it, or else with which error it failed."""
        table = _written(operation)
        savepoint = self._connection.begin_nested()
        try:
            self._connection.execute(sa.text(f"CREATE TEMPORARY TABLE railhead_copy (LIKE {table})"))
            prepare("railhead_copy")
            before = self._file()
            change("railhead_copy")
            return self._file() != before, None
        except DBAPIError as error:
            return None, getattr(error.orig, "pgcode", None)
        finally:
            savepoint.rollback()

    def _file(self) -> object:
        return self._connection.scalar(sa.text("SELECT pg_relation_filenode('pg_temp.railhead_copy'::regclass)"))


def _written(operation: ops.AddColumnOp | ops.AlterColumnOp) -> str:
    return ".".join(as_written(part) for part in (operation.schema, operation.table_name) if part)
