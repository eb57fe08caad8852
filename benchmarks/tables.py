"""How does a sample look in a table?

Medians with their quartiles, in units that suit the number, and how many times the baseline that is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from benchmarks import tools
from benchmarks.results import Results, Spread

Unit = Callable[[float], str]

LABELS = {tool.name: tool.label for tool in tools.ALL} | {"railhead-call": "Railhead, the hook's call alone"}


def time(seconds: float) -> str:
    """Return seconds as milliseconds with three digits that count."""
    milliseconds = seconds * 1000
    return f"{milliseconds:.0f}" if milliseconds >= 99.5 else f"{milliseconds:.3g}"


def memory(size: float) -> str:
    """Return bytes as mebibytes."""
    return f"{size / 2**20:.0f}"


def whole(number: float) -> str:
    """Return a count."""
    return f"{number:.0f}"


def yes(number: float) -> str:
    """Return whether it is so each time (1), never (0) or now and then."""
    return {0.0: "no", 1.0: "yes"}.get(number, "not always")


def cell(found: Spread | None, unit: Unit, base: Spread | None = None) -> str:
    """Return `138 (136–141) · 38×`: the median, the quartiles unless equal, and how many times the base's median it is."""
    if found is None:
        return ""
    text = unit(found.median)
    if unit(found.low) != unit(found.high):
        text += f" ({unit(found.low)}–{unit(found.high)})"
    return f"{text} · {times(found.median / base.median)}" if base and base.median and base is not found else text


def times(ratio: float) -> str:
    """Return a ratio with two digits that count, or three from 100 on."""
    return f"{ratio:.0f}×" if ratio >= 9.95 else f"{ratio:.2g}×" if ratio < 0.995 else f"{ratio:.1f}×"


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table; all columns but the first are aligned to the right."""
    lines = [heads, ["---", *["---:"] * (len(heads) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def by_size(results: Results, measure: str, unit: Unit, baseline: str = tools.RAILHEAD.name) -> str:
    """Return one row for each tool and one column for each number of revisions; multiples are of `baseline`."""
    sizes = results.sizes(measure)
    rows = []
    for name in results.names(measure):
        found = [results.spread(measure, name, size) for size in sizes]
        bases = [results.spread(measure, baseline, size) if name != baseline else None for size in sizes]
        cells = [cell(one, unit, base) for one, base in zip(found, bases, strict=True)]
        rows.append([LABELS.get(name, name), *cells])
    return table(["Revisions", *(f"{size}" for size in sizes)], rows)


def by_measure(results: Results, size: int, columns: Sequence[tuple[str, str, Unit]]) -> str:
    """Return one row for each tool and one column for each (measure, heading, unit)."""
    names = results.names(columns[0][0])
    rows = [
        [LABELS.get(name, name), *(cell(results.spread(measure, name, size), unit) for measure, _, unit in columns)]
        for name in names
    ]
    return table(["", *(heading for _, heading, _ in columns)], rows)
