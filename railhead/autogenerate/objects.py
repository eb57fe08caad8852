"""Are the schemas, sequences and domains there that the tables of models.py need?

Alembic takes them for given. Read-only.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from typing import Any

import sqlalchemy as sa
from alembic.autogenerate.api import AutogenContext
from alembic.operations import ops
from alembic.util import PriorityDispatchResult
from sqlalchemy.dialects import postgresql as pg
from sqlalchemy.dialects.postgresql.named_types import CreateDomainType

from railhead.autogenerate.same_sql import table_sql
from railhead.autogenerate.statements import BEFORE, Statement
from railhead.history.models import is_view
from railhead.logs import log
from railhead.postgres.quoting import in_schema, quoted


def compare_objects(
    context: AutogenContext, upgrade: ops.UpgradeOps, _schemas: Collection[str | None]
) -> PriorityDispatchResult:
    """Put before everything else in `upgrade` what makes those that are missing."""
    _leave_views(context, upgrade)
    needed = [*_missing_schemas(context, upgrade), *_sequences(context), *_domains(context)]
    upgrade.ops[:0] = needed
    return PriorityDispatchResult.CONTINUE


def _leave_views(context: AutogenContext, upgrade: ops.UpgradeOps) -> None:
    """Take out what would make a table of a model that is mapped to a view: one that says so, or has the name of one that is there."""
    there = context.migration_context.impl.facts()  # type: ignore[attr-defined]
    models = {(table.schema, table.name): table for table in context.sorted_tables}
    views = set()
    for operation in [step for step in upgrade.ops if isinstance(step, ops.CreateTableOp)]:
        place = (operation.schema, operation.table_name)
        found = there.get((operation.schema or _home(context), operation.table_name))
        if is_view(models.get(place)) or (found is not None and found.kind in "vmf"):
            views.add(place)
    upgrade.ops[:] = [
        step for step in upgrade.ops if (getattr(step, "schema", None), getattr(step, "table_name", None)) not in views
    ]
    if views:
        log.info("left alone, because they are mapped to a view: %s", ", ".join(sorted(name for _, name in views)))


def _missing_schemas(context: AutogenContext, upgrade: ops.UpgradeOps) -> Iterator[Statement]:
    created = {operation.schema for operation in upgrade.ops if isinstance(operation, ops.CreateTableOp)}
    named = sorted({schema for schema in created if schema})
    there = set(context.inspector.get_schema_names()) if named else set()
    for schema in named:
        if schema not in there:
            forth, back = f"CREATE SCHEMA {quoted(schema)}", f"DROP SCHEMA {quoted(schema)}"
            yield _made(f"schema {schema}", forth, back, schema)


def _sequences(context: AutogenContext) -> Iterator[Statement]:
    wanted = {(sequence.schema, sequence.name): sequence for sequence in _sequences_of(context)}
    if not wanted:
        return
    there = _names(
        context,
        "SELECT nspname, relname FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace WHERE relkind = 'S'",
    )
    for (schema, name), sequence in sorted(wanted.items(), key=str):
        if (schema or _home(context), name) not in there:
            forth = str(sa.schema.CreateSequence(sequence).compile(dialect=context.dialect)).strip()
            yield _made(f"sequence {in_schema(schema, name)}", forth, f"DROP SEQUENCE {table_sql(schema, name)}", name)


def _sequences_of(context: AutogenContext) -> Iterator[sa.Sequence]:
    for table in context.sorted_tables:
        yield from table.metadata._sequences.values()  # noqa: SLF001  SQLAlchemy names them nowhere else
        for column in table.columns:
            if isinstance(column.default, sa.Sequence):
                yield column.default
            argument = getattr(column.server_default, "arg", None)
            if isinstance(argument, sa.sql.functions.next_value):
                yield argument.sequence
    metadata = context.metadata
    if isinstance(metadata, sa.MetaData):
        yield from metadata._sequences.values()  # noqa: SLF001


def _domains(context: AutogenContext) -> Iterator[Statement]:
    wanted = {(domain.schema, str(domain.name)): domain for domain in domains_of(context.sorted_tables)}
    if not wanted:
        return
    query = (
        "SELECT n.nspname, t.typname, pg_get_constraintdef(k.oid) FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace"
        " LEFT JOIN pg_constraint k ON k.contypid = t.oid AND k.contype = 'c' WHERE t.typtype = 'd'"
    )
    assert context.connection is not None
    there = {(schema, name): check for schema, name, check in context.connection.execute(sa.text(query))}
    for (schema, name), domain in sorted(wanted.items(), key=str):
        place = (schema or _home(context), name)
        thing = f"domain {in_schema(schema, name)}"
        if place not in there:
            forth = str(CreateDomainType(domain).compile(dialect=context.dialect)).strip().replace("%%", "%")
            yield _made(thing, forth, f"DROP DOMAIN {table_sql(schema, name)}", name)
        elif _words(domain.check) != _words(there[place]):
            yield _told(thing, str(domain.check), str(there[place]), table_sql(schema, name))


def domains_of(tables: Collection[sa.Table]) -> Iterator[pg.DOMAIN]:
    """Yield the domains that columns are of."""
    for table in tables:
        for column in table.columns:
            type_ = column.type.item_type if isinstance(column.type, sa.ARRAY) else column.type
            if isinstance(type_, pg.DOMAIN):
                yield type_


def _words(check: Any) -> str:
    """Return a check without what PostgreSQL puts around and into it."""
    text = re.sub(r"::[\w ]+|^CHECK", "", "" if check is None else str(check).replace("%%", "%"))
    return re.sub(r"[\s()]", "", text).lower()


def _told(thing: str, wanted: str, there: str, path: str) -> Statement:
    remarks = [
        f"{thing} has another check in models.py: {wanted}; in the database it is {there}. A domain is changed by hand:",
        f"op.execute({f'ALTER DOMAIN {path} DROP CONSTRAINT ...'!r})",
        f"op.execute({f'ALTER DOMAIN {path} ADD CONSTRAINT ... CHECK ({wanted}) NOT VALID'!r})",
        f"op.execute({f'ALTER DOMAIN {path} VALIDATE CONSTRAINT ...'!r})",
    ]
    return Statement(thing, "changed", [], [], place=(None, thing), remarks=remarks, shape=(wanted, there), locks=False)


def _made(thing: str, forth: str, back: str, name: str) -> Statement:
    return Statement(thing, "removed", [forth], [back], place=(None, name), when=BEFORE, locks=False)


def _names(context: AutogenContext, query: str) -> set[tuple[str, str]]:
    assert context.connection is not None
    return {(schema, name) for schema, name in context.connection.execute(sa.text(query))}


def _home(context: AutogenContext) -> str:
    assert context.dialect is not None
    return str(context.dialect.default_schema_name)
