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
