"""How do tables that refer to each other come and go?

Alembic writes a table with a key to one that is not there yet, and leaves out a key that says `use_alter`. Here each foreign key
that closes a circle is an operation of its own. Never connects.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

import sqlalchemy as sa
from alembic.operations import MigrateOperation, ops
from sqlalchemy.exc import CircularDependencyError

from railhead.autogenerate.render import Key, key

Graph = Mapping[Key, Collection[sa.ForeignKeyConstraint]]
"""Tables, each with its foreign keys."""


def opened(operations: Iterable[MigrateOperation]) -> list[MigrateOperation]:
    """Return the same with each foreign key that closes a circle apart from its table, which then waits for no other."""
    found = list(operations)
    creates = [operation for operation in found if isinstance(operation, ops.CreateTableOp)]
    added = {part for operation in creates for part in _foreign_keys(operation.columns) if part.use_alter}
    added |= set(_closing({key(operation): _foreign_keys(operation.columns) - added for operation in creates}))
    for create in creates:
        create.columns = [part for part in create.columns if part not in added]
    going = {key(operation): operation.to_table() for operation in found if isinstance(operation, ops.DropTableOp)}
    dropped = set(_closing({place: table.foreign_key_constraints for place, table in going.items()}))
    for table in going.values():
        table.constraints -= dropped
    return [
        *(
            ops.DropTableOp.from_table(going[key(operation)]) if dropped and key(operation) in going else operation
            for operation in found
        ),
        *map(ops.AddConstraintOp.from_constraint, sorted(added, key=_name)),
        *map(ops.DropConstraintOp.from_constraint, sorted(dropped, key=_name)),
    ]


def drops_last(operations: list[MigrateOperation]) -> list[MigrateOperation]:
    """Return the same with tables dropped in an order that their foreign keys allow, each behind what refers to it."""
    drops = [operation for operation in operations if isinstance(operation, ops.DropTableOp)]
    if len(drops) < 2:
        return operations
    graph = {key(operation): operation.to_table().foreign_key_constraints for operation in drops}
    order = list(sa.util.topological.sort(_pairs(graph), list(graph), deterministic_order=True))[::-1]
    about = {place: [operation for operation in operations if key(operation) == place] for place in order}
    rest = [operation for operation in operations if key(operation) not in graph]
    return [*rest, *(operation for place in order for operation in about[place])]


def _foreign_keys(parts: Iterable[object]) -> set[sa.ForeignKeyConstraint]:
    return {operation for operation in parts if isinstance(operation, sa.ForeignKeyConstraint)}


def _closing(graph: Graph) -> list[sa.ForeignKeyConstraint]:
    """Return the foreign keys between tables that are part of a circle."""
    try:
        list(sa.util.topological.sort(_pairs(graph), list(graph)))
    except CircularDependencyError as error:
        return [
            operation
            for place in error.cycles
            for operation in graph[place]
            if _target(operation) in error.cycles - {place}
        ]
    return []


def _pairs(graph: Graph) -> list[tuple[Key, Key]]:
    """Return each pair of what is referred to and what refers to it."""
    pairs = [(_target(operation), place) for place, keys in graph.items() for operation in keys]
    return [(referred, place) for referred, place in pairs if referred in graph and referred != place]


def _target(constraint: sa.ForeignKeyConstraint) -> Key:
    *schema, table, _column = constraint.elements[0].target_fullname.split(".")
    return (schema[0] if schema else None), table


def _name(constraint: sa.ForeignKeyConstraint) -> str:
    return f"{constraint.table.key} {constraint.column_keys}"
