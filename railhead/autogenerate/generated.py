"""What does a column become that is computed now, or otherwise, or no longer?"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic.operations import MigrateOperation, ops

from railhead.autogenerate import columns
from railhead.autogenerate.files import CHANGE, FINISH, ProposedChange
from railhead.autogenerate.given import Given, alter, table_of
from railhead.autogenerate.render import Remark, Verb, key
from railhead.autogenerate.same_sql import sql_of
from railhead.autogenerate.statements import Statement
from railhead.postgres.quoting import quoted

_SET_EXPRESSION = (17,)
"""Since when PostgreSQL changes how a column is computed."""


def is_about(operation: ops.AlterColumnOp) -> bool:
    """Tell whether the column is computed, or becomes so."""
    return any(
        isinstance(default, sa.Computed)
        for default in (operation.modify_server_default, operation.existing_server_default)
    )


def changes(given: Given, operation: ops.AlterColumnOp) -> list[ProposedChange]:
    """Return what is to be done."""
    old, new = operation.existing_server_default, operation.modify_server_default
    if new is False:
        bare = alter(operation, modify_type=operation.modify_type)
        remark = _rewrites(operation)
        return [ProposedChange(CHANGE, key(operation), [remark, bare], [bare.reverse()], locks=True)]
    type_ = operation.modify_type if operation.modify_type is not None else operation.existing_type
    there = sa.Column(operation.column_name, operation.existing_type, *_kept(old), nullable=_nullable(operation))
    wanted = sa.Column(operation.column_name, type_, *_kept(new), nullable=_nullable(operation))
    forth, anew = _between(given, operation, there, wanted)
    back, anew_back = _between(given, operation, wanted, there)
    first = ProposedChange(CHANGE, key(operation), forth, back, locks=True)
    indexes = _indexes(given, operation, forth=anew, back=anew_back)
    return [first, *indexes]


def _nullable(operation: ops.AlterColumnOp) -> bool:
    return operation.existing_nullable is not False


def _kept(default: Any) -> list[Any]:
    if isinstance(default, sa.Computed):
        return [sa.Computed(default.sqltext, persisted=default.persisted)]
    return [] if default is None else [default]


def _between(
    given: Given, operation: ops.AlterColumnOp, old: sa.Column[Any], new: sa.Column[Any]
) -> tuple[list[MigrateOperation], bool]:
    """Return the way from one to the other, and whether the column is dropped on it."""
    dialect = given.context.dialect
    was, will = old.server_default, new.server_default
    place = f"ALTER TABLE {table_of(operation)} ALTER COLUMN {quoted(operation.column_name)}"
    version: Any = dialect.server_version_info
    stored = [columns.is_stored(computed, dialect) for computed in (was, will) if isinstance(computed, sa.Computed)]
    if isinstance(was, sa.Computed) and not isinstance(will, sa.Computed) and stored == [True]:
        steps: list[MigrateOperation] = [
            Remark(f"{operation.column_name} keeps the values that were computed."),
            Statement("", "", [f"{place} DROP EXPRESSION"], [], place=key(operation)),
        ]
        return [*steps, *([alter(operation, modify_server_default=will)] if will is not None else [])], False
    same_type = given.server.name_of(old.type) == given.server.name_of(new.type)
    if (
        isinstance(was, sa.Computed)
        and isinstance(will, sa.Computed)
        and stored[0] == stored[1]
        and same_type
        and version >= _SET_EXPRESSION
    ):
        sql = sql_of(will.sqltext, dialect)
        statement = Statement("", "", [f"{place} SET EXPRESSION AS ({sql})"], [], place=key(operation))
        return [_rewrites(operation), statement], False
    drop = ops.DropColumnOp(operation.table_name, operation.column_name, schema=operation.schema)
    add = ops.AddColumnOp(operation.table_name, new, schema=operation.schema)
    lost = (
        ""
        if isinstance(was, sa.Computed)
        else f" The values that are in {operation.column_name} are lost: keep them elsewhere first."
    )
    return [
        Remark(f"PostgreSQL cannot make this of a column that is there: it is dropped and added anew.{lost}"),
        _rewrites(operation),
        drop,
        add,
    ], True


def _rewrites(operation: ops.AlterColumnOp) -> Remark:
    return Remark(
        f"PostgreSQL writes every row to compute {operation.column_name} while nobody can read or write {operation.table_name}: fine for a small table.",
        "For a large one add a plain column that may be NULL, let the application write it, and op.backfill the rest.",
    )


def _indexes(given: Given, operation: ops.AlterColumnOp, *, forth: bool, back: bool) -> list[ProposedChange]:
    """Return what builds the column's indexes again, which go with it."""
    table, model = given.table(key(operation)), given.model(key(operation))
    if table is None or model is None or not (forth or back):
        return []
    changes = []
    for index in sorted(model.indexes, key=lambda one: str(one.name)):
        if any(column.name == operation.column_name for column in index.columns) and str(index.name) in table.indexes:
            build: list[MigrateOperation] = [
                Verb("create_index_concurrently", like=ops.CreateIndexOp.from_index(index))
            ]
            changes.append(ProposedChange(FINISH, key(operation), build if forth else [], build if back else []))
    return changes
