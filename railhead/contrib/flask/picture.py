"""How do the tables hang together? An entity-relationship picture, laid out in layers: who is referred to stands further left.

Knows neither PostgreSQL nor SVG: gives boxes and lines in pixels, and the template draws them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from railhead.contrib.flask.tables import Table

WIDTH = 216
"""Of a box; all measures are pixels."""

HEAD, ROW = 30, 21
BETWEEN_LAYERS = 88
BETWEEN_BOXES = 22
MARGIN = 14
LANE = 10
"""The height of a line that passes between the boxes of a layer."""

ALL_COLUMNS_UP_TO = 12
"""Tables; with more of them a box shows its keys only."""

ROWS_AT_MOST = 14
IN_A_LAYER = 12
LETTERS = 27

_SWEEPS = 8


class Row(NamedTuple):
    """A column in a box."""

    text: str
    kind: str
    """`key`, `reference`, `plain`, or `more` for the number of columns that are not shown."""
    y: float


class Box(NamedTuple):
    """A table. The rows' `y` is where their text stands, from the top of the picture."""

    name: str
    title: str
    """The name, cut to the width of the box."""
    anchor: str
    x: float
    y: float
    height: float
    rows: tuple[Row, ...]


class Line(NamedTuple):
    """A foreign key. `path` is what SVG calls d, `foot` the crow's foot at the table that refers."""

    label: str
    path: str
    foot: str


class Picture(NamedTuple):
    """Everything to draw."""

    width: float
    height: float
    boxes: tuple[Box, ...]
    lines: tuple[Line, ...]


@dataclass(slots=True, eq=False)
class _Node:
    """A box, or the lane on which the lines to one table pass a layer."""

    table: Table | None
    layer: int
    height: float
    goal: str
    """The table itself, or the one that the lane leads to."""
    rows: tuple[tuple[str, str, str], ...] = ()
    """Name, text and kind of each column that is shown."""
    y: float = 0.0
    left: list[_Node] = field(default_factory=list)
    right: list[_Node] = field(default_factory=list)

    @property
    def x(self) -> float:
        return MARGIN + self.layer * (WIDTH + BETWEEN_LAYERS)

    @property
    def middle(self) -> float:
        return self.y + self.height / 2


def draw(tables: Sequence[Table]) -> Picture:
    """Return the picture of these tables; those that nobody refers to and that refer to nobody stand below the others."""
    by_name = {table.name: table for table in tables}
    parents = {
        table.name: {str(one.target) for one in table.references if one.target in by_name and one.target != table.name}
        for table in tables
    }
    related = {name for name, found in parents.items() if found} | {one for found in parents.values() for one in found}
    related |= {table.name for table in tables if any(one.target == table.name for one in table.references)}
    keys_only = len(tables) > ALL_COLUMNS_UP_TO
    layers = _layers({name: parents[name] for name in parents if name in related})
    nodes = {name: _node(by_name[name], layer, keys_only=keys_only) for name, layer in layers.items()}
    lanes = _lanes(nodes, parents)
    _arrange([*nodes.values(), *lanes.values()])
    below = max((node.y + node.height for node in nodes.values()), default=MARGIN - BETWEEN_BOXES) + BETWEEN_BOXES
    alone = [_node(table, 0, keys_only=keys_only) for table in tables if table.name not in related]
    widest = max([*layers.values(), min(len(alone), 4) - 1, 0])
    _shelve(alone, widest + 1, below)
    every = [*nodes.values(), *alone]
    return Picture(
        width=MARGIN * 2 + WIDTH + widest * (WIDTH + BETWEEN_LAYERS) + 2 * LANE,
        height=max((node.y + node.height for node in [*every, *lanes.values()]), default=0) + MARGIN,
        boxes=tuple(_box(node) for node in sorted(every, key=lambda node: (node.x, node.y))),
        lines=tuple(_lines(nodes, lanes)),
    )


def _layers(parents: Mapping[str, set[str]]) -> dict[str, int]:
    """Return the layer of each table: right of all that it refers to, but for circles, and close to who refers to it."""
    depth: dict[str, int] = {}
    acyclic: dict[str, set[str]] = {}
    for name in sorted(parents):
        _descend(name, parents, depth, acyclic)
    for name in sorted(depth, key=lambda one: -depth[one]):
        children = [depth[child] for child, found in acyclic.items() if name in found]
        depth[name] = max(depth[name], min(children, default=depth[name] + 1) - 1)
    return _no_layer_too_long(depth, parents)


def _descend(start: str, parents: Mapping[str, set[str]], depth: dict[str, int], acyclic: dict[str, set[str]]) -> None:
    """Note how deep `start` and all above it stand, and what leads to each without a circle. However long the way is."""
    path = [] if start in depth else [start]
    while path:
        name = path[-1]
        above = acyclic.setdefault(name, parents[name].difference(path))
        ahead = min((one for one in above if one not in depth), default=None)
        if ahead is None:
            depth[path.pop()] = 1 + max((depth[one] for one in above), default=-1)
        else:
            path.append(ahead)


def _no_layer_too_long(depth: Mapping[str, int], parents: Mapping[str, set[str]]) -> dict[str, int]:
    """Return layers of at most IN_A_LAYER tables; those with the same parents stay together."""
    layers: dict[str, int] = {}
    number = 0
    for level in sorted(set(depth.values())):
        names = sorted((name for name in depth if depth[name] == level), key=lambda one: (sorted(parents[one]), one))
        parts = -(-len(names) // IN_A_LAYER)
        size = -(-len(names) // parts)
        layers |= {name: number + place // size for place, name in enumerate(names)}
        number += parts
    return layers


def _node(table: Table, layer: int, *, keys_only: bool) -> _Node:
    rows = tuple(_rows(table, keys_only=keys_only))
    return _Node(table, layer, HEAD + ROW * len(rows) + (6 if rows else 0), table.name, rows)


def _rows(table: Table, *, keys_only: bool) -> Iterator[tuple[str, str, str]]:
    kinds = {
        column.name: "reference" if table.target(column.name) else "key" if column.name in table.key else "plain"
        for column in table.columns
    }
    shown = [name for name, kind in kinds.items() if kind != "plain" or not keys_only]
    cut = ROWS_AT_MOST if len(shown) > ROWS_AT_MOST + 1 else len(shown)
    if cut < len(shown):  # keys first, so that no line ends at a column that is not there
        shown = sorted(shown, key=lambda name: kinds[name] == "plain")
    for name in shown[:cut]:
        yield name, _cut(name), kinds[name]
    hidden = len(table.columns) - cut
    if hidden:
        yield "", f"{hidden} more", "more"


def _lanes(nodes: Mapping[str, _Node], parents: Mapping[str, set[str]]) -> dict[tuple[int, str], _Node]:
    """Return the lanes of lines that cross layers, one for each layer and goal, and join all neighbours."""
    lanes: dict[tuple[int, str], _Node] = {}
    for name, node in nodes.items():
        for parent in sorted(parents[name]):
            goal = nodes[parent]
            here = node
            for layer in range(node.layer - 1, goal.layer - 1, -1):
                there = goal
                if layer > goal.layer:
                    there = lanes.setdefault((layer, parent), _Node(None, layer, LANE, parent))
                if there not in here.left:
                    here.left.append(there)
                    there.right.append(here)
                here = there
    return lanes


def _arrange(nodes: Sequence[_Node]) -> None:
    """Give every node its height in the picture: few crossings, and near to what it is joined with."""
    layers: dict[int, list[_Node]] = defaultdict(list)
    for node in nodes:
        layers[node.layer].append(node)
    for layer in layers.values():
        layer.sort(key=lambda node: (node.goal, node.table is None))
        _stack(layer, [0.0] * len(layer))
    for sweep in range(_SWEEPS):
        for number in sorted(layers, reverse=bool(sweep % 2)):
            layer = layers[number]
            wanted = {id(node): _wanted(node, leftwards=not sweep % 2) for node in layer}
            layer.sort(key=lambda node: wanted[id(node)])
            _stack(layer, [wanted[id(node)] - node.height / 2 for node in layer])
    highest = min((node.y for node in nodes), default=0.0)
    for node in nodes:
        node.y = round(node.y + MARGIN - highest)


def _wanted(node: _Node, *, leftwards: bool) -> float:
    """Return where the middle of a node would best be: between its neighbours on the side that was arranged before."""
    beside = (node.left or node.right) if leftwards else (node.right or node.left)
    return sum(one.middle for one in beside) / len(beside) if beside else node.middle


def _stack(layer: Sequence[_Node], wanted: Sequence[float]) -> None:
    """Put nodes as near as possible to where they want to be, in their order and without touching.

    The mean of two such stacks, one pushed down and one pushed up, touches nowhere either.
    """
    down, up = list(wanted), list(wanted)
    for place in range(1, len(layer)):
        down[place] = max(down[place], down[place - 1] + layer[place - 1].height + _gap(layer, place))
    for place in range(len(layer) - 2, -1, -1):
        up[place] = min(up[place], up[place + 1] - layer[place].height - _gap(layer, place + 1))
    for node, low, high in zip(layer, down, up, strict=True):
        node.y = (low + high) / 2


def _gap(layer: Sequence[_Node], place: int) -> float:
    """Return the room above a node: between two lanes less than between boxes."""
    both = layer[place].table is None and layer[place - 1].table is None
    return LANE if both else BETWEEN_BOXES


def _shelve(alone: Sequence[_Node], across: int, top: float) -> None:
    """Put tables without relations in shelves below the picture."""
    for start in range(0, len(alone), across):
        shelf = alone[start : start + across]
        for place, node in enumerate(shelf):
            node.layer, node.y = place, top
        top += max(node.height for node in shelf) + BETWEEN_BOXES


def _lines(nodes: Mapping[str, _Node], lanes: Mapping[tuple[int, str], _Node]) -> Iterator[Line]:
    for node in nodes.values():
        assert node.table is not None
        for one in node.table.references:
            goal = nodes.get(str(one.target))
            if goal is None:
                continue
            label = f"{node.goal} ({', '.join(one.columns)}) refers to {goal.goal}"
            start = _height_of(node, one.columns)
            if goal.layer < node.layer:
                path = _to_the_left(node, start, goal, lanes)
                x, side = node.x, -1
            else:
                path = _around(node, start, goal)
                x, side = node.x + WIDTH, 1
            foot = f"M{x:g} {start - 5:g}L{x + side * 10:g} {start:g}L{x:g} {start + 5:g}"
            yield Line(label, path, foot)


def _to_the_left(node: _Node, start: float, goal: _Node, lanes: Mapping[tuple[int, str], _Node]) -> str:
    x, y = node.x, start
    path = f"M{x:g} {y:g}"
    for layer in range(node.layer - 1, goal.layer - 1, -1):
        lane = lanes.get((layer, goal.goal)) if layer > goal.layer else None
        there = lane or goal
        end_x = there.x + WIDTH
        end_y = lane.middle if lane else goal.y + HEAD / 2
        bend = BETWEEN_LAYERS * 0.55
        path += f"C{x - bend:g} {y:g} {end_x + bend:g} {end_y:g} {end_x:g} {end_y:g}"
        x, y = there.x, end_y
        if lane:
            path += f"H{x:g}"
    return path


def _around(node: _Node, start: float, goal: _Node) -> str:
    """To itself, to the same layer or to the right, which only circles have: a bow on the right."""
    x, end_x = node.x + WIDTH, goal.x + (WIDTH if goal.layer == node.layer else 0)
    end = goal.y + HEAD / 2
    bow = 44 if goal.layer == node.layer else -44
    return f"M{x:g} {start:g}C{x + 44:g} {start:g} {end_x + bow:g} {end:g} {end_x:g} {end:g}"


def _height_of(node: _Node, columns: Iterable[str]) -> float:
    names = [name for name, _, _ in node.rows]
    place = next((names.index(one) for one in columns if one in names), None)
    return node.y + HEAD / 2 if place is None else node.y + HEAD + ROW * (place + 0.5) + 2


def _box(node: _Node) -> Box:
    assert node.table is not None
    rows = tuple(
        Row(text, kind, node.y + HEAD + ROW * (place + 0.5) + 7) for place, (_, text, kind) in enumerate(node.rows)
    )
    return Box(node.goal, _cut(node.goal), node.table.anchor, node.x, node.y, node.height, rows)


def _cut(text: str) -> str:
    return text if len(text) <= LETTERS else f"{text[: LETTERS - 1]}…"
