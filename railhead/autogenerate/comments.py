"""What must the reader of a generated file be told?"""

from __future__ import annotations

from collections.abc import Sequence

from alembic.operations import ops

from railhead.autogenerate.render import Remark, as_written


def rewrites(what: str, operation: ops.AddColumnOp | ops.AlterColumnOp, conversion: str = "") -> Remark:
    """Return what is to be said where every row is written; `what` is what asks for it, `conversion` what becomes of a value."""
    name = operation.column.name if isinstance(operation, ops.AddColumnOp) else operation.column_name
    table, new = operation.table_name, f"{name}_new"
    rest = f"{as_written(new)} IS NULL AND {as_written(name)} IS NOT NULL"
    if isinstance(operation, ops.AddColumnOp):
        return Remark(
            f"PostgreSQL writes every row for {what} while nobody can read or write {table}: fine for a small table.",
            "For a large one add a plain column that may be NULL, let the application write it, and op.backfill the rest.",
        )
    return Remark(
        f"PostgreSQL writes every row for {what} while nobody can read or write {table}: fine for a small table.",
        f"For a large one add {new} with the new type, let the application write both, and in a file of its own:",
        f"op.backfill({table!r}, {f'{as_written(new)} = {conversion or as_written(name)}'!r}, {rest!r})",
        f"Then read {new} in the next release, and drop {name} in the one after.",
    )


def checks(operation: ops.AlterColumnOp, checks: Sequence[str]) -> Remark:
    """Return what is to be said where these checks are looked at again for every row."""
    table = operation.table_name
    return Remark(
        f"PostgreSQL reads every row for {' and '.join(checks)} while nobody can read or write {table}: fine for a small table.",
        "For a large one this comes between two files: the one before takes the checks away,",
        *(f"op.drop_constraint_if_exists({name!r}, {table!r})" for name in checks),
        "and the one behind gives them back, with op.create_check_constraint_not_valid and op.validate_constraint.",
    )


def renamed_column(operation: ops.DropColumnOp, old: str, new: str) -> Remark:
    """Return the question whether a column that goes is one that comes."""
    schema = f", schema={operation.schema!r}" if operation.schema else ""
    return Remark(
        f"Was {old} renamed to {new}? What follows drops {old} with its data. Then write this instead, and its opposite in downgrade:",
        f"op.alter_column({operation.table_name!r}, {old!r}, new_column_name={new!r}{schema})",
    )


def renamed_table(old: str, new: str) -> Remark:
    """Return the question whether a table that goes is one that comes."""
    return Remark(
        f"Was {old} renamed to {new}? What follows drops {old} with its rows. Then write this instead, and its opposite in downgrade:",
        f"op.rename_table({old!r}, {new!r})",
    )


def rebuilds(operation: ops.AlterColumnOp, names: Sequence[str]) -> Remark:
    """Return what is to be said where these indexes are built anew under the lock."""
    return Remark(
        f"PostgreSQL builds {' and '.join(names)} anew while nobody can read or write {operation.table_name}: fine for a small table.",
        "For a large one drop what may go before this, and build it behind with op.create_index_concurrently; what must stay unique",
        f"rather gets a new column: {operation.column_name}_new with the new type and its own index, filled with op.backfill.",
    )


def kept_views(column: str, names: Sequence[str]) -> Remark:
    """Return what is to be said of views that keep a column from changing its type."""
    names = [f"materialized view {name}" for name in names]
    return Remark(
        f"PostgreSQL refuses this while {' and '.join(names)} needs {column}: drop it before, and make it again behind, with its",
        "indexes; filling it takes as long as its query.",
    )


def remade_views(column: str, names: Sequence[str]) -> Remark:
    """Return what is to be said of views that are dropped and made again."""
    what = "The view" if len(names) == 1 else "The views"
    return Remark(
        f"{what} {', '.join(names)} on {column}, without which PostgreSQL does not change its type, are made again behind it:".replace(
            "are made", "is made" if len(names) == 1 else "are made"
        ),
        "as they are now, but for privileges and comments, which are lost. GRANT again what others need.",
    )


def no_conversion(table: str, name: str, new: str, type_: str, referring: Sequence[str]) -> Remark:
    """Return what is to be said where a type cannot become another one."""
    lines = [
        f"Not done: no value of {name} can become {type_}. The way is a new column, over several releases:",
        f"1. op.add_column({table!r}, ...) for {new}, which may be NULL, with a default for new rows; let the application write it.",
        f"2. In a file of its own: op.backfill({table!r}, {f'{as_written(new)} = ...'!r}, {f'{as_written(new)} IS NULL'!r}).",
    ]
    if referring:
        lines.append(f"3. The same for what refers to it, with the values looked up there: {', '.join(referring)}.")
    lines.append(
        f"{3 + bool(referring)}. Read {new} instead, make it the key where {name} was, and drop {name} in the release after."
    )
    return Remark(*lines)


def leaning(name: str, keys: Sequence[str]) -> Remark:
    """Return what is to be said of foreign keys that need a unique constraint which goes."""
    return Remark(
        f"The foreign key {' and '.join(keys)} needs {name}, and PostgreSQL does not let it go meanwhile. In a file before this one",
        "drop that key with op.drop_constraint_if_exists; in one behind, op.create_foreign_key_not_valid and op.validate_constraint.",
    )


def needed_key(name: str, keys: Sequence[str]) -> Remark:
    """Return what is to be said of foreign keys that need a primary key which is to be another one."""
    return Remark(
        f"Not done: the primary key {name} becomes another one, and the foreign key {' and '.join(keys)} needs it. In files of their own:",
        "drop that key with op.drop_constraint_if_exists; let the primary key change with op.create_primary_key_concurrently,",
        "and what was the key be unique; then op.create_foreign_key_not_valid and op.validate_constraint.",
    )
