"""How does a column change what numbers it: a sequence of its own (serial), an identity, or nothing?

The numbers go on where they were.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic.operations import MigrateOperation, ops

from railhead.autogenerate.files import CHANGE, ProposedChange
from railhead.autogenerate.given import Given, alter, table_of
from railhead.autogenerate.render import Remark, Renumbered, as_written, key
from railhead.autogenerate.statements import Serial, Statement
from railhead.postgres.quoting import literal, quoted

_WIDTHS = {"SMALLINT": "smallint", "INTEGER": "integer"}


class Numbering:
    """Sequences and identities of columns."""

    def __init__(self, given: Given) -> None:
        """Plan for this proposal."""
        self._given = given

    def identity(self, operation: ops.AlterColumnOp) -> ProposedChange:
        """Make the column an identity, another one, or none."""
        was = operation.existing_server_default
        default = alter(operation, modify_server_default=operation.modify_server_default)
        default.existing_server_default = was
        forth = Renumbered(default, was if isinstance(was, sa.Identity) else None)
        table = literal(".".join(as_written(part) for part in (operation.schema, operation.table_name) if part))
        column = operation.column_name
        source = f"(SELECT max({as_written(column)}) FROM {table[1:-1]})"
        next_number = f"SELECT setval(pg_get_serial_sequence({table}, {literal(column)}), {source})"
        remark = Remark("The numbers start at 1. To go on behind those that are there:", f"op.execute({next_number!r})")
        remarks = [] if isinstance(was, sa.Identity) else [remark]
        return ProposedChange(CHANGE, key(operation), [forth, *remarks], [forth.reverse()], locks=True)

    def changed(self, operation: ops.AlterColumnOp, old: Any, new: Any) -> ProposedChange:
        """Go from one way of numbering to another."""
        forth, back = self._between(operation, old, new), self._between(operation, new, old)
        return ProposedChange(CHANGE, key(operation), forth, back, locks=True)

    def around(
        self, operation: ops.AlterColumnOp, old: Any, new: Any
    ) -> tuple[list[MigrateOperation], list[MigrateOperation]]:
        """Return what comes before and behind a change of type when numbers come, or go for a value; nothing for values alone."""
        before: list[MigrateOperation] = []
        after: list[MigrateOperation] = []
        if isinstance(old, Serial | sa.Identity):
            before = self._between(operation, old, None)
        if isinstance(new, Serial | sa.Identity):
            after = self._between(operation, None, new)
        if (before or after) and not isinstance(old, Serial | sa.Identity) and old:
            before = [alter(operation, modify_server_default=None)]
        if (before or after) and not isinstance(new, Serial | sa.Identity) and new:
            after = [alter(operation, modify_server_default=new)]
        return before, after

    def wider(self, operation: ops.AlterColumnOp, serial: Serial) -> Statement:
        """Give the sequence of a column the column's new type."""
        type_ = self._width(operation.modify_type)
        return self._run(operation, f"ALTER SEQUENCE {serial.sequence} AS {type_}")

    def _between(self, operation: ops.AlterColumnOp, old: Any, new: Any) -> list[MigrateOperation]:
        table, column = table_of(operation), quoted(operation.column_name)
        place = f"pg_get_serial_sequence({literal(table)}, {literal(operation.column_name)})"
        alter_column = f"ALTER TABLE {table} ALTER COLUMN {column}"
        statements: list[str] = []
        match old, new:
            case Serial(), sa.Identity():
                name = _bare(old.sequence)
                kept = _beside(old.sequence, f"{name}_old"[-63:])
                statements = [
                    f"{alter_column} DROP DEFAULT",
                    f"ALTER SEQUENCE {old.sequence} RENAME TO {quoted(_bare(kept))}",
                    f"{alter_column} ADD {self._identity(new)}",
                    f"SELECT setval({place}, pg_sequence_last_value({literal(kept)}::regclass))",
                    f"DROP SEQUENCE {kept}",
                ]
            case sa.Identity(), Serial():
                kept = _beside(new.sequence, f"{_bare(new.sequence)}_new"[-63:])
                statements = [
                    f"CREATE SEQUENCE {kept} AS {self._width(operation.existing_type)}",
                    f"SELECT setval({literal(kept)}, pg_sequence_last_value({place}::regclass))",
                    f"{alter_column} DROP IDENTITY",
                    f"ALTER SEQUENCE {kept} RENAME TO {quoted(_bare(new.sequence))}",
                    f"ALTER SEQUENCE {new.sequence} OWNED BY {table}.{column}",
                    f"{alter_column} SET DEFAULT {new.arg}",
                ]
            case _, Serial():
                dropped = [f"{alter_column} DROP DEFAULT"] if old else []
                statements = [
                    *dropped,
                    f"CREATE SEQUENCE {new.sequence} AS {self._width(operation.existing_type)} OWNED BY {table}.{column}",
                    f"SELECT setval({literal(new.sequence)}, max({column})) FROM {table} HAVING max({column}) > 0",
                    f"{alter_column} SET DEFAULT {new.arg}",
                ]
            case Serial(), _:
                statements = [f"{alter_column} DROP DEFAULT", f"DROP SEQUENCE {old.sequence}"]
            case sa.Identity(), _:
                statements = [f"{alter_column} DROP IDENTITY"]
            case _, sa.Identity():
                statements = [f"{alter_column} ADD {self._identity(new)}"]
        steps: list[MigrateOperation] = [self._run(operation, *statements)]
        if new and not isinstance(new, Serial | sa.Identity):
            steps.append(alter(operation, modify_server_default=new))
        return steps

    def _run(self, operation: ops.AlterColumnOp, *statements: str) -> Statement:
        return Statement("", "", statements, [], place=key(operation))

    def _width(self, type_: Any) -> str:
        return _WIDTHS.get(self._given.server.name_of(type_), "bigint")

    def _identity(self, identity: sa.Identity) -> str:
        compiler: Any = self._given.context.dialect.ddl_compiler(self._given.context.dialect, None)  # type: ignore[arg-type]
        return str(compiler.visit_identity_column(identity))


def _bare(sequence: str) -> str:
    """Return the name of a sequence without its schema."""
    return sequence.rpartition(".")[2].strip('"')


def _beside(sequence: str, name: str) -> str:
    """Return another name in the same schema, as SQL names it."""
    schema, dot, _ = sequence.rpartition(".")
    return f"{schema}{dot}{as_written(name)}"
