"""What stands in a generated file beside Alembic's own operations? Calls of our verbs, remarks, and what Alembic leaves out."""

from __future__ import annotations

import copy
import re
from collections.abc import Sequence

import sqlalchemy as sa
from alembic.autogenerate import render_op_text, renderers
from alembic.autogenerate.api import AutogenContext
from alembic.operations import MigrateOperation, ops
from sqlalchemy.dialects.postgresql.base import RESERVED_WORDS

from railhead.autogenerate import layout
from railhead.autogenerate.statements import Statement

Key = tuple[str | None, str]
"""A table: its schema and its name."""


def key(operation: MigrateOperation) -> Key:
    """Return the table that an operation is about."""
    if isinstance(operation, ops.CreateForeignKeyOp):
        return operation.kw.get("source_schema"), operation.source_table
    return getattr(operation, "schema", None), str(getattr(operation, "table_name", ""))


class Verb(MigrateOperation):
    """A call of one of our verbs: in the words of a plain operation, or with arguments of its own."""

    def __init__(
        self,
        name: str,
        *args: str,
        columns: Sequence[str] = (),
        like: MigrateOperation | None = None,
        schema: str | None = None,
        replace: bool = False,
    ) -> None:
        self.name = name
        self.args = args
        self.columns = columns
        self.like = like
        self.schema = schema
        self.replace = replace


class Remark(MigrateOperation):
    """A comment of one or more lines."""

    def __init__(self, *lines: str) -> None:
        self.lines = lines


class Renumbered(MigrateOperation):
    """A column becomes an identity, another one, or none: Alembic must be told what it was."""

    def __init__(self, like: ops.AlterColumnOp, existing: sa.Identity | None) -> None:
        self.like = like
        self.existing = existing

    def reverse(self) -> Renumbered:
        """Return the way back."""
        back = copy.copy(self.like)
        back.modify_server_default = self.existing
        was = self.like.modify_server_default
        return Renumbered(back, was if isinstance(was, sa.Identity) else None)


class Retyped(MigrateOperation):
    """A change of type that needs to be told how to convert."""

    def __init__(self, like: ops.AlterColumnOp, using: str) -> None:
        self.like = like
        self.using = using


@renderers.dispatch_for(Verb)
def _render_verb(context: AutogenContext, verb: Verb) -> str:
    if verb.like is not None:
        text = render_op_text(context, verb.like).replace(", unique=False", "")
        text = text.replace(text[: text.index("(")], f"op.{verb.name}", 1)
        return f"{text[:-1]}, replace=True)" if verb.replace else text
    args = (
        [repr(str(arg)) for arg in verb.args]
        + ([repr(list(map(str, verb.columns)))] if verb.columns else [])
        + ([f"schema={str(verb.schema)!r}"] if verb.schema else [])
    )
    return f"op.{verb.name}({', '.join(args)})"


@renderers.dispatch_for(Remark)
def _render_remark(_context: AutogenContext, remark: Remark) -> list[str]:
    lines = [tidied for line in remark.lines for tidied in _tidied(line)]
    return [f"# {line}" for line in lines]


def _tidied(line: str) -> list[str]:
    return layout.tidy(line).splitlines() if line.startswith("op.") else [line]


@renderers.dispatch_for(Renumbered)
def _render_renumbered(context: AutogenContext, renumbered: Renumbered) -> str:
    text = render_op_text(context, renumbered.like)
    if renumbered.existing is None:
        return text
    existing = ops.AlterColumnOp("_", "_", existing_server_default=renumbered.existing)
    argument = render_op_text(context, existing).partition("existing_server_default=")[2]
    return f"{text[:-1]}, existing_server_default={argument}"


@renderers.dispatch_for(Retyped)
def _render_retyped(context: AutogenContext, retyped: Retyped) -> str:
    return f"{render_op_text(context, retyped.like)[:-1]}, postgresql_using={retyped.using!r})"


def as_written(name: str) -> str:
    """Return a name as SQL wants it: in quotes where it is not plain lower case."""
    plain = name.isidentifier() and name == name.lower() and name.isascii() and name not in RESERVED_WORDS
    return name if plain else '"' + name.replace('"', '""') + '"'


@renderers.dispatch_for(Statement)
def _render_statement(context: AutogenContext, statement: Statement) -> list[str]:
    prefix = context.opts.get("alembic_module_prefix") or "op."
    remark = _render_remark(context, Remark(*statement.remarks)) if statement.remarks else []
    return [*remark, *(f"{prefix}execute({escaped_sql(sql)!r})" for sql in statement.forth)]


def escaped_sql(sql: str) -> str:
    """Return SQL as `op.execute` takes it, which reads `:name` as a parameter."""
    return re.sub(r"(?<![:\w$\\]):(?=[\w$])", r"\\:", sql)
