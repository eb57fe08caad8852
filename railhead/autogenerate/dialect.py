"""What must be asked of PostgreSQL otherwise than Alembic does?"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, TypeVar

import sqlalchemy as sa
from alembic.autogenerate.api import AutogenContext
from alembic.ddl.impl import ComparisonResult
from alembic.ddl.postgresql import PostgresqlImpl
from alembic.operations import ops
from alembic.runtime.plugins import Plugin
from alembic.util import PriorityDispatchResult
from sqlalchemy.dialects.postgresql import JSONB

from railhead.autogenerate import compare

Compared = TypeVar("Compared", sa.CheckConstraint, sa.Index, sa.UniqueConstraint)
_COLLATION = re.compile(r'\s+COLLATE\s+(?:"[^"]*"|\w+)(?:\.(?:"[^"]*"|\w+))?', re.IGNORECASE)


def compare_json_default(
    context: AutogenContext,
    alter: ops.AlterColumnOp,
    _schema: str | None,
    _table: str,
    _name: str,
    there: sa.Column[object],
    wanted: sa.Column[object],
) -> PriorityDispatchResult:
    """Compare defaults of the type json, which Alembic cannot: it asks PostgreSQL for `a = b`, and json has no `=`."""
    defaults = there.server_default, wanted.server_default
    if type(wanted.type) is not sa.JSON or not all(isinstance(default, sa.DefaultClause) for default in defaults):
        return PriorityDispatchResult.CONTINUE
    assert context.connection is not None
    old, new = (
        sa.cast(sa.literal(arg) if isinstance(arg, str) else arg, JSONB)
        for arg in (default.arg for default in defaults if isinstance(default, sa.DefaultClause))
    )
    if not context.connection.scalar(sa.select(old == new)):
        alter.modify_server_default = wanted.server_default
    return PriorityDispatchResult.STOP


_SERIALS = """
SELECT 'nextval(' || quote_literal(s.oid::regclass::text) || '::regclass)', a.attname
  FROM pg_class s
  JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = s.oid AND d.refclassid = 'pg_class'::regclass
  JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
 WHERE s.relkind = 'S'
"""


class _Impl(PostgresqlImpl):
    """Alembic's PostgreSQL, which writes SQL expressions into files as text() and the driver read them back."""

    __dialect__ = "postgresql"  # takes the place of Alembic's own for whoever imports this module

    def autogen_column_reflect(self, inspector: sa.Inspector, table: sa.Table, column_info: dict[str, Any]) -> None:  # noqa: ARG002
        """Leave out the default of a serial column, as Alembic does, which asks PostgreSQL for each: a third of its time."""
        if not isinstance(column_info["type"], sa.INTEGER | sa.BIGINT):
            return  # Alembic keeps the default of a smallserial
        serials = inspector.info_cache.get(_SERIALS)
        if serials is None:
            with inspector._operation_context() as connection:  # noqa: SLF001  as Alembic's own question
                serials = inspector.info_cache[_SERIALS] = {tuple(row) for row in connection.execute(sa.text(_SERIALS))}
        if (column_info.get("default"), column_info["name"]) in serials:
            del column_info["default"]

    def render_ddl_sql_expr(
        self,
        expr: sa.ClauseElement,
        is_server_default: bool = False,  # noqa: FBT002  Alembic's signature
        is_index: bool = False,  # noqa: FBT002
        **kw: object,
    ) -> str:
        """Return the expression with single percent signs, and `:name` escaped where it would become a parameter."""
        sql = super().render_ddl_sql_expr(expr, is_server_default=is_server_default, is_index=is_index, **kw)
        sql = sql.replace("%%", "%")
        return sql if is_index else re.sub(r"(?<![:\w$\\]):(?=[\w$])", r"\\:", sql)

    def compare_server_default(
        self,
        inspector_column: sa.Column[Any],
        metadata_column: sa.Column[Any],
        rendered_metadata_default: str | None,
        rendered_inspector_default: str | None,
    ) -> bool:
        """Compare a text with quotes in it as what it is; Alembic makes SQL of it that cannot be read."""
        wanted = getattr(metadata_column.server_default, "arg", None)
        if not isinstance(wanted, str) or "'" not in wanted.strip("'") or rendered_inspector_default is None:
            alembics: Callable[..., bool] = super().compare_server_default
            return alembics(inspector_column, metadata_column, rendered_metadata_default, rendered_inspector_default)
        literal = "'" + wanted.replace("'", "''") + "'"
        same = sa.literal_column(rendered_inspector_default) == sa.literal_column(literal)
        assert self.connection is not None
        return not self.connection.scalar(sa.select(same))

    def compare_check_constraint(self, wanted: sa.CheckConstraint, there: sa.CheckConstraint) -> ComparisonResult:
        """Compare what the two check, too."""
        found = super().compare_check_constraint(wanted, there)
        return self._closer(found, compare.check_differs, wanted)

    def compare_indexes(self, wanted: sa.Index, there: sa.Index) -> ComparisonResult:
        """Compare predicate, covered columns, kind and operator classes, too."""
        return self._closer(super().compare_indexes(wanted, there), compare.index_differs, wanted)

    def _cleanup_index_expr(self, index: sa.Index, expr: str) -> str:
        """Leave the collation to PostgreSQL: SQLAlchemy does not reflect that of a column."""
        alembics: Callable[..., str] = super()._cleanup_index_expr
        return alembics(index, _COLLATION.sub("", expr))

    def compare_unique_constraint(self, wanted: sa.UniqueConstraint, there: sa.UniqueConstraint) -> ComparisonResult:
        """Compare until when a violation may last, too."""
        found = super().compare_unique_constraint(wanted, there)
        return self._closer(found, compare.deferring_differs, wanted)

    def _closer(
        self, found: ComparisonResult, differs: Callable[[sa.Connection, Compared], str | None], wanted: Compared
    ) -> ComparisonResult:
        """Ask PostgreSQL where Alembic sees no difference; only for `revision` and `check`: others may not write, not even there."""
        if not found.is_equal or "revision_context" not in self.context_opts or wanted.name is None:
            return found
        assert self.connection is not None
        difference = differs(self.connection, wanted)
        return ComparisonResult.Different(difference) if difference else found


PLUGIN = Plugin("railhead.json_defaults")
