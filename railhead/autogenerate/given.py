"""What do the parts of a plan know: the proposal, the models, and the database that it is for?"""

from __future__ import annotations

import copy
from typing import Any

import sqlalchemy as sa
from alembic.operations import MigrateOperation, ops
from alembic.runtime.migration import MigrationContext

from railhead.autogenerate import facts
from railhead.autogenerate.facts import ColumnFacts, Place, TableFacts
from railhead.autogenerate.probe import Probe
from railhead.autogenerate.render import Key, Verb, as_written, key
from railhead.autogenerate.same_sql import table_sql

AboutColumn = ops.AddColumnOp | ops.AlterColumnOp | ops.DropColumnOp


class Given:
    """One proposal, and what is known of its tables."""

    def __init__(self, context: MigrationContext, proposed: list[MigrateOperation], server: Probe) -> None:
        """Keep it; `server` is asked."""
        self.context = context
        self.proposed = proposed
        self.created = {key(operation) for operation in proposed if isinstance(operation, ops.CreateTableOp)}
        self.dropped = {key(operation) for operation in proposed if isinstance(operation, ops.DropTableOp)}
        self.server = server
        self._tables: dict[Place, TableFacts] | None = None

    @property
    def tables(self) -> dict[Place, TableFacts]:
        """What is there; read when it is first asked for. Nothing, where there is no database to ask."""
        if self.context.connection is None:
            return {}
        if self._tables is None:
            self._tables = facts.tables(sa.inspect(self.context.connection))
        return self._tables

    def table(self, place: Key) -> TableFacts | None:
        """Return a table as it is, None where there is none."""
        return self.tables.get((place[0] or str(self.server.default_schema), place[1]))

    def column(self, operation: AboutColumn) -> ColumnFacts | None:
        """Return the column that an operation is about as it is."""
        table = self.table(key(operation))
        return table.columns.get(name_of_column(operation)) if table else None

    def model(self, place: Key) -> sa.Table | None:
        """Return the table as the models have it."""
        metadata = self.context.opts["target_metadata"]
        schema, name = place
        for table in getattr(metadata, "tables", {}).values():
            if table.name == name and table.schema in {schema, None if schema else self.server.default_schema}:
                return table  # type: ignore[no-any-return]
        return None

    def model_column(self, operation: AboutColumn) -> sa.Column[Any] | None:
        """Return the column as the models have it, whatever they call it themselves."""
        table = self.model(key(operation))
        columns = table.columns if table is not None else ()
        return next((column for column in columns if column.name == name_of_column(operation)), None)


def name_of_column(operation: AboutColumn) -> str:
    """Return the name of the column that an operation is about."""
    return str(operation.column.name if isinstance(operation, ops.AddColumnOp) else operation.column_name)


def table_of(operation: AboutColumn) -> str:
    """Return the table as SQL names it."""
    return table_sql(operation.schema, operation.table_name)


def with_column(operation: ops.AddColumnOp, **changed: object) -> ops.AddColumnOp:
    """Return the same operation on a copy of its column with other properties."""
    other = copy.copy(operation)
    other.column = copy.copy(operation.column)
    for name, value in changed.items():
        setattr(other.column, name, value)
    return other


def alter(operation: ops.AddColumnOp | ops.AlterColumnOp, **modified: object) -> ops.AlterColumnOp:
    """Return an operation that alters one thing of the same column."""
    if isinstance(operation, ops.AddColumnOp):
        column = operation.column
    else:
        column = sa.Column(operation.column_name, operation.existing_type)
    altered = ops.AlterColumnOp(operation.table_name, column.name, schema=operation.schema, existing_type=column.type)
    for name, value in modified.items():
        setattr(altered, name, value)
    return altered


def not_null(verb: str, operation: ops.AddColumnOp | ops.AlterColumnOp, column: str) -> Verb:
    """Return the call of `set_not_null` or of `drop_not_null`."""
    return Verb(verb, operation.table_name, column, schema=operation.schema)


def backfill(operation: ops.AddColumnOp | ops.AlterColumnOp, column: str, value: str) -> Verb:
    """Return the call that gives a value to the rows that have none."""
    name = as_written(column)
    return Verb("backfill", operation.table_name, f"{name} = {value}", f"{name} IS NULL", schema=operation.schema)
