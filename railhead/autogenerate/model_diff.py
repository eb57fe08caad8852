"""Where are the models ahead of the migrations?"""

from __future__ import annotations

from typing import Any, NamedTuple

from alembic.autogenerate import produce_migrations
from alembic.operations import ops
from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from psycopg2.extensions import connection as Driver
from sqlalchemy import MetaData
from sqlalchemy.exc import DBAPIError

from railhead.autogenerate import foreign
from railhead.autogenerate import options as autogenerate
from railhead.autogenerate.render import key
from railhead.autogenerate.statements import ChangePrimaryKey, Statement
from railhead.history import loader
from railhead.history.models import joined
from railhead.postgres.quoting import full_name, in_schema
from railhead.project import Project
from railhead.schema.ownership import Ownership
from railhead.schema.requirements import differing_enums, reading

_READ_ONLY = "25006"

AUTOGENERATE = 'alembic revision --autogenerate -m "..."'


class Difference(NamedTuple):
    """One thing that is not as it should be."""

    object: str
    """`column task.due_on`, `index task.ix_task_status` ..."""
    kind: str
    """`added`, `removed` or `changed`, seen from what was expected."""
    expected: str
    found: str
    mend: str
    """A statement or a command that mends it."""

    def __str__(self) -> str:
        told = f"{self.object} {self.kind}"
        return f"{told}: expected {self.expected}, found {self.found}" if self.kind == "changed" else told


def models_ahead(project: Project, metadata: MetaData, driver: Driver) -> list[Difference]:
    """Return where models.py says more, or something else, than a database at head holds. Read-only.

    Alembic's own comparison, with types, server defaults, enums and named checks, of what is ours. Raises Stop when the models were
    not imported.
    """
    config = loader.config(project)
    environment = EnvironmentContext(config, ScriptDirectory.from_config(config))
    metadata = joined(metadata)
    return differences(environment, metadata, driver, foreign.ownership_of(environment, metadata, driver))


def differences(
    environment: EnvironmentContext, metadata: MetaData, driver: Driver, owners: Ownership
) -> list[Difference]:
    """Return the same, for who has a configuration of Alembic and knows whose is what. Read-only."""
    metadata = joined(metadata)
    foreign.assert_models(metadata, owners)
    options: dict[str, Any] = autogenerate.options(environment, metadata, lambda: owners)
    try:
        upgrade = _proposed(driver, metadata, options)
    except DBAPIError as error:
        if getattr(error.orig, "pgcode", None) != _READ_ONLY:
            raise
        upgrade = _proposed(
            driver, metadata, options, "READ WRITE"
        )  # a comparison of somebody else's, which makes what it compares
    foreign.tell_unseen(owners, None if options["include_schemas"] else ())
    if upgrade:
        foreign.prune(upgrade, owners)
    return [difference for operation in upgrade.ops for difference in _ahead(operation)] if upgrade else []


def _proposed(
    driver: Driver, metadata: MetaData, options: dict[str, Any], access: str = "READ ONLY"
) -> ops.UpgradeOps | None:
    with reading(driver, access) as connection, loader.no_garbage_collection():
        return produce_migrations(MigrationContext.configure(connection, opts=options), metadata).upgrade_ops


def enums(metadata: MetaData, driver: Driver) -> list[Difference]:
    """Return the enum types whose values, or their order, are not the same in the models and in the database. Read-only."""
    with reading(driver) as connection:
        return [
            Difference(f"enum {name}", "changed", ", ".join(needed), ", ".join(there), AUTOGENERATE)
            for name, needed, there in differing_enums(joined(metadata), connection)
            if there and needed != there
        ]


def _ahead(operation: ops.MigrateOperation) -> list[Difference]:
    match operation:
        case ops.OpContainer():
            return [difference for inner in operation.ops for difference in _ahead(inner)]
        case ops.CreateTableOp(table_name=table, schema=schema):
            thing, kind = f"table {full_name(schema, table)}", "removed"
        case ops.DropTableOp(table_name=table, schema=schema):
            thing, kind = f"table {full_name(schema, table)}", "added"
        case ops.AddColumnOp(table_name=table, schema=schema, column=column):
            thing, kind = f"column {full_name(schema, table)}.{column.name}", "removed"
        case ops.DropColumnOp(table_name=table, schema=schema, column_name=name):
            thing, kind = f"column {full_name(schema, table)}.{name}", "added"
        case ops.AlterColumnOp(table_name=table, schema=schema, column_name=name):
            thing, kind = f"column {full_name(schema, table)}.{name}", "changed"
        case ops.CreateIndexOp(table_name=table, schema=schema, index_name=name):
            thing, kind = f"index {full_name(schema, table)}.{name}", "removed"
        case ops.DropIndexOp(table_name=table, schema=schema, index_name=name):
            thing, kind = f"index {full_name(schema, table or '')}.{name}", "added"
        case ops.DropConstraintOp(table_name=table, schema=schema, constraint_name=name):
            thing, kind = f"constraint {full_name(schema, table)}.{name}", "added"
        case ops.CreateTableCommentOp(table_name=table, schema=schema, comment=comment, existing_comment=existing):
            thing = f"comment on table {full_name(schema, table)}"
            kind = "removed" if existing is None else "changed"
            return [Difference(thing, kind, repr(comment), _comment(existing), AUTOGENERATE)]
        case ops.DropTableCommentOp(table_name=table, schema=schema, existing_comment=existing):
            thing = f"comment on table {full_name(schema, table)}"
            return [Difference(thing, "added", "none", _comment(existing), AUTOGENERATE)]
        case ops.AddConstraintOp():
            thing, kind = (
                f"constraint {full_name(*key(operation))}.{getattr(operation, 'constraint_name', None)}",
                "removed",
            )
        case Statement():
            return [Difference(operation.thing, operation.kind, *operation.shape, AUTOGENERATE)]
        case ChangePrimaryKey(old=old, new=new):
            thing = f"constraint {full_name(*key(operation))}.{operation.name}"
            kind = "removed" if old is None else "added" if new is None else "changed"
            return [Difference(thing, kind, str(new or "not there"), str(old or "not there"), AUTOGENERATE)]
        case _:
            return [_other(operation)]
    return [_models_differ(thing, kind, operation)]


def _other(operation: ops.MigrateOperation) -> Difference:
    """Return what an operation of alembic-postgresql-enum means; of one that we do not know, its name."""
    from alembic_postgresql_enum.operations.add_enum_values import AddEnumValuesOp
    from alembic_postgresql_enum.operations.create_enum import CreateEnumOp
    from alembic_postgresql_enum.operations.drop_enum import DropEnumOp
    from alembic_postgresql_enum.operations.sync_enum_values import SyncEnumValuesOp

    if isinstance(operation, SyncEnumValuesOp | AddEnumValuesOp):
        thing = f"enum {in_schema(operation.schema, operation.name)}"
        return Difference(
            thing, "changed", ", ".join(operation.new_values), ", ".join(operation.old_values), AUTOGENERATE
        )
    if isinstance(operation, CreateEnumOp | DropEnumOp):
        thing, kind = f"enum {in_schema(operation.schema, operation.name)}", "removed"
        return _models_differ(thing, kind if isinstance(operation, CreateEnumOp) else "added", operation)
    return Difference(type(operation).__name__.removesuffix("Op"), "changed", str(operation), "", AUTOGENERATE)


def _models_differ(thing: str, kind: str, operation: ops.MigrateOperation) -> Difference:
    models, there = {"removed": ("there", "not there"), "added": ("not there", "there")}.get(kind, ("", ""))
    if isinstance(operation, ops.AlterColumnOp):
        models, there = _altered(operation)
    return Difference(thing, kind, models, there, AUTOGENERATE)


def _altered(operation: ops.AlterColumnOp) -> tuple[str, str]:
    models, there = [], []
    if operation.modify_type is not None:
        models.append(str(operation.modify_type))
        there.append(str(operation.existing_type))
    if operation.modify_nullable is not None:
        models.append("null" if operation.modify_nullable else "not null")
        there.append("null" if operation.existing_nullable else "not null")
    if operation.modify_server_default is not False:
        models.append(f"default {_default(operation.modify_server_default)}")
        there.append(f"default {_default(operation.existing_server_default)}")
    if operation.modify_comment is not False:
        models.append(f"comment {operation.modify_comment!r}")
        there.append(f"comment {operation.existing_comment!r}")
    return ", ".join(models), ", ".join(there)


def _default(default: object) -> str:
    argument = getattr(default, "arg", default)
    return "none" if argument is None or argument is False else str(argument)


def _comment(comment: str | None) -> str:
    return "none" if comment is None else repr(comment)
