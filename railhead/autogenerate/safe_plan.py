"""What does each proposed change become on a table that is in use?

Alembic proposes operations; here each becomes a `Change`: the safe way forth and back, and the part of the work it belongs to.
Asks PostgreSQL with temporary tables what would rewrite a table, and leaves nothing there.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator

import sqlalchemy as sa
from alembic.operations import MigrateOperation, ops
from alembic.runtime.migration import MigrationContext
from alembic_postgresql_enum.operations.add_enum_values import AddEnumValuesOp
from alembic_postgresql_enum.operations.create_enum import CreateEnumOp
from alembic_postgresql_enum.operations.drop_enum import DropEnumOp
from alembic_postgresql_enum.operations.sync_enum_values import SyncEnumValuesOp

from railhead.autogenerate import comments, enums, fill_values, foreign_key_cycles
from railhead.autogenerate.files import CHANGE, FINISH, PREPARE, ProposedChange
from railhead.autogenerate.probe import Probe
from railhead.autogenerate.render import Key, Remark, Renumbered, Retyped, Verb, as_written, key
from railhead.postgres.quoting import literal


def changes(context: MigrationContext, proposed: ops.UpgradeOps) -> list[ProposedChange]:
    """Return what is to be done, in order. Read-only."""
    return _Proposal(context, proposed, Probe(context)).changes()


def safe_form(context: MigrationContext, operation: MigrateOperation, server: Probe) -> list[ProposedChange]:
    """Return what is done in the place of one operation on a table that is in use, in order; `server` knows what it would do. Read-only."""
    return _Proposal(context, ops.UpgradeOps([operation]), server).changes()


class _Proposal:
    """One proposal, and what is known of its tables."""

    def __init__(self, context: MigrationContext, proposed: ops.UpgradeOps, server: Probe) -> None:
        self._context = context
        self._proposed = [_named(one) for one in foreign_key_cycles.opened(_flat(proposed.ops))]
        self._created = {key(one) for one in self._proposed if isinstance(one, ops.CreateTableOp)}
        self._dropped = {key(one) for one in self._proposed if isinstance(one, ops.DropTableOp)}
        self._server = server
        self._partitioned = self._server.partitioned()
        self._replaced = _replaced(self._proposed)

    def changes(self) -> list[ProposedChange]:
        ordered = sorted(foreign_key_cycles.drops_last(self._proposed), key=self._rank)
        return [*self._renames(), *(change for one in ordered for change in self._changes(one))]

    def _rank(self, operation: MigrateOperation) -> int:
        """Types come before what uses them and go after it; what foreign keys refer to comes before and goes after them."""
        match operation:
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
                enums.settle(operation)
                return [enums.other_values(operation)]
            case _ if key(operation) in self._created | self._dropped and not isinstance(
                operation, ops.DropConstraintOp
            ):
                return [_plain(operation, locks=key(operation) in self._dropped)]
            case ops.CreateIndexOp() | ops.DropIndexOp():
                return self._index(operation)
            case ops.AddConstraintOp() | ops.DropConstraintOp():
                return self._constraint(operation)
            case ops.AddColumnOp():
                return self._add_column(operation)
            case ops.DropColumnOp():
                return self._drop_column(operation)
            case ops.AlterColumnOp():
                return self._alter_column(operation)
            case ops.CreateTableCommentOp() | ops.DropTableCommentOp():
                return [_plain(operation, locks=False)]
        return [_plain(operation)]

    def _index(self, operation: ops.CreateIndexOp | ops.DropIndexOp) -> list[ProposedChange]:
        if isinstance(operation, ops.CreateIndexOp):
            return [ProposedChange(FINISH, key(operation), [_build(operation)], [_drop_index(operation)])]
        return [ProposedChange(PREPARE, key(operation), [_drop_index(operation)], [_build(operation.reverse())])]

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
        return [
            ProposedChange(PREPARE, key(operation), [_drop_constraint(operation)], _add_constraint(operation.reverse()))
        ]

    def _add_column(self, operation: ops.AddColumnOp) -> list[ProposedChange]:
        column = operation.column
        rewrites = column.server_default is not None and self._server.rewrites_when_added(operation)
        if rewrites and isinstance(column.server_default, sa.Identity | sa.Computed):
            return [_plain(operation, comments.rewrites("adding this column", operation))]
        if not rewrites and (column.nullable or column.server_default is not None):
            return [_plain(operation)]
        return self._add_filled(operation, rewrites=rewrites)

    def _add_filled(self, operation: ops.AddColumnOp, *, rewrites: bool) -> list[ProposedChange]:
        """Three steps: a column that may be NULL, a value for each row, NOT NULL."""
        bare = _with_column(operation, nullable=True, server_default=None)
        column = operation.column
        forth: list[MigrateOperation] = [Remark(f"{column.name} may be NULL until the next file has filled it."), bare]
        if rewrites:
            forth[0] = Remark(
                f"PostgreSQL would write every row to add {column.name} with this default. So: the default for new rows",
                "here, and the rows that are there in batches in the next file.",
            )
            forth.append(_alter(operation, modify_server_default=column.server_default))
        changes = [ProposedChange(CHANGE, key(operation), forth, [operation.reverse()], locks=True)]
        finish = self._fill(operation, column)
        back: list[MigrateOperation] = []
        if not column.nullable:
            finish.append(_not_null("set_not_null", operation, column.name))
            back = [_not_null("drop_not_null", operation, column.name)]
        return [*changes, ProposedChange(FINISH, key(operation), finish, back)]

    def _drop_column(self, operation: ops.DropColumnOp) -> list[ProposedChange]:
        """Take the NOT NULL away first: then the release that no longer knows the column can already write."""
        way_back = operation.reverse()
        column = way_back.column
        if column.nullable or column.server_default is not None or column.primary_key:
            return [_plain(operation)]
        bare = _with_column(way_back, nullable=True)
        first = _not_null("drop_not_null", way_back, column.name)
        filled = [*self._fill(way_back, column), _not_null("set_not_null", way_back, column.name)]
        return [
            ProposedChange(PREPARE, key(operation), [first], filled),
            ProposedChange(CHANGE, key(operation), [operation], [bare], locks=True),
        ]

    def _alter_column(self, operation: ops.AlterColumnOp) -> list[ProposedChange]:
        changes = []
        if operation.modify_type is not None:
            changes.append(self._retype(operation))
        elif operation.modify_server_default is not False:
            changes.append(self._default(operation))
        if operation.modify_comment is not False:
            comment = _alter(operation, modify_comment=operation.modify_comment)
            comment.existing_comment = operation.existing_comment
            changes.append(_plain(comment, locks=False))
        if operation.modify_nullable is not None:
            changes.append(self._nullable(operation, nullable=operation.modify_nullable))
        return changes

    def _default(self, operation: ops.AlterColumnOp) -> ProposedChange:
        default = _alter(operation, modify_server_default=operation.modify_server_default)
        default.existing_server_default = operation.existing_server_default
        was = operation.existing_server_default
        if not isinstance(operation.modify_server_default, sa.Identity) and not isinstance(was, sa.Identity):
            return _plain(default)
        forth = Renumbered(default, was if isinstance(was, sa.Identity) else None)
        table = literal(".".join(as_written(part) for part in (operation.schema, operation.table_name) if part))
        column = operation.column_name
        source = f"(SELECT max({as_written(column)}) FROM {table[1:-1]})"
        next_number = f"SELECT setval(pg_get_serial_sequence({table}, {literal(column)}), {source})"
        remarks = (
            []
            if isinstance(was, sa.Identity)
            else [
                Remark("The numbers start at 1. To go on behind those that are there:", f"op.execute({next_number!r})")
            ]
        )
        return ProposedChange(CHANGE, key(operation), [forth, *remarks], [forth.reverse()], locks=True)

    def _nullable(self, operation: ops.AlterColumnOp, *, nullable: bool) -> ProposedChange:
        name = operation.column_name
        free, bound = (_not_null(verb, operation, name) for verb in ("drop_not_null", "set_not_null"))
        if nullable:
            return ProposedChange(
                PREPARE, key(operation), [free], [Remark("Fails while a row has NULL: give it a value first."), bound]
            )
        column = self._column(operation)
        value = fill_values.of(column, self._context) if column is not None else None
        fill = _backfill(operation, name, value) if value else None
        remark = Remark(
            "Fails while a row has NULL, and leaves nothing behind then. To give those rows a value first:",
            f"op.backfill({operation.table_name!r}, {f'{as_written(name)} = ...'!r}, {f'{as_written(name)} IS NULL'!r})",
        )
        return ProposedChange(FINISH, key(operation), [fill or remark, bound], [free])

    def _retype(self, operation: ops.AlterColumnOp) -> ProposedChange:
        """Change a type in its transaction, with the conversion and the default that PostgreSQL asks for."""
        back = operation.reverse()
        column = self._column(operation)
        new_default = operation.modify_server_default
        if new_default is False:
            new_default = column.server_default if column is not None else operation.existing_server_default
        forth, remark = self._converted(operation, new_default)
        backwards, _ = self._converted(back, operation.existing_server_default)
        return ProposedChange(CHANGE, key(operation), [*remark, *forth], backwards, locks=True)

    def _converted(
        self, operation: ops.AlterColumnOp, default: object
    ) -> tuple[list[MigrateOperation], list[MigrateOperation]]:
        """Return the operations that change the type, and what is to be said of them."""
        bare = _alter(operation, modify_type=operation.modify_type)
        rewrites, needs_using = self._server.effect_of_retyping(operation)
        with_default = bool(operation.existing_server_default) or bool(default)
        steps: list[MigrateOperation] = [bare]
        conversion = ""
        if needs_using:
            conversion = f"{as_written(operation.column_name)}::text::{self._server.name_of(operation.modify_type)}"
            steps = [Retyped(bare, conversion)]
        if with_default and (needs_using or default != operation.existing_server_default):
            if operation.existing_server_default:
                steps.insert(0, _alter(operation, modify_server_default=None))
            if default:
                steps.append(_alter(operation, modify_server_default=default))
        if rewrites:
            return steps, [comments.rewrites("this change of type", operation, conversion)]
        checks = self._server.checks_on(operation)
        return steps, [comments.checks(operation, checks)] if checks else []

    def _fill(self, operation: ops.AddColumnOp, column: sa.Column[object]) -> list[MigrateOperation]:
        """Return the backfill of a new column, with what is to be said of the value."""
        value = fill_values.of(column, self._context)
        if value:
            return [_backfill(operation, column.name, value)]
        guess = None if column.foreign_keys or self._is_unique(operation) else fill_values.neutral(column.type)
        if guess:
            return [
                Remark(f"{guess} is only a guess: which {column.name} is right for the rows that are there?"),
                _backfill(operation, column.name, guess),
            ]
        call = f"op.backfill({operation.table_name!r}, {f'{as_written(column.name)} = ...'!r}, {f'{as_written(column.name)} IS NULL'!r})"
        return [
            Remark(
                f"Which {column.name} is right for the rows that are there? Without one this stops at the first row:",
                call,
            )
        ]

    def _is_unique(self, operation: ops.AddColumnOp) -> bool:
        """Tell whether the proposal makes the column unique by itself, so that no one value can be right for all rows."""
        for other in self._proposed:
            if key(other) != key(operation):
                continue
            if isinstance(other, ops.CreateUniqueConstraintOp) and list(other.columns) == [operation.column.name]:
                return True
            if isinstance(other, ops.CreateIndexOp) and other.unique and len(other.columns) == 1:
                return True
        return False

    def _column(self, operation: ops.AlterColumnOp) -> sa.Column[object] | None:
        metadata = self._context.opts["target_metadata"]
        schema, name = key(operation)
        for table in metadata.tables.values():
            if table.name == name and table.schema in {schema, None if schema else self._server.default_schema}:
                found: sa.Column[object] | None = table.columns.get(operation.column_name)
                return found
        return None

    def _renames(self) -> Iterator[ProposedChange]:
        """Yield a remark for each thing that goes while another of the same shape comes."""
        added = [one for one in self._proposed if isinstance(one, ops.AddColumnOp)]
        for gone in [one for one in self._proposed if isinstance(one, ops.DropColumnOp)]:
            old = gone.reverse().column
            for come in added:
                if key(come) == key(gone) and self._server.name_of(come.column.type) == self._server.name_of(old.type):
                    yield ProposedChange(
                        CHANGE, key(gone), [comments.renamed_column(gone, old.name, come.column.name)], [], locks=True
                    )
        created = [one for one in self._proposed if isinstance(one, ops.CreateTableOp)]
        for table in [one for one in self._proposed if isinstance(one, ops.DropTableOp)]:
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


def _replaced(operations: Iterable[MigrateOperation]) -> dict[tuple[Key, str], ops.DropConstraintOp]:
    """Return the foreign keys and checks whose place a new one of the same name takes."""
    listed = list(operations)
    added = {
        (key(one), _constraint_name(one))
        for one in listed
        if isinstance(one, ops.CreateForeignKeyOp | ops.CreateCheckConstraintOp)
    }
    drops = [one for one in listed if isinstance(one, ops.DropConstraintOp)]
    return {place: one for one in drops if (place := (key(one), _constraint_name(one))) in added}


def _is_check(operation: ops.AddConstraintOp | ops.DropConstraintOp) -> bool:
    return isinstance(operation, ops.CreateCheckConstraintOp) or getattr(operation, "constraint_type", "") == "check"


def _named(operation: MigrateOperation) -> MigrateOperation:
    """Return the operation with the name that PostgreSQL would make up: what has no name cannot be taken back."""
    if isinstance(operation, ops.CreateForeignKeyOp):
        operation.kw.pop("use_alter", None)  # which is what it does
    if isinstance(operation, ops.CreateForeignKeyOp) and operation.constraint_name is None:
        operation.constraint_name = "_".join([operation.source_table, *operation.local_cols, "fkey"])[:63]
    if isinstance(operation, ops.CreateUniqueConstraintOp) and operation.constraint_name is None:
        operation.constraint_name = "_".join([operation.table_name, *operation.columns, "key"])[:63]
    if isinstance(operation, ops.CreateCheckConstraintOp) and operation.constraint_name is None:
        operation.constraint_name = f"{operation.table_name}_check"[:63]
    return operation


def _constraint_name(operation: MigrateOperation) -> str:
    return str(getattr(operation, "constraint_name", ""))


def _build(operation: ops.CreateIndexOp) -> Verb:
    return Verb("create_index_concurrently", like=operation)


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
            return [Verb("create_unique_constraint_concurrently", like=operation)]
        case ops.CreateForeignKeyOp():
            return [Verb("create_foreign_key_not_valid", like=operation), validate]
        case ops.CreateCheckConstraintOp():
            return [Verb("create_check_constraint_not_valid", like=operation), validate]
    return [operation]


def _not_null(verb: str, operation: ops.AddColumnOp | ops.AlterColumnOp, column: str) -> Verb:
    return Verb(verb, operation.table_name, column, schema=operation.schema)


def _backfill(operation: ops.AddColumnOp | ops.AlterColumnOp, column: str, value: str) -> Verb:
    name = as_written(column)
    return Verb("backfill", operation.table_name, f"{name} = {value}", f"{name} IS NULL", schema=operation.schema)


def _with_column(operation: ops.AddColumnOp, **changed: object) -> ops.AddColumnOp:
    """Return the same operation on a copy of its column with other properties."""
    other = copy.copy(operation)
    other.column = copy.copy(operation.column)
    for name, value in changed.items():
        setattr(other.column, name, value)
    return other


def _alter(operation: ops.AddColumnOp | ops.AlterColumnOp, **modified: object) -> ops.AlterColumnOp:
    """Return an operation that alters one thing of the same column."""
    if isinstance(operation, ops.AddColumnOp):
        column = operation.column
    else:
        column = sa.Column(operation.column_name, operation.existing_type)
    altered = ops.AlterColumnOp(operation.table_name, column.name, schema=operation.schema, existing_type=column.type)
    for name, value in modified.items():
        setattr(altered, name, value)
    return altered


def _column_names(operation: ops.CreateTableOp) -> list[str]:
    return sorted(one.name for one in operation.columns if isinstance(one, sa.Column))
