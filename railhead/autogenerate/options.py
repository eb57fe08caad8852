"""What does Alembic's proposal become? Files with ids in sequence, and operations that do not stop traffic.

`migrations/env.py` hands `options` to Alembic for the commands that read. Nothing here changes a database.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cache, partial
from typing import Any

import sqlalchemy as sa
from alembic.operations import ops
from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationContext
from sqlalchemy.dialects import postgresql
from sqlalchemy.sql.elements import conv

from railhead.autogenerate import foreign, layout, own_types, proof
from railhead.autogenerate.dialect import PLUGIN
from railhead.autogenerate.revision_files import body, headline, is_check, needed, proposals
from railhead.autogenerate.same_sql import sql_of
from railhead.history import env_file
from railhead.history.env_file import EnvArguments
from railhead.history.made_by_sql import RELATION
from railhead.history.models import joined
from railhead.logs import log
from railhead.operations.long_names import cut
from railhead.postgres.quoting import escaped
from railhead.project import own_tables
from railhead.schema.ownership import Ownership

Models = sa.MetaData | Sequence[sa.MetaData]

_DIALECT = postgresql.dialect()  # type: ignore[no-untyped-call]  # SQLAlchemy leaves it untyped


def options(
    context: EnvironmentContext, models: Models, ownership: Callable[[], Ownership] | None = None
) -> dict[str, object]:
    """Return what `context.configure` needs for `revision`, `check` and comparisons; `context` is Alembic's own.

    Compared are the default schema and those that the models name, and what is ours in them. `ownership` is asked for when something
    is compared; of what `context` is connected to unless it is given.
    """
    import alembic_postgresql_enum  # noqa: F401  its comparison enters Alembic on import; 15 ms that other commands save

    # SQLAlchemy 2.1 reflects a NOT VALID check with arguments that it then complains of itself
    warnings.filterwarnings("ignore", "Can't validate argument '(dialect_options|not_valid)'", sa.exc.SAWarning)
    # a type of an extension, which is then named as PostgreSQL does
    warnings.filterwarnings("ignore", "Did not recognize type", sa.exc.SAWarning)
    # such tables are ours to sort: see `circles`
    warnings.filterwarnings("ignore", "Cannot correctly sort tables", sa.exc.SAWarning)
    metadata = joined(models)
    _take_checks_out_of_columns(metadata)
    tables: dict[str, str] = {}
    said = env_file.arguments(context.config, context.script)
    named = {table.schema for table in metadata.tables.values() if table.schema}
    schemas = None if said.include_schemas else named
    owners = cache(ownership or partial(foreign.ownership_of, context, metadata))

    def propose(migration_context: MigrationContext, revision: Any, scripts: list[ops.MigrationScript]) -> None:
        asked = migration_context.opts["revision_context"].command_args
        if asked["autogenerate"] or is_check(migration_context):
            foreign.assert_models(metadata, owners())
            foreign.leave_alone(scripts[0].upgrade_ops, owners(), schemas)
        given = scripts[0].rev_id
        if said.process_revision_directives:
            said.process_revision_directives(migration_context, revision, scripts)
        if scripts and not is_check(migration_context):
            _warn_of_unnamed_checks(metadata)
            wanted = asked["rev_id"] or (scripts[0].rev_id if scripts[0].rev_id != given else None)
            scripts[:1] = proposals(migration_context, context.script, scripts[0], tables, wanted)
            proof.assert_loadable(migration_context, context.script, scripts, template)

    template = {"body": body, "headline": headline, "needed": needed, "tables": tables, "value": layout.tidy}
    return {
        "process_revision_directives": propose,
        "target_metadata": metadata,
        "include_schemas": bool(named) if said.include_schemas is None else said.include_schemas,
        "include_name": lambda name, kind, parents: (
            _is_ours(name, kind, parents, schemas, owners)
            and (said.include_name is None or said.include_name(name, kind, parents))
        ),
        "include_object": lambda found, name, kind, reflected, model: (
            (model is not None or not (_is_part(found, metadata, owners) or _may_be_unnamed(found, name, metadata)))
            and not (kind == "table" and not reflected and foreign.is_left_out(found, owners()))
            and (said.include_object is None or said.include_object(found, name, kind, reflected, model))
        ),
        "compare_type": said.compare_type,
        "compare_server_default": said.compare_server_default,
        **_rendering(said),
        "autogenerate_plugins": ["alembic.autogenerate.*", "alembic.ext.checkconstraint_byname", PLUGIN.name],
        "template_args": template,
    }


def _rendering(said: EnvArguments) -> dict[str, object]:
    """Return how the project wants things written, as far as it says."""
    return {
        "user_module_prefix": said.user_module_prefix,
        "sqlalchemy_module_prefix": said.sqlalchemy_module_prefix,
        "alembic_module_prefix": said.alembic_module_prefix,
        "render_item": own_types.renderer(said.render_item, prefixed=said.user_module_prefix is not None),
    }


def _is_ours(
    name: str | None,
    kind: str,
    parents: Mapping[str, str | None],
    schemas: Collection[str] | None,
    owners: Callable[[], Ownership],
) -> bool:
    """Tell whether a thing that Alembic found in the database is for the models to speak of; the default schema is None."""
    if kind == "schema":
        return name is None or schemas is None or name in schemas
    if kind != "table" or name is None:
        return True
    return name not in own_tables() and owners().is_ours(RELATION, parents["schema_name"] or owners().home, name)


def _is_part(found: object, metadata: sa.MetaData, owners: Callable[[], Ownership]) -> bool:
    """Tell whether this is a partition, or another heir, of a table that the models have: they need not speak of it."""
    if not isinstance(found, sa.Table):
        return False
    models = {table.name for table in metadata.tables.values()}
    parents = found.dialect_options["postgresql"]["inherits"] or ()  # SQLAlchemy 2.1 reads it, 2.0 does not
    parents = parents or owners().parents_of(found.schema, found.name)
    return not models.isdisjoint([parents] if isinstance(parents, str) else parents)


def _take_checks_out_of_columns(metadata: sa.MetaData) -> None:
    """Make each check one of its table, and a text, which is the same: others Alembic neither writes nor compares.

    One that is made of columns would enter their table again whenever Alembic copies it; one that belongs to a type is no check of
    the table to Alembic, and that of a boolean none to PostgreSQL.
    """
    for table in metadata.tables.values():
        for column in table.columns:
            for check in [
                constraint for constraint in column.constraints if isinstance(constraint, sa.CheckConstraint)
            ]:
                column.constraints.discard(check)
                table.append_constraint(sa.CheckConstraint(check.sqltext, name=check.name, _autoattach=False))
        for check in [constraint for constraint in table.constraints if isinstance(constraint, sa.CheckConstraint)]:
            if not isinstance(check.sqltext, sa.TextClause):
                table.constraints.discard(check)
                if not _is_of_boolean(check):
                    table.append_constraint(_as_text(check))
        for column in table.columns:
            if isinstance(column.type, sa.Enum):
                column.type.create_constraint = False  # it is the table's now
        for check in _named_checks(table):
            check.name = conv(cut(str(check.name), _DIALECT))


def _named_checks(table: sa.Table) -> list[sa.CheckConstraint]:
    checks = [constraint for constraint in table.constraints if isinstance(constraint, sa.CheckConstraint)]
    return [constraint for constraint in checks if isinstance(constraint.name, str)]


def _is_of_boolean(check: sa.CheckConstraint) -> bool:
    """Tell whether SQLAlchemy makes the check only where there is no boolean."""
    return bool(getattr(check, "_type_bound", False)) and all(
        isinstance(column.type, sa.Boolean) for column in check.columns
    )


def _as_text(check: sa.CheckConstraint) -> sa.CheckConstraint:
    text = sa.text(escaped(sql_of(check.sqltext, _DIALECT, include_table=False)))
    name = conv(check.name) if isinstance(check.name, str) else check.name
    return sa.CheckConstraint(text, name=name, _autoattach=False, **check.dialect_kwargs)


def _unnamed_checks(table: sa.Table) -> list[sa.CheckConstraint]:
    checks = [constraint for constraint in table.constraints if isinstance(constraint, sa.CheckConstraint)]
    return [constraint for constraint in checks if not isinstance(constraint.name, str)]


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
