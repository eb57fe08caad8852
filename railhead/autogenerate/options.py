"""What does Alembic's proposal become? Files with ids in sequence, and operations that do not stop traffic.

`migrations/env.py` hands `options` to Alembic for the commands that read. Nothing here changes a database.
"""

from __future__ import annotations

import copy
import re
import unicodedata
import warnings
from collections.abc import Callable, Collection, Iterable
from typing import TYPE_CHECKING, Any, TypeVar

import sqlalchemy as sa
from alembic.autogenerate.api import AutogenContext
from alembic.ddl.impl import ComparisonResult
from alembic.ddl.postgresql import PostgresqlImpl
from alembic.operations import ops
from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationContext
from alembic.runtime.plugins import Plugin
from alembic.script import ScriptDirectory
from alembic.util import PriorityDispatchResult
from sqlalchemy.dialects.postgresql import JSONB

from railhead.autogenerate import compare as sameness
from railhead.autogenerate import layout
from railhead.logs import log
from railhead.project import OWN_TABLES

if TYPE_CHECKING:
    from railhead.autogenerate.files import Part


Compared = TypeVar("Compared", sa.CheckConstraint, sa.Index, sa.UniqueConstraint)

ID_LENGTH = 32
"""The width of alembic_version.version_num: a longer id would fail when it is applied, not before."""


_NUMBERED = re.compile(r"(\d{4,})_[a-z0-9]")
_COLLATION = re.compile(r'\s+COLLATE\s+(?:"[^"]*"|\w+)(?:\.(?:"[^"]*"|\w+))?', re.IGNORECASE)
_IMPORTS = {"op.": "from alembic import op", "sa.": "import sqlalchemy as sa"}


def options(context: EnvironmentContext, metadata: sa.MetaData) -> dict[str, object]:
    """Return what `context.configure` needs for `revision`, `check` and comparisons; `context` is Alembic's own.

    Compared are the default schema and those that the models name; others belong to somebody else.
    """
    import alembic_postgresql_enum  # noqa: F401  its comparison enters Alembic on import; 15 ms that other commands save

    # SQLAlchemy 2.1 reflects a NOT VALID check with arguments that it then complains of itself
    warnings.filterwarnings("ignore", "Can't validate argument '(dialect_options|not_valid)'", sa.exc.SAWarning)
    # such tables are ours to sort: see `circles`
    warnings.filterwarnings("ignore", "Cannot correctly sort tables", sa.exc.SAWarning)
    _take_checks_out_of_columns(metadata)
    tables: dict[str, str] = {}
    schemas = {table.schema for table in metadata.tables.values() if table.schema}

    def propose(migration_context: MigrationContext, _revision: object, scripts: list[ops.MigrationScript]) -> None:
        if not _is_check(migration_context):
            _warn_of_unnamed_checks(metadata)
            scripts[:] = _proposals(migration_context, context.script, scripts[0], tables)

    return {
        "process_revision_directives": propose,
        "target_metadata": metadata,
        "include_schemas": bool(schemas),
        "include_name": lambda name, kind, _parents: _is_ours(name, kind, schemas),
        "include_object": lambda found, name, _kind, _reflected, model: (
            model is not None or not (_is_part(found, metadata) or _may_be_unnamed(found, name, metadata))
        ),
        "compare_type": True,
        "compare_server_default": True,
        "autogenerate_plugins": ["alembic.autogenerate.*", "alembic.ext.checkconstraint_byname", _PLUGIN.name],
        "template_args": {"body": body, "headline": headline, "needed": needed, "tables": tables, "value": layout.tidy},
    }


def _is_ours(name: str | None, kind: str, schemas: Collection[str]) -> bool:
    """Tell whether a thing that Alembic found in the database is for the models to speak of; the default schema is None."""
    if kind == "schema":
        return name is None or name in schemas
    return not (kind == "table" and name in OWN_TABLES)


def _is_part(found: object, metadata: sa.MetaData) -> bool:
    """Tell whether this is a partition, or another heir, of a table that the models have: they need not speak of it."""
    if not isinstance(found, sa.Table):
        return False
    models = {table.name for table in metadata.tables.values()}
    parents = found.dialect_options["postgresql"]["inherits"] or ()
    return not models.isdisjoint([parents] if isinstance(parents, str) else parents)


def _take_checks_out_of_columns(metadata: sa.MetaData) -> None:
    """Make each check that stands in a column one of its table, which is the same: elsewhere Alembic neither writes nor compares it."""
    for table in metadata.tables.values():
        for column in table.columns:
            for check in [one for one in column.constraints if isinstance(one, sa.CheckConstraint)]:
                column.constraints.discard(check)
                table.append_constraint(sa.CheckConstraint(check.sqltext, name=check.name, _autoattach=False))


def _unnamed_checks(table: sa.Table) -> list[sa.CheckConstraint]:
    checks = [one for one in table.constraints if isinstance(one, sa.CheckConstraint)]
    return [one for one in checks if not isinstance(one.name, str)]


def _may_be_unnamed(found: object, name: str | None, metadata: sa.MetaData) -> bool:
    """Tell whether this is a check to which PostgreSQL gave its name, of a table whose models have some without: one of those."""
    if not isinstance(found, sa.CheckConstraint):
        return False
    model = metadata.tables.get(found.table.key)
    is_given = re.fullmatch(rf"{re.escape(found.table.name)}_(.+_)?check\d*", name or "")
    return bool(is_given and model is not None and _unnamed_checks(model))


def _warn_of_unnamed_checks(metadata: sa.MetaData) -> None:
    tables = sorted(table.name for table in metadata.tables.values() if _unnamed_checks(table))
    if tables:
        log.warning(
            "checks without a name are made with their table, and not compared afterwards (%s); give each a name",
            ", ".join(tables),
        )


def next_number(script: ScriptDirectory) -> int:
    """Return one more than the highest number in use, whichever branch it is on."""
    ids = [revision.revision for revision in script.walk_revisions()]
    numbers = [int(found[1]) for found in map(_NUMBERED.match, ids) if found]
    return max(numbers, default=0) + 1


def revision_id(number: int, words: str, ending: str = "") -> str:
    """Return `0003_add_due_date`: ASCII, lower case, at most 32 characters, cut at a word; never a bare number."""
    prefix = f"{number:04d}_"
    ending = f"_{ending}" if ending else ""
    return prefix + (slug(words, ID_LENGTH - len(prefix) - len(ending)) or "change") + ending


def slug(text: str, room: int) -> str:
    """Return the words of `text` as a_b_c in at most `room` characters; empty when nothing in it is ASCII."""
    plain = unicodedata.normalize("NFKD", text.casefold()).encode("ascii", "ignore").decode()
    joined = "_".join(re.findall(r"[a-z0-9]+", plain))
    if len(joined) <= room:
        return joined
    whole_words, _, _ = joined[: room + 1].rpartition("_")
    return whole_words or joined[:room]


def headline(message: str) -> str:
    """Return a message as the first line of a docstring."""
    line = " ".join(message.replace("\\", "/").replace('"""', "'''").split())
    return line[:1].upper() + line[1:]


def body(code: str) -> str:
    """Return what Alembic rendered as the body of a function, without Alembic's own remarks; empty for nothing to do."""
    lines = [line for line in code.splitlines() if not line.lstrip().startswith("# ###")]
    return "" if [line.strip() for line in lines] in ([], ["pass"]) else layout.tidy("\n".join(lines).strip())


def needed(code: str, imports: str) -> str:
    """Return the import lines that `code` makes use of, in the order that linters want."""
    own = [line for prefix, line in _IMPORTS.items() if re.search(rf"\b{re.escape(prefix)}", code)]
    given = [line for line in imports.splitlines() if re.search(rf"\b{line.split()[-1]}\b", code)]
    return "\n".join(sorted({*own, *given}, key=lambda line: (line.startswith("from"), line.lower())))


def _compare_json_default(
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
        return self._closer(found, sameness.check_differs, wanted)

    def compare_indexes(self, wanted: sa.Index, there: sa.Index) -> ComparisonResult:
        """Compare predicate, covered columns, kind and operator classes, too."""
        return self._closer(super().compare_indexes(wanted, there), sameness.index_differs, wanted)

    def _cleanup_index_expr(self, index: sa.Index, expr: str) -> str:
        """Leave the collation to PostgreSQL: SQLAlchemy does not reflect that of a column."""
        alembics: Callable[..., str] = super()._cleanup_index_expr
        return alembics(index, _COLLATION.sub("", expr))

    def compare_unique_constraint(self, wanted: sa.UniqueConstraint, there: sa.UniqueConstraint) -> ComparisonResult:
        """Compare until when a violation may last, too."""
        found = super().compare_unique_constraint(wanted, there)
        return self._closer(found, sameness.deferring_differs, wanted)

    def _closer(
        self, found: ComparisonResult, differs: Callable[[sa.Connection, Compared], str | None], wanted: Compared
    ) -> ComparisonResult:
        """Ask PostgreSQL where Alembic sees no difference; only for `revision` and `check`: others may not write, not even there."""
        if not found.is_equal or "revision_context" not in self.context_opts or wanted.name is None:
            return found
        assert self.connection is not None
        difference = differs(self.connection, wanted)
        return ComparisonResult.Different(difference) if difference else found


_PLUGIN = Plugin("railhead.json_defaults")
_PLUGIN.add_autogenerate_comparator(_compare_json_default, "column", "server_default")


def _proposals(
    migration_context: MigrationContext, script: ScriptDirectory, proposed: ops.MigrationScript, tables: dict[str, str]
) -> list[ops.MigrationScript]:
    """Return the files that are to be written; none when nothing has changed."""
    from railhead.autogenerate import safe_plan as proposals
    from railhead.autogenerate.files import parts as files_of

    asked = migration_context.opts["revision_context"].command_args
    upgrade = proposed.upgrade_ops
    assert upgrade is not None
    if asked["autogenerate"] and upgrade.is_empty():
        log.info(
            "models.py and the database differ in nothing that is compared: there is nothing to write a revision for"
        )
        return []
    words = proposed.message or _description(upgrade.ops)
    proposed.message = words or "A change"
    parts = files_of(proposals.changes(migration_context, upgrade)) if upgrade.ops else []
    if not parts:
        proposed.rev_id = asked["rev_id"] or revision_id(next_number(script), words)
        return [proposed]
    ids = _ids(asked["rev_id"], next_number(script), words, [part.ending for part in parts])
    tables.update({revision: part.tables for revision, part in zip(ids, parts, strict=True)})
    return _files(proposed, ids, parts)


def _ids(given: str | None, number: int, words: str, endings: list[str]) -> list[str]:
    """Return an id for each file; the first is what `--rev-id` gave."""
    numbered = _NUMBERED.match(given or "")
    first = int(numbered[1]) if numbered else number - 1 if given else number
    ids = [revision_id(first + index, words, slug(ending, 12)) for index, ending in enumerate(endings)]
    return [given, *ids[1:]] if given else ids


def _files(proposed: ops.MigrationScript, ids: list[str], parts: list[Part]) -> list[ops.MigrationScript]:
    """Return one script for each part, each on top of the one before."""
    files = []
    for number, (revision, part) in enumerate(zip(ids, parts, strict=True)):
        file = copy.copy(proposed)
        file.rev_id = revision
        file.imports = set()
        file.upgrade_ops = ops.UpgradeOps([step for change in part.changes for step in change.forth])
        file.downgrade_ops = ops.DowngradeOps([step for change in reversed(part.changes) for step in change.back])
        if len(parts) > 1:
            file.message = f"{proposed.message} ({number + 1} of {len(parts)})"
        if number:
            file.head, file.splice, file.branch_label, file.depends_on = ids[number - 1], False, None, None
        files.append(file)
    return files


def _is_check(migration_context: MigrationContext) -> bool:
    """Tell whether this is `alembic check`: it reads the proposal as it is, and fails when there is none.

    It differs from `revision --autogenerate` in nothing but the function that Alembic runs.
    """
    return str(getattr(migration_context.opts.get("fn"), "__qualname__", "")).startswith("check.")


def _description(operations: Iterable[ops.MigrateOperation]) -> str:
    """Return what the operations do, in words: the first in full."""
    said = [words for operation in operations for words in _said(operation)]
    return f"{said[0]} and more" if len(said) > 1 else "".join(said)


def _said(operation: ops.MigrateOperation) -> list[str]:
    match operation:
        case ops.OpContainer():
            return [words for inner in operation.ops for words in _said(inner)]
        case ops.CreateTableOp(table_name=table):
            return [f"create {table}"]
        case ops.DropTableOp(table_name=table):
            return [f"drop {table}"]
        case ops.AddColumnOp(table_name=table, column=column):
            return [f"add {table} {column.name}"]
        case ops.DropColumnOp(table_name=table, column_name=name):
            return [f"drop {table} {name}"]
        case ops.AlterColumnOp(table_name=table, column_name=name):
            return [f"alter {table} {name}"]
        case ops.CreateIndexOp(index_name=name):
            return [f"add {name}"]
        case ops.AddConstraintOp():
            return [f"add {operation.to_constraint().name}"]
        case ops.DropIndexOp(index_name=name) | ops.DropConstraintOp(constraint_name=name):
            return [f"drop {name}"]
    return [re.sub(r"(?<!^)(?=[A-Z])", " ", type(operation).__name__.removesuffix("Op")).lower()]
