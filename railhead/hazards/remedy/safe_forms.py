"""Which operations of a revision take the place of those that block? What was found is known; the planner of autogenerate does the rest."""

from __future__ import annotations

import copy
import re
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from functools import partial
from typing import Any

import sqlalchemy as sa
from alembic.autogenerate.api import AutogenContext
from alembic.autogenerate.render import render_op_text
from alembic.operations import MigrateOperation, ops
from alembic.operations.schemaobj import SchemaObjects
from alembic.runtime.migration import MigrationContext

from railhead.autogenerate import layout, safe_plan
from railhead.autogenerate.files import CHANGE, FINISH, PREPARE, ProposedChange
from railhead.autogenerate.probe import Probe
from railhead.autogenerate.render import Key, Retyped, Verb, as_written, key
from railhead.hazards import table_names
from railhead.hazards.remedy import raw_sql
from railhead.hazards.remedy.recording import Call, NotRewritten
from railhead.hazards.rules import Finding

_ADDS = {
    ops.CreateCheckConstraintOp: "scans-under-lock",
    ops.CreateForeignKeyOp: "foreign-key-blocks-writes",
    ops.CreateIndexOp: "index-blocks-writes",
    ops.CreateUniqueConstraintOp: "index-blocks-writes",
}
"""What is found where one of these blocks."""

_OPTIONS = {
    "alembic_module_prefix": "op.",
    "sqlalchemy_module_prefix": "sa.",
    "user_module_prefix": None,
    "target_metadata": sa.MetaData(),
}


class SafeForms:
    """What was found in a revision, and what that makes of its operations."""

    def __init__(self, findings: Collection[Finding]) -> None:
        self.words: list[str] = []
        """What takes several releases."""
        self._findings = findings
        self._context = MigrationContext.configure(dialect_name="postgresql", opts=_OPTIONS)
        self._written = AutogenContext(self._context, autogenerate=False)
        self._server = _Known(self._context, partial(self._is_found, "rewrites-table"))
        self._asked: set[Finding] = set()
        self._mended: set[Finding] = set()

    @property
    def left(self) -> tuple[Finding, ...]:
        """Return what was found and is neither rewritten nor put into words; a split mends what is not repeatable."""
        return tuple(
            finding for finding in self._findings if finding not in self._mended and finding.slug != "not-repeatable"
        )

    def of(self, call: Call) -> list[ProposedChange] | None:
        """Return what is done instead, in order; None where a call may stay as it is."""
        if isinstance(call.operation, Verb):
            return None
        self._asked = set()
        pieces = [*self._pieces(call)]
        changes = [self._safe(piece, outside=call.outside) for piece in pieces]
        if not any(changes):
            return None
        self._mended |= self._asked
        return [
            change
            for piece, safe in zip(pieces, changes, strict=True)
            for change in safe or [ProposedChange(CHANGE, key(piece), [piece], [])]
        ]

    def back_of(self, operation: MigrateOperation) -> Sequence[MigrateOperation]:
        """Return the way back of a verb that a revision calls already, where it is certain."""
        like = operation.like if isinstance(operation, Verb) else None
        if isinstance(like, ops.CreateIndexOp | ops.AddConstraintOp) or _is_not_null(like):
            assert like is not None
            return self._planned(like)[-1].back
        return ()

    def _planned(self, operation: MigrateOperation) -> list[ProposedChange]:
        return safe_plan.safe_form(self._context, operation, self._server)

    def _safe(self, operation: MigrateOperation, *, outside: bool) -> list[ProposedChange] | None:
        """Return the changes in which something leaves the transaction; None where nothing has to."""
        if isinstance(operation, Verb):
            return [ProposedChange(FINISH, key(operation), [operation], [])]
        if self._blocks(operation) or (outside and isinstance(operation, ops.CreateIndexOp | ops.DropIndexOp)):
            changes = self._planned(operation)
            return changes if any(leaves(change) for change in changes) else None
        return None

    def _blocks(self, operation: MigrateOperation) -> bool:
        if isinstance(operation, ops.CreateIndexOp) and operation.kw.pop("postgresql_concurrently", False):
            operation.if_not_exists = None
            return True
        slug = _ADDS.get(type(operation))
        if isinstance(operation, ops.AddColumnOp):
            slug = "rewrites-table" if operation.column.server_default is not None else None
        elif _is_not_null(operation):
            slug = "scans-under-lock"
        return slug is not None and self._is_found(slug, operation)

    def _pieces(self, call: Call) -> Iterator[MigrateOperation]:
        """Yield the operations that one asks for at once."""
        operation = call.operation
        match operation:
            case ops.ExecuteSQLOp() if call.plain:
                yield self._of_sql(call.sql or "") or operation
            case ops.AddColumnOp() if not operation.column.primary_key:
                yield from self._column(operation)
            case ops.AlterColumnOp(modify_type=type_) if type_ is not None and self._is_found(
                "rewrites-table", operation
            ):
                self.words.append(self._retyped(operation))
                self._mended |= self._asked
                yield operation
            case ops.AlterColumnOp(modify_name=None) if _is_not_null(operation):
                rest = copy.copy(operation)
                rest.modify_nullable = None
                if rest.has_changes():
                    yield whole(rest)
                yield ops.AlterColumnOp(
                    operation.table_name, operation.column_name, schema=operation.schema, modify_nullable=False
                )
            case _:
                yield operation

    def _of_sql(self, sql: str) -> MigrateOperation | None:
        index = raw_sql.index(sql)
        if index is not None:
            return index if self._is_found("index-blocks-writes", index) else None
        batches = raw_sql.backfill(sql)
        return batches if batches is not None and self._has("writes-rows", batches.args[0], batches.schema) else None

    def _column(self, operation: ops.AddColumnOp) -> Iterator[MigrateOperation]:
        """Yield a new column without what else it brings with it, and that by itself."""
        column = operation.column._copy()  # noqa: SLF001  as Alembic copies columns
        table = SchemaObjects(self._context).table(operation.table_name, column, schema=operation.schema)
        checks = [constraint for constraint in table.constraints if not isinstance(constraint, sa.PrimaryKeyConstraint)]
        brought = [
            ops.AddConstraintOp.from_constraint(constraint)
            for constraint in sorted(checks, key=lambda constraint: type(constraint).__name__)
        ]
        yield operation
        yield from brought
        yield from (ops.CreateIndexOp.from_index(index) for index in table.indexes)

    def _retyped(self, operation: ops.AlterColumnOp) -> str:
        """Return the three steps to another type, in words and with the reader's names."""
        table, name, schema = operation.table_name, operation.column_name, operation.schema
        new, old, filled = f"{name}_new", as_written(name), as_written(f"{name}_new")
        column: sa.Column[Any] = sa.Column(new, operation.modify_type, nullable=True)
        value = operation.kw.get("postgresql_using") or old
        fill = Verb("backfill", table, f"{filled} = {value}", f"{filled} IS NULL AND {old} IS NOT NULL", schema=schema)
        place = ".".join(part for part in (schema, table, name) if part)
        return (
            f"another type for {place} takes three steps, each in a release that works with the one before:\n"
            f"1. a column beside it, which the application writes together with {name}:\n"
            f"{self.code(ops.AddColumnOp(table, column, schema=schema))}\n"
            f"2. the rows that are there, in a revision of its own:\n"
            f"{self.code(fill)}\n"
            f"3. the application reads and writes {new} only; a release later:\n"
            f"{self.code(ops.DropColumnOp(table, name, schema=schema))}"
        )

    def code(self, operation: MigrateOperation) -> str:
        """Return an operation as it is written in a file. Raises NotRewritten where nobody knows how."""
        try:
            return layout.tidy(render_op_text(self._written, operation), "")
        except (NotImplementedError, ValueError) as error:
            raise NotRewritten(f"{type(operation).__name__.removesuffix('Op')} cannot be written as code") from error

    def imports(self, names: Iterable[str], code: str) -> list[str]:
        """Return the import lines that give these names, as far as they are known."""
        lines = {"sa": "import sqlalchemy as sa", "op": "from alembic import op"}
        lines |= {line.split()[-1]: line for line in self._written.imports}
        modules = {match for match in re.findall(r"[\w.]+(?=\.\w+)", code) if match in sys.modules}
        own = {name: f"import {module}" for name in names for module in modules if module.partition(".")[0] == name}
        return sorted(line for name in names if (line := lines.get(name) or own.get(name)))

    def _is_found(self, slug: str, operation: MigrateOperation) -> bool:
        schema, table = key(operation)
        return self._has(slug, table, schema)

    def _has(self, slug: str, table: str, schema: str | None) -> bool:
        findings = [
            finding for finding in self._findings if finding.slug == slug and _is_same(finding.table, table, schema)
        ]
        self._asked.update(findings)
        return bool(findings)


class _Known(Probe):
    """In the place of a database that is asked: what was found on one before. Of partitioned tables nothing is known."""

    def __init__(self, context: MigrationContext, is_rewritten: Callable[[ops.AddColumnOp], bool]) -> None:
        self._context = context
        self._is_rewritten = is_rewritten
        self.default_schema = None

    def partitioned(self) -> set[Key]:
        """Return none."""
        return set()

    def rewrites_when_added(self, operation: ops.AddColumnOp) -> bool:
        """Tell whether it was found that every row is written."""
        return self._is_rewritten(operation)


def leaves(change: ProposedChange) -> bool:
    """Tell whether a change is made outside the transaction."""
    return change.part in {PREPARE, FINISH}


def whole(operation: MigrateOperation) -> MigrateOperation:
    """Return an operation in the words that are rendered, whatever its author has given to it."""
    if not isinstance(operation, ops.AlterColumnOp):
        return operation
    operation = copy.copy(operation)
    for name in ("modify_type", "existing_type"):
        if (type_ := getattr(operation, name)) is not None:
            setattr(operation, name, sa.types.to_instance(type_))
    for name in ("modify_server_default", "existing_server_default"):
        default: object = getattr(operation, name)
        if isinstance(default, sa.TextClause | sa.ColumnElement):
            setattr(operation, name, sa.DefaultClause(default))
    using = operation.kw.get("postgresql_using")
    return Retyped(operation, using) if using else operation


def keys(operation: MigrateOperation) -> Iterator[tuple[str, ...]]:
    """Yield what an operation makes or takes away: ("name", "ix_task_title"), ("column", "task", "due_on"), ("null", "task", "title")."""
    match operation:
        case Verb(name="set_not_null" | "drop_not_null", args=(table, column)):
            yield "null", table, column
        case Verb(name="validate_constraint", args=(name, *_)):
            yield "name", name
        case Verb(like=like) if like is not None:
            yield from keys(like)
        case ops.CreateIndexOp(index_name=name) | ops.DropIndexOp(index_name=name):
            yield "name", str(name)
        case ops.DropConstraintOp() | ops.AddConstraintOp():
            yield "name", str(getattr(operation, "constraint_name", ""))
        case ops.AlterColumnOp(table_name=table, column_name=column, modify_nullable=bool()):
            yield "null", table, column
        case ops.AddColumnOp(table_name=table, column=column):
            yield "column", table, column.name
        case ops.DropColumnOp(table_name=table, column_name=name):
            yield "column", table, name
        case ops.CreateTableOp(table_name=table) | ops.DropTableOp(table_name=table):
            yield "table", table


def _is_not_null(operation: MigrateOperation | None) -> bool:
    return isinstance(operation, ops.AlterColumnOp) and operation.modify_nullable is False


def _is_same(qualified_name: str, table: str, schema: str | None) -> bool:
    """Tell whether a table that PostgreSQL named may be the one that a call names; either may do so without the schema."""
    place, bare = table_names.parts(qualified_name)
    return bare == table and (place is None or schema is None or place == schema)
