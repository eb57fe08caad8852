"""What does another primary key become on a table that is in use?

Its index is built beside the old one; then the two change places in one short transaction. Never connects.
"""

from __future__ import annotations

from alembic.operations import MigrateOperation, ops

from railhead.autogenerate import comments
from railhead.autogenerate.files import CHANGE, FINISH, PREPARE, ProposedChange
from railhead.autogenerate.given import Given
from railhead.autogenerate.render import Verb, key
from railhead.autogenerate.statements import ChangePrimaryKey, KeyShape


def changes(given: Given, operation: ChangePrimaryKey) -> list[ProposedChange]:
    """Return what is to be done; before the columns that go, behind those that come."""
    place = key(operation)
    old, new = operation.old, operation.new
    if old and operation.needed_by:
        return [ProposedChange(CHANGE, place, [comments.needed_key(old.name, operation.needed_by)], [])]
    about = [step for step in given.proposed if key(step) == place]
    come = {step.column.name for step in about if isinstance(step, ops.AddColumnOp)}
    go = {step.column_name for step in about if isinstance(step, ops.DropColumnOp)}
    early, late = bool(old and go & set(old.columns)), bool(new and come & set(new.columns))
    make, make_back = ([_make(place, shape)] if shape else [] for shape in (new, old))
    drop, drop_back = ([_drop(place, shape)] if shape else [] for shape in (old, new))
    if early and late:
        return [
            ProposedChange(PREPARE, place, drop, make_back),
            ProposedChange(FINISH, place, make, drop_back),
        ]
    part = PREPARE if early or not new else FINISH
    return [ProposedChange(part, place, make or drop, make_back or drop_back)]


def _make(place: tuple[str | None, str], shape: KeyShape) -> MigrateOperation:
    return Verb("create_primary_key_concurrently", shape.name, place[1], columns=shape.columns, schema=place[0])


def _drop(place: tuple[str | None, str], shape: KeyShape) -> MigrateOperation:
    plain = ops.DropConstraintOp(shape.name, place[1], type_="primary", schema=place[0])
    return Verb("drop_constraint_if_exists", like=plain)
