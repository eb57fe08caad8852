"""What does a column that comes, goes, or may no longer be NULL become on a table that is in use?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa
from alembic.operations import MigrateOperation, ops
from sqlalchemy.dialects import postgresql as pg

from railhead.autogenerate import columns, comments, fill_values, same_sql
from railhead.autogenerate.files import CHANGE, FINISH, PREPARE, ProposedChange
from railhead.autogenerate.given import Given, alter, backfill, not_null, table_of, with_column
from railhead.autogenerate.render import Remark, as_written, key
from railhead.autogenerate.replacing import columns_of
from railhead.autogenerate.same_sql import Unreadable


class ColumnPlan:
    """Columns that come and go."""

    def __init__(self, given: Given) -> None:
        """Plan for this proposal."""
        self._given = given
        self._server = given.server

    def add(self, operation: ops.AddColumnOp) -> list[ProposedChange]:
        """Add it; in three steps where rows need a value."""
        column = operation.column
        rewrites = column.server_default is not None and self._server.rewrites_when_added(operation)
        remarks = list(self._missing(column))
        if rewrites and isinstance(column.server_default, sa.Identity | sa.Computed):
            return [_plain(operation, *remarks, comments.rewrites("adding this column", operation))]
        if not rewrites and (column.nullable or column.server_default is not None):
            return [_plain(operation, *remarks)]
        return self._add_filled(operation, remarks, rewrites=rewrites)

    def _missing(self, column: sa.Column[Any]) -> Iterator[Remark]:
        """Yield what the default needs and is not there."""
        default = column.server_default
        argument = getattr(default, "arg", None)
        connection = self._given.context.connection
        if argument is None or isinstance(argument, str) or connection is None:
            return
        sql = columns.default_sql(argument, self._given.context.dialect)
        if "nextval" in sql:
            return  # what makes the sequence comes first
        try:
            same_sql.planned(connection, [sql])
        except Unreadable as error:
            yield Remark(
                f"PostgreSQL does not understand the default of {column.name} yet: {error.words}. Make what {sql} needs first,",
                "in a revision before this one, or in this one, above.",
            )

    def _add_filled(self, operation: ops.AddColumnOp, remarks: list[Remark], *, rewrites: bool) -> list[ProposedChange]:
        """Three steps: a column that may be NULL, a value for each row, NOT NULL."""
        bare = with_column(operation, nullable=True, server_default=None)
        column = operation.column
        forth: list[MigrateOperation] = [Remark(f"{column.name} may be NULL until the next file has filled it."), bare]
        if rewrites:
            forth[0] = Remark(
                f"PostgreSQL would write every row to add {column.name} with this default. So: the default for new rows",
                "here, and the rows that are there in batches in the next file.",
            )
            forth.append(alter(operation, modify_server_default=column.server_default))
        changes = [ProposedChange(CHANGE, key(operation), [*remarks, *forth], [operation.reverse()], locks=True)]
        finish = self._fill(operation, column)
        back: list[MigrateOperation] = []
        if not column.nullable:
            finish.append(not_null("set_not_null", operation, column.name))
            back = [not_null("drop_not_null", operation, column.name)]
        return [*changes, ProposedChange(FINISH, key(operation), finish, back)]

    def drop(self, operation: ops.DropColumnOp) -> list[ProposedChange]:
        """Take the NOT NULL away first: then the release that no longer knows the column can already write."""
        way_back = operation.reverse()
        column = way_back.column
        remarks = [*self._views(operation), *self._domain(column)]
        if column.nullable or column.server_default is not None or column.primary_key:
            return [_plain(operation, *remarks)]
        bare = with_column(way_back, nullable=True)
        first = not_null("drop_not_null", way_back, column.name)
        filled = [*self._fill(way_back, column, back=True), not_null("set_not_null", way_back, column.name)]
        return [
            ProposedChange(PREPARE, key(operation), [first], filled),
            ProposedChange(CHANGE, key(operation), [*remarks, operation], [bare], locks=True),
        ]

    def _views(self, operation: ops.DropColumnOp) -> Iterator[Remark]:
        for view in self._server.views_on(operation):
            yield Remark(
                f"{view.kind} {view.name} needs {operation.column_name}: make it without that first, or PostgreSQL refuses what follows.",
                f"op.execute({f'DROP {view.kind.upper()} {view.sql}'!r})",
            )

    def _domain(self, column: sa.Column[Any]) -> Iterator[Remark]:
        if isinstance(column.type, pg.DOMAIN):
            name = str(column.type.name)
            yield Remark(
                f"The domain {name} stays, as other tables may use it. When none does:",
                f"op.execute({f'DROP DOMAIN {as_written(name)}'!r})",
            )

    def nullable(self, operation: ops.AlterColumnOp, *, nullable: bool) -> ProposedChange:
        """Let it be NULL, or no longer."""
        name = operation.column_name
        free, bound = (not_null(verb, operation, name) for verb in ("drop_not_null", "set_not_null"))
        if nullable:
            return ProposedChange(
                PREPARE, key(operation), [free], [Remark("Fails while a row has NULL: give it a value first."), bound]
            )
        column = self._given.model_column(operation)
        value = fill_values.of(column, self._given.context) if column is not None else None
        fill = backfill(operation, name, value) if value else None
        remark = Remark(
            "Fails while a row has NULL, and leaves nothing behind then. To give those rows a value first:",
            f"op.backfill({operation.table_name!r}, {f'{as_written(name)} = ...'!r}, {f'{as_written(name)} IS NULL'!r})",
        )
        return ProposedChange(FINISH, key(operation), [fill or remark, bound], [free])

    def _fill(
        self, operation: ops.AddColumnOp, column: sa.Column[Any], *, back: bool = False
    ) -> list[MigrateOperation]:
        """Return the backfill of a new column, with what is to be said of the value."""
        value = fill_values.of(column, self._given.context)
        if value:
            return [backfill(operation, column.name, value)]
        guess = None if column.foreign_keys else self._guess(operation, column, back=back)
        if guess:
            return [
                Remark(f"{guess} is only a guess: which {column.name} is right for the rows that are there?"),
                backfill(operation, column.name, guess),
            ]
        call = f"op.backfill({operation.table_name!r}, {f'{as_written(column.name)} = ...'!r}, {f'{as_written(column.name)} IS NULL'!r})"
        return [
            Remark(
                f"Which {column.name} is right for the rows that are there? Without one this stops at the first row:",
                call,
            )
        ]

    def _guess(self, operation: ops.AddColumnOp, column: sa.Column[Any], *, back: bool) -> str | None:
        """Return a value that no check of the table, now or then, says no to; for what is unique, another one for each row."""
        if self._is_unique(operation, column.name):
            return fill_values.of_each_row(column.type, self._row_number(operation)) if back else None
        values = fill_values.neutral(column.type)
        if self._given.context.connection is None:
            return next(iter(values), None)
        allowed = self._server.allows(table_of(operation), column, self._checks(operation))
        return next((value for value in values if allowed(value)), None)

    def _row_number(self, operation: ops.AddColumnOp) -> str | None:
        """Return a whole number that each row has of its own, None where there is none that stays."""
        table = self._given.table(key(operation))
        if table is None or table.primary_key is None or len(table.primary_key.columns) != 1:
            return None
        [name] = table.primary_key.columns
        numbers = {"smallint", "integer", "bigint"}
        return as_written(name) if table.columns[name].type in numbers and name != operation.column.name else None

    def _checks(self, operation: ops.AddColumnOp) -> list[str]:
        """Return the conditions of the table's checks, in the database and in the models."""
        table, model = self._given.table(key(operation)), self._given.model(key(operation))
        dialect = self._given.context.dialect
        found = [
            constraint.definition.removeprefix("CHECK ").removesuffix(" NOT VALID").removesuffix(" NO INHERIT")
            for constraint in (table.constraints.values() if table else ())
            if constraint.kind == "c"
        ]
        wanted = [
            same_sql.sql_of(constraint.sqltext, dialect)
            for constraint in (model.constraints if model is not None else ())
            if isinstance(constraint, sa.CheckConstraint)
        ]
        return [*found, *wanted]

    def _is_unique(self, operation: ops.AddColumnOp, name: str) -> bool:
        """Tell whether the column is, or was, unique by itself, so that no one value can be right for all rows."""
        for other in self._given.proposed:
            added = getattr(other, "added", other)
            dropped = getattr(other, "dropped", other)
            for half in (
                added,
                dropped.reverse() if isinstance(dropped, ops.DropConstraintOp | ops.DropIndexOp) else None,
            ):
                if half is None or key(half) != key(operation):
                    continue
                is_unique = isinstance(half, ops.CreateUniqueConstraintOp) or (
                    isinstance(half, ops.CreateIndexOp) and bool(half.unique)
                )
                if is_unique and columns_of(half) == [name]:
                    return True
        return False


def _plain(operation: MigrateOperation, *remarks: MigrateOperation) -> ProposedChange:
    return ProposedChange(CHANGE, key(operation), [*remarks, operation], [operation.reverse()], locks=True)
