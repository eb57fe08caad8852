"""Does Railhead keep what it promises?

Each promise is a number from one run, beside the bound that it must keep. A measure that was not taken promises nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from benchmarks import tools
from benchmarks.measures import HOOK
from benchmarks.results import Results
from benchmarks.tables import time, times

RAILHEAD, ALEMBIC, DBMATE = tools.RAILHEAD.name, tools.ALEMBIC.name, tools.DBMATE.name


class Promise(NamedTuple):
    """What is promised, the bound, what came out, and whether that keeps it."""

    text: str
    bound: str
    measured: str
    kept: bool


def promises(results: Results) -> list[Promise]:
    """Return every promise that this run can judge."""
    checks: tuple[Callable[[Results], Iterator[Promise]], ...] = (_inside, _whole, _work, _traffic, _crowds)
    return [promise for check in checks for promise in check(results)]


def _inside(results: Results) -> Iterator[Promise]:
    sizes = results.sizes("inside")
    for size in sizes[:1] + sizes[-1:]:
        text = f"The start-up hook's call at head, {_revisions(size)}, beside a bare connection with one SELECT"
        yield from _at_most(text, results, ("inside", HOOK, size), ("inside", "limit", size), 1.5)
    least, most = (results.median("inside", HOOK, size) for size in (sizes[0], sizes[-1])) if sizes else (None, None)
    if least and most:
        apart = abs(most - least)
        yield Promise(
            f"The same, {sizes[0]} and {_revisions(sizes[-1])} apart", "≤ 1 ms", f"{time(apart)} ms", apart <= 0.001
        )
    for size in sizes[-1:]:
        text = f"Import and first call at head, {_revisions(size)}: Alembic beside Railhead"
        yield from _at_least(text, results, ("inside", ALEMBIC, size), ("inside", RAILHEAD, size), 20)


def _whole(results: Results) -> Iterator[Promise]:
    sizes = results.sizes("whole")
    for size, bound in zip(sizes[:1] + sizes[-1:], (1 / 4, 1 / 6), strict=False):
        for peer, most in ((ALEMBIC, bound), (DBMATE, 5.0)):
            text = f"No-op, whole process, {_revisions(size)}, beside {peer}"
            yield from _at_most(text, results, ("whole", RAILHEAD, size), ("whole", peer, size), most)
        text = f"Its peak memory, {_revisions(size)}, beside {ALEMBIC}"
        yield from _at_most(text, results, ("memory", RAILHEAD, size), ("memory", ALEMBIC, size), 0.6)


def _work(results: Results) -> Iterator[Promise]:
    for size in results.sizes("empty")[-1:]:
        text = f"Empty to head, {_revisions(size)}, beside `alembic upgrade head`"
        yield from _at_most(text, results, ("empty", RAILHEAD, size), ("empty", ALEMBIC, size), 1.0)
    for size in results.sizes("pending"):
        text = f"{_revisions(size)} pending on a database with tables, beside Alembic with one transaction each"
        yield from _at_most(text, results, ("pending", RAILHEAD, size), ("pending", tools.ALEMBIC_EACH.name, size), 1.2)


def _traffic(results: Results) -> Iterator[Promise]:
    worst = max(results.values("stall", RAILHEAD, 2), default=None)
    if worst is not None:
        reader = results.plan["reader"]
        yield Promise(
            f"Longest wait of a client behind a {reader:g} s reader", "≤ 250 ms", f"{time(worst)} ms", worst <= 0.25
        )
    measure = f"busy-{RAILHEAD}"
    for size in results.sizes(measure):
        waits = [(max(results.values(measure, change, size)), change) for change in results.names(measure)]
        longest, change = max(waits)
        yield Promise(
            f"Longest wait of a client while a table of {size:,} rows is changed in each of {len(waits)} ways (longest: {change})",
            "≤ 300 ms",
            f"{time(longest)} ms",
            longest <= 0.3,
        )


def _crowds(results: Results) -> Iterator[Promise]:
    processes, cores = int(results.plan["processes"]), results.plan["cores"]
    for size in results.sizes("crowd"):
        slowest, alone = results.median("crowd", RAILHEAD, size), results.median("crowd-alone", RAILHEAD, size)
        if slowest and alone:
            ratio = slowest / (alone * processes / cores)
            text = f"{processes} at once at head: the slowest beside one alone, per core"
            yield Promise(text, "≤ 3×", times(ratio), ratio <= 3)
    for size in results.sizes("race"):
        done = results.values("race", RAILHEAD, size)
        if done:
            text = f"{processes} at once on an empty database, {_revisions(size)}: how many succeed"
            yield Promise(text, f"{processes}", f"{min(done):.0f}", min(done) == processes)


def _at_most(
    text: str, results: Results, of: tuple[str, str, int], base: tuple[str, str, int], bound: float
) -> Iterator[Promise]:
    ratio = _ratio(results, of, base)
    if ratio is not None:
        yield Promise(text, f"≤ {times(bound)}", times(ratio), ratio <= bound)


def _at_least(
    text: str, results: Results, of: tuple[str, str, int], base: tuple[str, str, int], bound: float
) -> Iterator[Promise]:
    ratio = _ratio(results, of, base)
    if ratio is not None:
        yield Promise(text, f"≥ {times(bound)}", times(ratio), ratio >= bound)


def _revisions(size: int) -> str:
    return "1 revision" if size == 1 else f"{size} revisions"


def _ratio(results: Results, of: tuple[str, str, int], base: tuple[str, str, int]) -> float | None:
    above, below = results.median(*of), results.median(*base)
    return above / below if above and below else None
