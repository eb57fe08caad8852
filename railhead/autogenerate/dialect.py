"""What must be asked of PostgreSQL otherwise than Alembic does?"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic.ddl.impl import ComparisonResult
from alembic.ddl.postgresql import PostgresqlImpl
from alembic.runtime.plugins import Plugin
from alembic.util import DispatchPriority

from railhead.autogenerate import columns, compare, facts, objects, tables
from railhead.autogenerate.facts import Place, TableFacts
from railhead.autogenerate.render import escaped_sql
from railhead.operations.types import SqlType


class _Impl(PostgresqlImpl):
    """Alembic's PostgreSQL, which writes SQL expressions into files as text() and the driver read them back."""

    __dialect__ = "postgresql"  # takes the place of Alembic's own for whoever imports this module

    _facts: dict[Place, TableFacts] | None = None

    def facts(self) -> dict[Place, TableFacts]:
        """Return what is there beside what SQLAlchemy reflects; asked once."""
        if self._facts is None:
            assert self.connection is not None
            self._facts = facts.tables(sa.inspect(self.connection))
        return self._facts

    def autogen_column_reflect(self, inspector: sa.Inspector, table: sa.Table, column_info: dict[str, Any]) -> None:
        """Leave out the default of a serial column, as Alembic does, which asks for each; name the types that SQLAlchemy does not know."""
        place = (table.schema or str(inspector.default_schema_name), table.name)
        found = self.facts().get(place)
        column = found.columns.get(column_info["name"]) if found else None
        if column is not None and column.serial:
            column_info.pop("default", None)
        if column is not None and isinstance(column_info["type"], sa.types.NullType):
            column_info["type"] = SqlType(column.type)  # SQLAlchemy does not know it: an extension's

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
        return sql if is_index else escaped_sql(sql)

    def compare_check_constraint(self, wanted: sa.CheckConstraint, there: sa.CheckConstraint) -> ComparisonResult:
        """Compare what the two check."""
        assert self.connection is not None
        return _result(compare.check_differs(self.connection, wanted, str(there.sqltext)))

    def compare_indexes(self, wanted: sa.Index, there: sa.Index) -> ComparisonResult:
        """Compare kind, expressions, operator classes, order, predicate, covered columns and parameters."""
        assert self.connection is not None
        found = self._table(there.table)
        name = str(there.name)
        if found is None or name not in found.indexes:
            return super().compare_indexes(wanted, there)
        return _result(compare.index_differs(self.connection, wanted, found.indexes[name]))

    def compare_unique_constraint(self, wanted: sa.UniqueConstraint, there: sa.UniqueConstraint) -> ComparisonResult:
        """Compare until when a violation may last, and what is covered, too."""
        result, found = super().compare_unique_constraint(wanted, there), self._table(there.table)
        constraint = found.constraints.get(str(there.name)) if found else None
        if not result.is_equal or found is None or constraint is None:
            return result
        return _result(compare.unique_differs(wanted, constraint, found.indexes.get(constraint.name)))

    def correct_for_autogen_constraints(self, conn_uniques: Any, *others: Any) -> None:
        """Let the constraints that are there know what SQLAlchemy does not reflect, so that the way back leads to them."""
        super().correct_for_autogen_constraints(conn_uniques, *others)  # type: ignore[no-untyped-call]
        for unique in conn_uniques:
            found = self._table(unique.table)
            constraint = found.constraints.get(str(unique.name)) if found else None
            if constraint is not None and constraint.deferrable:
                unique.deferrable = True
                unique.initially = "DEFERRED" if constraint.deferred else None

    def _table(self, table: sa.FromClause | None) -> TableFacts | None:
        schema = getattr(table, "schema", None) or str(self.dialect.default_schema_name)
        return self.facts().get((schema, str(getattr(table, "name", ""))))


def _result(difference: str | None) -> ComparisonResult:
    return ComparisonResult.Different(difference) if difference else ComparisonResult.Equal()


PLUGIN = Plugin("railhead.comparison")
PLUGIN.add_autogenerate_comparator(columns.compare_type, "column", "types")
PLUGIN.add_autogenerate_comparator(columns.compare_default, "column", "server_default", priority=DispatchPriority.FIRST)
PLUGIN.add_autogenerate_comparator(tables.compare_table, "table", "railhead")
PLUGIN.add_autogenerate_comparator(objects.compare_objects, "schema", priority=DispatchPriority.LAST)
