"""What does another type, or another default, become on a table that is in use?"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic.operations import MigrateOperation, ops
from sqlalchemy.dialects import postgresql

from railhead.autogenerate import columns, comments, fill_values
from railhead.autogenerate.files import CHANGE, ProposedChange
from railhead.autogenerate.given import Given, alter
from railhead.autogenerate.numbering import Numbering
from railhead.autogenerate.probe import KEPT, LOST, View
from railhead.autogenerate.render import Remark, Retyped, key
from railhead.autogenerate.statements import Serial, Statement

_DIALECT = postgresql.dialect()  # type: ignore[no-untyped-call]  # SQLAlchemy leaves it untyped

Steps = list[MigrateOperation]
_NUMBERED = (Serial, sa.Identity)


class Retyping:
    """Types and defaults."""

    def __init__(self, given: Given) -> None:
        """Plan for this proposal."""
        self._given = given
        self._server = given.server
        self._numbering = Numbering(given)

    def changes(self, operation: ops.AlterColumnOp) -> list[ProposedChange]:
        """Return what changes type and default; nothing where neither does."""
        default, existing = operation.modify_server_default, operation.existing_server_default
        numbers = default is not False and (isinstance(default, _NUMBERED) or isinstance(existing, _NUMBERED))
        if numbers and (operation.modify_type is not None or _is_serial(default, existing)):
            return self._renumbered(operation)
        if numbers:
            return [self._numbering.identity(operation)]
        if operation.modify_type is not None:
            return [self._retype(operation)]
        if default is not False:
            return [self._default(operation)]
        return []

    def _default(self, operation: ops.AlterColumnOp) -> ProposedChange:
        default = alter(operation, modify_server_default=operation.modify_server_default)
        default.existing_server_default = operation.existing_server_default
        remarks = []
        was = str(getattr(operation.existing_server_default, "arg", ""))
        if was.startswith("nextval(") and operation.modify_server_default is None:
            sequence = was.partition("'")[2].partition("'")[0]
            remarks = [
                Remark(
                    f"The sequence {sequence} stays, as others may use it. When nothing does:",
                    f"op.execute({f'DROP SEQUENCE {sequence}'!r})",
                )
            ]
        return ProposedChange(CHANGE, key(operation), [*remarks, default], [default.reverse()], locks=True)

    def _renumbered(self, operation: ops.AlterColumnOp) -> list[ProposedChange]:
        """Change what gives the numbers, and then the type: a sequence of its own follows its column."""
        old, new = operation.existing_server_default, operation.modify_server_default
        if operation.modify_type is None:
            return [self._numbering.changed(operation, old, new)]
        if not isinstance(new, _NUMBERED):
            retyped = self._retype(operation)
            return [retyped]
        numbers = self._numbering.changed(operation, old, new)
        bare = alter(operation, modify_type=operation.modify_type)
        bare.existing_server_default = new
        retyped = self._retype(_with(bare, existing_type=operation.existing_type))
        return [numbers, retyped]

    def _retype(self, operation: ops.AlterColumnOp) -> ProposedChange:
        """Change a type in its transaction, with the conversion and the default that PostgreSQL asks for."""
        new_default = self._wanted_default(operation)
        conversion = self._server.conversion(operation, _sample(operation.existing_type))
        if conversion is None:
            return ProposedChange(CHANGE, key(operation), [self._impossible(operation)], [], locks=False)
        back = operation.reverse()
        forth = self._steps(operation, operation.existing_server_default, new_default, conversion)
        conversion_back = self._server.conversion(back, _sample(back.existing_type)) or ""
        backwards = self._steps(back, new_default, operation.existing_server_default, conversion_back)
        if conversion and isinstance(back.modify_type, sa.String) and back.modify_type.length:
            backwards = [
                Remark(f"Fails while a value is longer than {back.modify_type.length} characters as a text."),
                *backwards,
            ]
        views = self._server.views_on(operation)
        remarks = self._remarks(operation, conversion)
        if views:
            forth, backwards, more = _around(views, operation, forth, backwards)
            remarks += more
        return ProposedChange(CHANGE, key(operation), [*remarks, *forth], backwards, locks=True)

    def _steps(self, operation: ops.AlterColumnOp, old: Any, new: Any, conversion: str) -> Steps:
        """Return the operations that change the type and leave the default as it is to be."""
        bare = alter(operation, modify_type=operation.modify_type)
        retyped: MigrateOperation = Retyped(bare, conversion) if conversion else bare
        if isinstance(old, sa.Identity) and isinstance(new, sa.Identity):
            return [retyped]  # PostgreSQL changes the sequence of an identity with its column
        if isinstance(old, Serial) and isinstance(new, Serial):
            return [retyped, self._numbering.wider(operation, old)]
        before, after = self._numbering.around(operation, old, new)
        if before or after:
            return [*before, retyped, *after]
        if old is None and new is None:
            return [retyped]
        fate = self._server.fate_of_default(operation, _text(old), _text(new), conversion)
        first = [alter(operation, modify_server_default=None)] if old is not None and fate == LOST else []
        last = [alter(operation, modify_server_default=new)] if new is not None and fate != KEPT else []
        return [*first, retyped, *last]

    def _wanted_default(self, operation: ops.AlterColumnOp) -> Any:
        """Return what gives values afterwards, as the models write it: PostgreSQL writes the old one otherwise than a new one."""
        if operation.modify_server_default is not False:
            return operation.modify_server_default
        column, existing = self._given.model_column(operation), operation.existing_server_default
        if column is None or isinstance(existing, _NUMBERED):
            return existing
        return column.server_default

    def _remarks(self, operation: ops.AlterColumnOp, conversion: str) -> Steps:
        effect = self._server.effect_of_retyping(operation)
        if effect.rewrites:
            return [comments.rewrites("this change of type", operation, conversion)]
        checks = self._server.checks_on(operation)
        told: Steps = [comments.checks(operation, checks)] if checks else []
        if effect.rebuilds:
            table = self._given.table(key(operation))
            names = [
                name
                for name, index in (table.indexes.items() if table else ())
                if any(part.expression == operation.column_name for part in index.parts)
            ]
            told.append(comments.rebuilds(operation, names))
        return told

    def _impossible(self, operation: ops.AlterColumnOp) -> Remark:
        name, new = operation.column_name, f"{operation.column_name}_new"
        type_ = self._server.name_of(operation.modify_type)
        return comments.no_conversion(operation.table_name, name, new, type_, self._referring(operation))

    def _referring(self, operation: ops.AlterColumnOp) -> list[str]:
        table = self._given.table(key(operation))
        keys = table.constraints.values() if table else ()
        return [
            name for constraint in keys if operation.column_name in constraint.columns for name in constraint.needed_by
        ]


def _is_serial(*defaults: object) -> bool:
    return any(isinstance(default, Serial) for default in defaults) or not all(
        isinstance(default, sa.Identity) or default is None for default in defaults
    )


def _sample(type_: Any) -> str | None:
    """Return a value of a type whose texts all look alike: what it does not become, none of its values does."""
    if isinstance(type_, sa.Integer | sa.Numeric | sa.Boolean | sa.Date | sa.DateTime | sa.Uuid):
        return fill_values.neutral(type_)[0]
    return None


def _text(default: Any) -> str | None:
    argument = getattr(default, "arg", None)
    return None if argument is None else columns.default_sql(argument, _DIALECT)


def _with(operation: ops.AlterColumnOp, **changed: object) -> ops.AlterColumnOp:
    for name, value in changed.items():
        setattr(operation, name, value)
    return operation


def _around(views: list[View], operation: ops.AlterColumnOp, forth: Steps, back: Steps) -> tuple[Steps, Steps, Steps]:
    """Return the steps with the views on the column dropped before and made again behind them."""
    kept = [view for view in views if view.kind != "view"]
    if kept:
        return forth, back, [comments.kept_views(operation.column_name, [view.name for view in kept])]
    names = [view.name for view in views]
    place = key(operation)
    drop = [Statement("", "", [f"DROP VIEW {view.sql}"], [], place=place) for view in reversed(views)]
    make = [Statement("", "", [f"CREATE VIEW {view.sql} AS {view.definition}"], [], place=place) for view in views]
    return [*drop, *forth, *make], [*drop, *back, *make], [comments.remade_views(operation.column_name, names)]
