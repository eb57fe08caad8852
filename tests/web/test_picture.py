from __future__ import annotations

from itertools import combinations

from hypothesis import given, settings
from hypothesis import strategies as st

from railhead.contrib.flask.picture import WIDTH, Box, draw
from railhead.contrib.flask.tables import Column, Constraint, Table


def table(name: str, *targets: str, columns: int = 2) -> Table:
    """Make a table with a key, plain columns, and one foreign key to each of `targets`."""
    names = ["id", *(f"plain_{number}" for number in range(columns)), *(f"{target}_id" for target in targets)]
    made = tuple(Column(one, "bigint", False, None, None, (), None) for one in names)
    references = tuple(
        Constraint(f"fk_{target}", "f", "", True, (f"{target}_id",), target) for target in dict.fromkeys(targets)
    )
    return Table(name, 0, 0, 0, None, made, (), (Constraint("pk", "p", "", True, ("id",), None), *references))


def overlap(one: Box, other: Box) -> bool:
    """Tell whether two boxes touch."""
    across = one.x < other.x + WIDTH and other.x < one.x + WIDTH
    return across and one.y < other.y + other.height and other.y < one.y + one.height


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 60).flatmap(lambda n: st.lists(st.lists(st.integers(0, 59), max_size=4), min_size=n, max_size=n)))
def test_every_table_has_its_own_place(references: list[list[int]]) -> None:
    """Whatever refers to whatever, circles included: all tables are there, none touches another, every line is drawn."""
    count = len(references)
    found = [sorted({target for target in targets if target < count}) for targets in references]
    tables = [table(f"t{number}", *(f"t{target}" for target in targets)) for number, targets in enumerate(found)]
    picture = draw(tables)
    assert {box.name for box in picture.boxes} == {one.name for one in tables}
    assert not [pair for pair in combinations(picture.boxes, 2) if overlap(*pair)]
    assert all(box.x > 0 and box.x + WIDTH < picture.width for box in picture.boxes)
    assert all(box.y > 0 and box.y + box.height < picture.height for box in picture.boxes)
    assert len(picture.lines) == sum(len(targets) for targets in found)


def test_who_is_referred_to_stands_further_left() -> None:
    """The picture reads from left to right, from what stands for itself to what rests on it."""
    picture = draw([table("task", "project", "member"), table("project"), table("member"), table("note", "task")])
    place = {box.name: box.x for box in picture.boxes}
    assert place["project"] == place["member"] < place["task"] < place["note"]


def test_few_tables_show_their_columns_and_many_their_keys() -> None:
    """With five tables there is room for every column; with sixty only for what joins them."""
    few = draw([table("task", "project", columns=3), table("project")])
    many = draw([table("task", "project", columns=3), table("project"), *(table(f"t{n}") for n in range(58))])
    assert [row.text for row in few.boxes[-1].rows] == ["id", "plain_0", "plain_1", "plain_2", "project_id"]
    task = next(box for box in many.boxes if box.name == "task")
    assert [row.text for row in task.rows] == ["id", "project_id", "3 more"]


def test_a_table_of_many_columns_keeps_its_keys_in_sight() -> None:
    """A box does not grow without end, and what is left out is counted."""
    (box,) = (one for one in draw([table("wide", "other", columns=40), table("other")]).boxes if one.name == "wide")
    texts = [row.text for row in box.rows]
    assert {"id", "other_id", "28 more"} <= set(texts)
    assert len(texts) == 15


def test_a_long_chain_is_drawn() -> None:
    """A thousand tables of which each refers to the next are a long picture, and no error."""
    picture = draw([table(f"t{number:04}", f"t{number + 1:04}") for number in range(999)] + [table("t0999")])
    assert len(picture.lines) == 999
    assert [box.name for box in picture.boxes] == [f"t{number:04}" for number in reversed(range(1000))]
