"""What must a proposal leave alone?

Tables and types that are an extension's or another tool's are not dropped because models.py does not speak of them, and where the
models have not been imported nothing is.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import sqlalchemy as sa
from alembic.operations import ops
from alembic.runtime.environment import EnvironmentContext
from psycopg2.extensions import connection as Driver

from railhead.errors import Stop
from railhead.history import env_file
from railhead.history.made_by_sql import RELATION, TYPE
from railhead.history.made_objects import made
from railhead.logs import log
from railhead.schema.ownership import Ownership, few, ownership

LEFT_ALONE = "left alone, because no revision makes them and no model knows them"


def ownership_of(context: EnvironmentContext, metadata: sa.MetaData, driver: Driver | None = None) -> Ownership:
    """Return whose is what in the database that Alembic is connected to, or `driver` is. Read-only."""
    if driver is None:
        connection = context.get_context().connection
        assert connection is not None
        driver = connection.connection.dbapi_connection  # type: ignore[assignment]  # SQLAlchemy's type is any driver's
    script = context.script
    files = [Path(revision.path) for revision in script.walk_revisions("base", "heads")][::-1]
    ignored = env_file.arguments(context.config, script).ignore
    assert driver is not None
    return ownership(driver, made(files, Path(script.dir)), metadata, ignored)


def is_left_out(table: object, owners: Ownership) -> bool:
    """Tell whether a table of the models is one that the project, or an extension, keeps from us."""
    assert isinstance(table, sa.Table)
    return owners.is_left_out(RELATION, table.schema or owners.home, table.name)


def leave_alone(upgrade: ops.UpgradeOps | None, owners: Ownership, schemas: Collection[str] | None) -> None:
    """Take out of a proposal what would drop a type of somebody else's, and say which tables it does not speak of.

    `schemas` are those that are looked at besides the default one, None for all.
    """
    if upgrade is not None:
        prune(upgrade, owners)
    left = owners.left_alone(None if schemas is None else {owners.home, *schemas})
    if left:
        log.info("%s: %s", LEFT_ALONE, few(left))
    tell_unseen(owners, schemas)


def tell_unseen(owners: Ownership, schemas: Collection[str] | None) -> None:
    """Say which tables of ours are not compared, because no model names their schema; None: all schemas are looked at."""
    seen = {owners.home, *(schemas or ())}
    unseen = [] if schemas is None else [f"{schema}.{name}" for schema, name in owners.ours if schema not in seen]
    if unseen:
        log.info(
            "not compared, because no model names their schema: %s (include_schemas=True in migrations/env.py looks everywhere)",
            few(unseen),
        )


def prune(upgrade: ops.UpgradeOps, owners: Ownership) -> None:
    """Take out of a proposal what would drop a type of somebody else's."""
    from alembic_postgresql_enum.operations.drop_enum import DropEnumOp

    upgrade.ops[:] = [
        operation
        for operation in upgrade.ops
        if not isinstance(operation, DropEnumOp)
        or owners.is_ours(TYPE, operation.schema or owners.home, operation.name)
    ]


def assert_models(metadata: sa.MetaData, owners: Ownership) -> None:
    """Raise Stop where the models know no table, or none of those that the revisions have made and fewer in their place."""
    known = {(table.schema or owners.home, table.name) for table in metadata.tables.values()}
    ours = owners.ours
    if not known and not owners.is_empty:
        raise _not_imported("the models know no table, as if they had not been imported", ours, owners)
    if len(known) < len(ours) and known.isdisjoint(ours):
        raise _not_imported("the models know none of the tables that the revisions have made", ours, owners)


def _not_imported(headline: str, ours: list[tuple[str, str]], owners: Ownership) -> Stop:
    names = [name if schema == owners.home else f"{schema}.{name}" for schema, name in ours]
    return Stop(
        "models-not-imported",
        headline,
        facts=[
            ("made", few(names) or "nothing that their files tell"),
            ("models", "models() in migrations/env.py gives them"),
        ],
        database="unchanged",
        next_step="import there every module that defines a model, before the metadata is returned; to drop them all, write it by hand:\n"
        'alembic revision -m "drop everything"',
    )
