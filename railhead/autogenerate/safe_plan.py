"""What does each proposed change become on a table that is in use?

Alembic proposes operations; here each becomes a `ProposedChange`: the safe way forth and back, and the part of the work it belongs
to. Asks PostgreSQL with temporary tables what would rewrite a table, and leaves nothing there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import sqlalchemy as sa
from alembic.operations import MigrateOperation, ops
from alembic.runtime.migration import MigrationContext
from alembic_postgresql_enum.operations.add_enum_values import AddEnumValuesOp
from alembic_postgresql_enum.operations.create_enum import CreateEnumOp
from alembic_postgresql_enum.operations.drop_enum import DropEnumOp
from alembic_postgresql_enum.operations.sync_enum_values import SyncEnumValuesOp

from railhead.autogenerate import comments, enums, foreign_key_cycles, generated, key_plan, replacing, same_sql, tables
from railhead.autogenerate.column_plan import ColumnPlan
from railhead.autogenerate.files import CHANGE, FINISH, PREPARE, ProposedChange
from railhead.autogenerate.given import Given, alter
from railhead.autogenerate.probe import Probe
from railhead.autogenerate.render import Key, Remark, Verb, key
from railhead.autogenerate.replacing import Replace
from railhead.autogenerate.retyping import Retyping
from railhead.autogenerate.statements import BEFORE, ChangePrimaryKey, Statement
from railhead.operations.long_names import cut


def changes(context: MigrationContext, proposed: ops.UpgradeOps) -> list[ProposedChange]:
    """Return what is to be done, in order. Read-only."""
    return _Proposal(context, proposed, Probe(context)).changes()


def safe_form(context: MigrationContext, operation: MigrateOperation, server: Probe) -> list[ProposedChange]:
    """Return what is done in the place of one operation on a table that is in use, in order; `server` knows what it would do. Read-only."""
    return _Proposal(context, ops.UpgradeOps([operation]), server).changes()


class _Proposal:
    """One proposal, and what is known of its tables."""

    def __init__(self, context: MigrationContext, proposed: ops.UpgradeOps, server: Probe) -> None:
        flat = tables.without_exclusions(foreign_key_cycles.opened(_flat(proposed.ops)), context.dialect)
        named = [_named(operation, context.dialect) for operation in flat]
        self._proposed = replacing.paired(named, {})
        self._given = Given(context, self._proposed, server)
        self._server = server
        self._partitioned = self._server.partitioned()
        self._replaced = _replaced(self._proposed)
        self._columns = ColumnPlan(self._given)
        self._retyping = Retyping(self._given)

    def changes(self) -> list[ProposedChange]:
        ordered = sorted(foreign_key_cycles.drops_last(self._proposed), key=self._rank)
        return [*self._renames(), *(change for operation in ordered for change in self._changes(operation))]

    def _rank(self, operation: MigrateOperation) -> int:
        """Types come before what uses them and go after it; what foreign keys refer to comes before and goes after them."""
        match operation:
            case Statement(when=when) if when == BEFORE:
                return -3
            case CreateEnumOp():
                return -2
            case ops.DropConstraintOp(constraint_type="foreignkey"):
                return -1
            case ops.CreateForeignKeyOp():
                return 1
            case DropEnumOp():
                return 2
        return 0

    def _changes(self, operation: MigrateOperation) -> list[ProposedChange]:
        match operation:
            case CreateEnumOp():
                return [
                    ProposedChange(CHANGE, enums.key(operation), [enums.create(operation)], [enums.drop(operation)])
                ]
            case DropEnumOp():
                return [
                    ProposedChange(CHANGE, enums.key(operation), [enums.drop(operation)], [enums.create(operation)])
                ]
            case AddEnumValuesOp():
                self._server.read_defaults(operation)
                return [enums.more_values(operation)]
            case SyncEnumValuesOp():
                self._server.read_defaults(operation)
                enums.settle(operation, self._proposed)
                return [enums.other_values(operation)]
            case Statement():
                return [_statement(operation)]
            case ChangePrimaryKey():
                return key_plan.changes(self._given, operation)
            case _ if key(operation) in self._given.created | self._given.dropped and not isinstance(
                operation, ops.DropConstraintOp
            ):
                return [_plain(operation, locks=key(operation) in self._given.dropped)]
            case Replace():
                return [self._replace(operation)]
            case ops.CreateIndexOp() | ops.DropIndexOp():
                return self._index(operation)
            case ops.AddConstraintOp() | ops.DropConstraintOp():
                return self._constraint(operation)
            case ops.AddColumnOp():
                return self._columns.add(operation)
            case ops.DropColumnOp():
                return self._columns.drop(operation)
            case ops.AlterColumnOp():
                return self._alter_column(operation)
            case ops.CreateTableCommentOp() | ops.DropTableCommentOp():
                return [_plain(operation, locks=False)]
        return [_plain(operation)]

    def _index(self, operation: ops.CreateIndexOp | ops.DropIndexOp) -> list[ProposedChange]:
        if isinstance(operation, ops.CreateIndexOp):
            return [ProposedChange(FINISH, key(operation), [_build(operation)], [_drop_index(operation)])]
        return [ProposedChange(PREPARE, key(operation), [_drop_index(operation)], [_build(operation.reverse())])]

    def _replace(self, operation: Replace) -> ProposedChange:
        """Build the new one beside the old one, which goes once the new one is there; so on the way back."""
        dropped, added = operation.dropped, operation.added
        old: ops.CreateIndexOp | ops.CreateUniqueConstraintOp = dropped.reverse()  # type: ignore[assignment]
        remarks = self._leaning(key(added), replacing.name_of(dropped))
        if operation.keeps_name:
            return ProposedChange(
                FINISH, key(added), [*remarks, _build(added, replace=True)], [_build(old, replace=True)]
            )
        return ProposedChange(
            FINISH, key(added), [_build(added), *remarks, _unbuild(old)], [_build(old), _unbuild(added)]
        )

    def _leaning(self, place: Key, name: str) -> list[Remark]:
        """Return what is to be said of foreign keys that need a unique constraint which goes."""
        table = self._given.table(place)
        constraint = table.constraints.get(name) if table else None
        return [comments.leaning(name, constraint.needed_by)] if constraint and constraint.needed_by else []

    def _constraint(self, operation: ops.AddConstraintOp | ops.DropConstraintOp) -> list[ProposedChange]:
        if key(operation) in self._partitioned and not _is_check(operation):
            return [
                _plain(
                    operation, Remark("PostgreSQL adds this to a partitioned table at once or not at all: writes wait.")
                )
            ]
        name = _constraint_name(operation)
        replaced = self._replaced.get((key(operation), name))
        if isinstance(operation, ops.AddConstraintOp):
            before = _add_constraint(replaced.reverse()) if replaced else [_drop_constraint(operation.reverse())]
            return [ProposedChange(FINISH, key(operation), _add_constraint(operation), before)]
        if replaced:
            return []  # the new one takes its place
        forth = [*self._leaning(key(operation), name), _drop_constraint(operation)]
        return [ProposedChange(PREPARE, key(operation), forth, _add_constraint(operation.reverse()))]

    def _alter_column(self, operation: ops.AlterColumnOp) -> list[ProposedChange]:
        if generated.is_about(operation) and (
            operation.modify_type is not None or operation.modify_server_default is not False
        ):
            changes = generated.changes(self._given, operation)
        else:
            changes = self._retyping.changes(operation)
        if operation.modify_comment is not False:
            comment = alter(operation, modify_comment=operation.modify_comment)
            comment.existing_comment = operation.existing_comment
            changes.append(_plain(comment, locks=False))
        if operation.modify_nullable is not None:
            changes.append(self._columns.nullable(operation, nullable=operation.modify_nullable))
        return changes

    def _renames(self) -> Iterator[ProposedChange]:
        """Yield a remark for each thing that goes while another of the same shape comes."""
        added = [operation for operation in self._proposed if isinstance(operation, ops.AddColumnOp)]
        for gone in [operation for operation in self._proposed if isinstance(operation, ops.DropColumnOp)]:
            old = gone.reverse().column
            for come in added:
                if key(come) == key(gone) and self._server.name_of(come.column.type) == self._server.name_of(old.type):
                    yield ProposedChange(
                        CHANGE, key(gone), [comments.renamed_column(gone, old.name, come.column.name)], [], locks=True
                    )
        created = [operation for operation in self._proposed if isinstance(operation, ops.CreateTableOp)]
        for table in [operation for operation in self._proposed if isinstance(operation, ops.DropTableOp)]:
            columns = _column_names(table.reverse())
            for new in created:
                if _column_names(new) == columns:
                    yield ProposedChange(
                        CHANGE, key(new), [comments.renamed_table(table.table_name, new.table_name)], []
                    )


def _flat(operations: Iterable[MigrateOperation]) -> Iterator[MigrateOperation]:
    for operation in operations:
        if isinstance(operation, ops.ModifyTableOps):
            yield from _flat(operation.ops)
        else:
            yield operation


def _plain(operation: MigrateOperation, *remarks: MigrateOperation, locks: bool = True) -> ProposedChange:
    return ProposedChange(CHANGE, key(operation), [*remarks, operation], [operation.reverse()], locks)


def _statement(operation: Statement) -> ProposedChange:
    back = operation.reverse()
    return ProposedChange(CHANGE, key(operation), [operation], [back] if back.forth else [], operation.locks)


def _replaced(operations: Iterable[MigrateOperation]) -> dict[tuple[Key, str], ops.DropConstraintOp]:
    """Return the foreign keys and checks whose place a new one of the same name takes."""
    listed = list(operations)
    added = {
        (key(operation), _constraint_name(operation))
        for operation in listed
        if isinstance(operation, ops.CreateForeignKeyOp | ops.CreateCheckConstraintOp)
    }
    drops = [operation for operation in listed if isinstance(operation, ops.DropConstraintOp)]
    return {
        place: operation for operation in drops if (place := (key(operation), _constraint_name(operation))) in added
    }


def _is_check(operation: ops.AddConstraintOp | ops.DropConstraintOp) -> bool:
    return isinstance(operation, ops.CreateCheckConstraintOp) or getattr(operation, "constraint_type", "") == "check"


def _named(operation: MigrateOperation, dialect: sa.Dialect) -> MigrateOperation:
    """Return the operation with the name that the thing has in the database: what has no name cannot be taken back."""
    if isinstance(operation, ops.CreateForeignKeyOp):
        operation.kw.pop("use_alter", None)  # which is what it does
    if isinstance(operation, ops.CreateForeignKeyOp) and operation.constraint_name is None:
        operation.constraint_name = "_".join([operation.source_table, *operation.local_cols, "fkey"])[:63]
    if isinstance(operation, ops.CreateUniqueConstraintOp) and operation.constraint_name is None:
        operation.constraint_name = "_".join([operation.table_name, *operation.columns, "key"])[:63]
    if isinstance(operation, ops.CreateCheckConstraintOp) and operation.constraint_name is None:
        operation.constraint_name = f"{operation.table_name}_check"[:63]
    for name, is_index in (("constraint_name", False), ("index_name", True)):
        given = getattr(operation, name, None)
        if isinstance(given, str):
            setattr(operation, name, cut(given, dialect, is_index=is_index))
    return operation


def _constraint_name(operation: MigrateOperation) -> str:
    return str(getattr(operation, "constraint_name", ""))


def _build(operation: ops.CreateIndexOp | ops.CreateUniqueConstraintOp, *, replace: bool = False) -> Verb:
    verb = "create_index" if isinstance(operation, ops.CreateIndexOp) else "create_unique_constraint"
    return Verb(f"{verb}_concurrently", like=operation, replace=replace)


def _unbuild(operation: ops.CreateIndexOp | ops.CreateUniqueConstraintOp) -> Verb:
    if isinstance(operation, ops.CreateIndexOp):
        return _drop_index(operation)
    return _drop_constraint(operation.reverse())


def _drop_index(operation: ops.CreateIndexOp | ops.DropIndexOp) -> Verb:
    plain = ops.DropIndexOp(str(operation.index_name), operation.table_name, schema=operation.schema)
    return Verb("drop_index_concurrently", like=plain)


def _drop_constraint(operation: ops.DropConstraintOp) -> Verb:
    return Verb("drop_constraint_if_exists", like=operation)


def _add_constraint(operation: ops.AddConstraintOp) -> list[MigrateOperation]:
    schema, table = key(operation)
    validate = Verb("validate_constraint", _constraint_name(operation), table, schema=schema)
    match operation:
        case ops.CreateUniqueConstraintOp():
            return [_build(operation)]
        case ops.CreateForeignKeyOp():
            return [Verb("create_foreign_key_not_valid", like=operation), validate]
        case ops.CreateCheckConstraintOp():
            operation.condition = same_sql.as_typed(operation.condition)
            return [Verb("create_check_constraint_not_valid", like=operation), validate]
    return [operation]


def _column_names(operation: ops.CreateTableOp) -> list[str]:
    return sorted(column.name for column in operation.columns if isinstance(column, sa.Column))
