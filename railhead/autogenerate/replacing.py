"""Which of the proposed drops and additions are the two halves of one change?

A thing under another name is renamed. One that is replaced stays until the new one is there: two halves apart would leave the
table without its rule, or its index, between them. Never connects.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from alembic.operations import MigrateOperation, ops

from railhead.autogenerate.render import Key, key
from railhead.autogenerate.tables import rename

Added = ops.CreateIndexOp | ops.CreateUniqueConstraintOp | ops.CreateCheckConstraintOp | ops.CreateForeignKeyOp
Dropped = ops.DropIndexOp | ops.DropConstraintOp


class Replace(MigrateOperation):
    """An index, or a unique constraint, in the place of another."""

    def __init__(self, dropped: Dropped, added: ops.CreateIndexOp | ops.CreateUniqueConstraintOp) -> None:
        """Keep both halves."""
        self.dropped = dropped
        self.added = added
        self.schema, self.table_name = key(added)

    @property
    def keeps_name(self) -> bool:
        """Whether both have the same name."""
        return name_of(self.dropped) == name_of(self.added)


class _Shape(NamedTuple):
    """What makes two things the same but for their names."""

    kind: str
    columns: tuple[str, ...]
    options: tuple[str, ...]


def paired(operations: Iterable[MigrateOperation], checks: Mapping[str, str]) -> list[MigrateOperation]:
    """Return the same with each pair as one operation in the place of its second half.

    `checks` says what checks are, by the text in which the models, or the database, have them.
    """
    listed = list(operations)
    drops = [proposed for proposed in listed if isinstance(proposed, Dropped) and _shape(proposed.reverse(), checks)]
    gone: dict[int, MigrateOperation | None] = {}
    columns = {(key(proposed), proposed.column_name) for proposed in listed if isinstance(proposed, ops.DropColumnOp)}
    for added in [proposed for proposed in listed if isinstance(proposed, Added)]:
        partner = _partner(added, [drop for drop in drops if id(drop) not in gone], columns, checks)
        if partner is None:
            continue
        if _shape(partner.reverse(), checks) == _shape(added, checks) and name_of(partner) != name_of(added):
            kind = "index" if isinstance(added, ops.CreateIndexOp) else "constraint"
            gone[id(partner)], gone[id(added)] = None, rename(key(added), name_of(partner), name_of(added), kind)
        elif isinstance(added, ops.CreateIndexOp | ops.CreateUniqueConstraintOp):
            gone[id(partner)], gone[id(added)] = None, Replace(partner, added)
    return [proposed for operation in listed if (proposed := gone.get(id(operation), operation)) is not None]


def _partner(
    added: Added, drops: list[Dropped], gone: set[tuple[Key, str]], checks: Mapping[str, str]
) -> Dropped | None:
    """Return the drop that is the other half: of the same name, else of the same shape, else of some of its columns."""
    here = [drop for drop in drops if key(drop) == key(added)]
    same_name = [drop for drop in here if name_of(drop) == name_of(added)]
    if same_name and isinstance(added, ops.CreateIndexOp | ops.CreateUniqueConstraintOp):
        return same_name[0] if _is_lookup(same_name[0]) and not _touches(same_name[0], gone) else None
    if same_name:
        return None
    shape = _shape(added, checks)
    alike = [drop for drop in here if _shape(drop.reverse(), checks) == shape]
    if alike:
        return alike[0]
    if not isinstance(added, ops.CreateIndexOp | ops.CreateUniqueConstraintOp) or not _is_unique(added):
        return None
    wanted = set(columns_of(added))
    near = [drop for drop in here if _is_lookup(drop) and _is_unique(drop.reverse()) and not _touches(drop, gone)]
    return next((drop for drop in near if wanted & set(columns_of(drop.reverse()))), None)


def _touches(drop: Dropped, gone: set[tuple[Key, str]]) -> bool:
    """Tell whether one of its columns goes, too: then it cannot stay until later."""
    return any((key(drop), column) in gone for column in columns_of(drop.reverse()))


def _is_lookup(drop: Dropped) -> bool:
    return isinstance(drop, ops.DropIndexOp) or drop.constraint_type == "unique"


def _is_unique(operation: MigrateOperation) -> bool:
    return isinstance(operation, ops.CreateUniqueConstraintOp) or bool(getattr(operation, "unique", False))


def name_of(operation: MigrateOperation) -> str:
    """Return the name of an index or a constraint."""
    return str(getattr(operation, "index_name", None) or getattr(operation, "constraint_name", ""))


def columns_of(operation: MigrateOperation) -> list[str]:
    """Return what an index or a unique constraint is on."""
    parts = getattr(operation, "columns", None) or ()
    return [str(getattr(part, "name", None) or part) for part in parts]


def _shape(operation: MigrateOperation, checks: Mapping[str, str]) -> _Shape | None:
    match operation:
        case ops.CreateIndexOp():
            options = {
                name: str(value) for name, value in operation.kw.items() if value not in (None, False, {}, [], ())
            }
            return _Shape(f"index {bool(operation.unique)}", tuple(columns_of(operation)), _sorted(options))
        case ops.CreateUniqueConstraintOp():
            return _Shape("unique", tuple(columns_of(operation)), _sorted(operation.kw))
        case ops.CreateCheckConstraintOp():
            text = str(operation.condition)
            return _Shape("check", (checks.get(text, text),), ())
    return None


def _sorted(options: Mapping[str, object]) -> tuple[str, ...]:
    return tuple(sorted(f"{name}={value}" for name, value in options.items() if value not in (None, False)))
