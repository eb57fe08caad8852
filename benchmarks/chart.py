"""What does the no-op cost look like, as a picture?

Two panels of lines over the number of revisions, both axes logarithmic, drawn as plain SVG that suits light and dark pages.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from benchmarks.results import Results

SERIES = {
    "limit": "bare connection",
    "railhead": "Railhead",
    "alembic": "Alembic",
    "flask-migrate": "Flask-Migrate",
    "django": "Django",
    "dbmate": "dbmate",
}
PANELS = (("inside", "inside the application"), ("whole", "as a process of its own"))
WIDTH, HEIGHT, TOP, BOTTOM, LEFT, LABELS = 412, 320, 64, 40, 44, 116
LINE = 14
"""The least distance between two labels."""

STYLE = """
  text { font: 12px system-ui, sans-serif; fill: #57606a }
  .title { font-weight: 600; font-size: 14px; fill: #1f2328 }
  .grid { stroke: #d0d7de; stroke-width: 1 }
  path { fill: none; stroke-width: 2; stroke-linejoin: round }
  .limit { stroke: #8c959f; stroke-dasharray: 4 3 } .railhead { stroke: #1a7f37; stroke-width: 3.5 }
  .alembic { stroke: #9a6700 } .flask-migrate { stroke: #bc4c00 } .django { stroke: #0969da } .dbmate { stroke: #8250df }
  text.railhead { fill: #1a7f37; font-weight: 600; stroke: none } text.alembic { fill: #9a6700; stroke: none }
  text.flask-migrate { fill: #bc4c00; stroke: none } text.django { fill: #0969da; stroke: none }
  text.dbmate { fill: #8250df; stroke: none } text.limit { stroke: none }
  @media (prefers-color-scheme: dark) {
    text { fill: #9198a1 } .title { fill: #f0f6fc } .grid { stroke: #3d444d }
    .limit { stroke: #9198a1 } .railhead { stroke: #3fb950 } .alembic { stroke: #d29922 } .flask-migrate { stroke: #f0883e }
    .django { stroke: #4493f8 } .dbmate { stroke: #ab7df8 }
    text.railhead { fill: #3fb950 } text.alembic { fill: #d29922 } text.flask-migrate { fill: #f0883e }
    text.django { fill: #4493f8 } text.dbmate { fill: #ab7df8 }
  }
"""


class Frame(NamedTuple):
    """Where a panel puts a number of revisions and a number of milliseconds."""

    left: float
    sizes: Sequence[int]
    least: float
    most: float

    def x(self, size: int) -> float:
        """Return the place of `size` from the left."""
        low, high = math.log10(self.sizes[0]), math.log10(self.sizes[-1])
        share = (math.log10(size) - low) / (high - low) if high > low else 0.5
        return self.left + LEFT + share * (WIDTH - LEFT - LABELS)

    def y(self, milliseconds: float) -> float:
        """Return the place of `milliseconds` from the top."""
        share = (math.log10(milliseconds) - math.log10(self.least)) / (math.log10(self.most) - math.log10(self.least))
        return HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)


def svg(results: Results) -> str:
    """Return the picture of both panels, of which the second may be empty."""
    drawn = [
        line
        for number, (measure, title) in enumerate(PANELS)
        for line in _panel(results, measure, title, WIDTH * number)
    ]
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH * len(PANELS)} {HEIGHT}" role="img" '
        'aria-label="Time of a start with nothing to do, in milliseconds, against the number of revisions, for each tool">'
    )
    caption = (
        '<text class="title" x="12" y="22">A start with nothing to do: milliseconds against number of revisions</text>'
    )
    return "\n".join([head, f"<style>{STYLE}</style>", caption, *drawn, "</svg>\n"])


def _panel(results: Results, measure: str, title: str, left: float) -> list[str]:
    """Return one panel: grid, lines, and a label at the end of each line."""
    sizes = results.sizes(measure)
    points = {name: _points(results, measure, name) for name in SERIES if name in results.names(measure)}
    every = [milliseconds for line in points.values() for _, milliseconds in line]
    if not every:
        return []
    frame = Frame(left, sizes, 10 ** math.floor(math.log10(min(every))), 10 ** math.ceil(math.log10(max(every))))
    lines = [_path(name, [(frame.x(size), frame.y(value)) for size, value in line]) for name, line in points.items()]
    ends = {name: frame.y(line[-1][1]) for name, line in points.items()}
    labels = [
        f'<text class="{name}" x="{frame.x(sizes[-1]) + 8:.1f}" y="{place + 4:.1f}">{SERIES[name]}</text>'
        for name, place in _apart(ends).items()
    ]
    heading = f'<text x="{left + 12}" y="46">{title}</text>'
    return [heading, *_grid(frame), *lines, *labels]


def _points(results: Results, measure: str, name: str) -> list[tuple[int, float]]:
    found = [(size, results.median(measure, name, size)) for size in results.sizes(measure)]
    return [(size, median * 1000) for size, median in found if median]


def _grid(frame: Frame) -> list[str]:
    """Return a line for each power of ten, and the numbers of revisions below."""
    drawn = []
    for power in range(round(math.log10(frame.least)), round(math.log10(frame.most)) + 1):
        y, right = frame.y(10**power), frame.left + WIDTH - LABELS
        drawn.append(f'<path class="grid" d="M{frame.left + LEFT:.0f} {y:.1f}H{right:.0f}"/>')
        drawn.append(f'<text x="{frame.left + LEFT - 6:.0f}" y="{y + 4:.1f}" text-anchor="end">{10**power}</text>')
    below = f'y="{HEIGHT - BOTTOM + 20}" text-anchor="middle"'
    return [*drawn, *(f'<text x="{frame.x(size):.1f}" {below}>{size}</text>' for size in frame.sizes)]


def _path(name: str, places: Sequence[tuple[float, float]]) -> str:
    return f'<path class="{name}" d="M{" L".join(f"{x:.1f} {y:.1f}" for x, y in places)}"/>'


def _apart(ends: dict[str, float]) -> dict[str, float]:
    """Return the labels' places, moved down where two would touch."""
    placed: dict[str, float] = {}
    below = -math.inf
    for name, place in sorted(ends.items(), key=lambda item: item[1]):
        below = max(place, below + LINE)
        placed[name] = below
    return placed
