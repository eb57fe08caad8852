"""What do rows that are there get in a new column, as SQL?"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic.runtime.migration import MigrationContext

from railhead.postgres.quoting import literal


def of(column: sa.Column[object], context: MigrationContext) -> str | None:
    """Return what models.py says a new row gets, as SQL: the server's default, or Python's when it is a plain value."""
    default = column.server_default
    if isinstance(default, sa.DefaultClause):
        given = default.arg
        return literal(given) if isinstance(given, str) else _sql(given, context)
    python = column.default
    if python is None or not isinstance(python, sa.ColumnDefault) or python.is_callable or python.is_sequence:
        return None
    if python.is_clause_element:
        return _sql(python.arg, context)
    try:
        return _sql(sa.literal(python.arg, column.type), context)
    except (NotImplementedError, sa.exc.CompileError):
        return None


def _sql(expression: sa.ClauseElement, context: MigrationContext) -> str:
    compiled = expression.compile(dialect=context.dialect, compile_kwargs={"literal_binds": True})
    return str(compiled).replace("%%", "%")


def neutral(type_: sa.types.TypeEngine[Any]) -> tuple[str, ...]:
    """Return values of the type that mean nothing in particular, the plainest first; none where there are none."""
    match type_:
        case sa.Enum():
            return tuple(literal(str(value)) for value in type_.enums)
        case sa.Boolean():
            return "false", "true"
        case sa.Integer() | sa.Numeric() | sa.Float():
            return "0", "1", "-1"
        case sa.String() | sa.LargeBinary():
            return "''", "'x'"
        case sa.DateTime():
            return ("now()",)
        case sa.Date():
            return ("current_date",)
        case sa.Uuid():
            return ("gen_random_uuid()",)
        case sa.JSON() | sa.ARRAY():
            return ("'{}'",)
        case sa.Interval():
            return "'0'", "'1 day'"
    return ()


def of_each_row(type_: sa.types.TypeEngine[Any], number: str | None) -> str | None:
    """Return a value that is another one in each row, given a number that is; None where there is none."""
    match type_:
        case sa.Uuid():
            return "gen_random_uuid()"
        case sa.Integer() | sa.Numeric():
            return number
        case sa.String():
            return f"{number}::text" if number else None
    return None
