"""How is each thing measured?

Every measure takes the tools in turn, round by round and in a new order each round, so that whatever else the machine does falls on
all of them. Databases and trees are made before the clock starts.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeVar

from benchmarks import busy, places, processes, tools
from benchmarks.databases import Server
from benchmarks.histories import history, table
from benchmarks.results import Results
from benchmarks.stall import Client, longest_wait
from benchmarks.tools import Tool

T = TypeVar("T")


HOOK = "railhead-call"
"""Railhead's hook without the import of its modules and the reading of the settings, beside the tools."""


class Plan(NamedTuple):
    """How much is measured."""

    rounds: int = 7
    sizes: tuple[int, ...] = (1, 10, 100, 1000)
    long_rounds: int = 3
    """Rounds of what takes seconds each: the reader in front, many processes at once."""
    processes: int = 32
    crowd_size: int = 100
    """Revisions of the history that many processes meet."""
    standing: int = 10
    pending: int = 200
    reader: float = 4.0
    """Seconds for which the long reader stays in its transaction."""
    rows: int = 1_000_000
    """Rows of the table that is changed while a client uses it."""


QUICK = Plan(rounds=2, sizes=(1, 100), long_rounds=1, processes=8, crowd_size=100, pending=40, reader=1.5, rows=100_000)


class Bench:
    """One run: the server, how much is measured, which tools are there, and what was found so far."""

    def __init__(self, server: Server, plan: Plan, results: Results, mine: Sequence[Tool]) -> None:
        """Measure the peers and `mine`, into `results`."""
        self.server, self.plan, self.results = server, plan, results
        self.mine = tuple(mine)
        self.everyone = (*self.mine, *tools.PEERS)
        self.trees: dict[tuple[str, int], Path] = {}
        self.heads: dict[tuple[str, int], str] = {}
        self.catalogs: dict[int, list[str]] = {}

    def tree(self, tool: Tool, size: int) -> Path:
        """Return the tree of `tool` with `size` revisions, laid on first use."""
        place = (tool.family, size)
        if place not in self.trees:
            say(f"  {tool.label}: a history of {size}")
            self.trees[place] = tools.laid(tool, history(size))
        return self.trees[place]

    def head(self, tool: Tool, size: int) -> str:
        """Return a database that `tool` has brought to head, with the catalog that all other tools arrive at."""
        place = (tool.family, size)
        if place not in self.heads:
            database = self.server.create()
            self.upgrade(tool, size, database)
            self._verify(tool, size, database)
            self.heads[place] = database
        return self.heads[place]

    def prepare(self, sizes: Sequence[int], everyone: Sequence[Tool]) -> None:
        """See to it that all trees and databases are there before the clock starts."""
        for size in sizes:
            for tool in everyone:
                self.head(tool, size)

    def upgrade(self, tool: Tool, size: int, database: str) -> processes.Ended:
        """Bring `database` to the head of a history of `size` with `tool`, and return how it went."""
        return processes.once(tools.command_of(tool), self.tree(tool, size), self.server.environment(database))

    def together(self, tool: Tool, size: int, database: str) -> list[processes.Ended]:
        """Start `tool` many times at once on `database`, and return how each went, in the order in which they ended."""
        environment = self.server.environment(database)
        return processes.run(tools.command_of(tool), self.tree(tool, size), environment, self.plan.processes)

    def _verify(self, tool: Tool, size: int, database: str) -> None:
        found = self.server.catalog(database)
        expected = self.catalogs.setdefault(size, found)
        if found != expected or not found:
            different = sorted(Counter(found) - Counter(expected)) + sorted(Counter(expected) - Counter(found))
            raise processes.ProgramFailed(
                f"{tool.label} arrives at another schema with {size} revisions: {different[:5]}"
            )
        self.results.verified[str(size)] = len(found)


def no_op_inside(bench: Bench) -> None:
    """Measure import and first call in a fresh process of an application, on a database at head."""
    script = str(places.HERE / "inside.py")
    by_name = {tool.name: tool for tool in bench.everyone if tool is not tools.DBMATE}
    bench.prepare(bench.plan.sizes, [*by_name.values()])
    cases = [(size, name) for size in bench.plan.sizes for name in (tools.BARE.name, *by_name)]
    for size, name in rounds("no-op in process", bench.plan.rounds, cases):
        tool = by_name.get(name, tools.ALEMBIC)
        environment = bench.server.environment(bench.head(tool, size))
        seconds = processes.printed([str(places.PYTHON), script, name], bench.tree(tool, size), environment)
        whole, *call = (float(word) for word in seconds.split("\n")[-2].split())
        bench.results.add("inside", name, size, whole)
        for value in call:
            bench.results.add("inside", HOOK, size, value)


def no_op_whole(bench: Bench) -> None:
    """Measure the whole process on a database at head: time and peak memory."""
    bench.prepare(bench.plan.sizes, bench.everyone)
    cases = [(size, tool) for size in bench.plan.sizes for tool in (tools.BARE, *bench.everyone)]
    for size, tool in rounds("no-op, whole process", bench.plan.rounds, cases):
        ended = bench.upgrade(tool, size, bench.head(tool, size))
        bench.results.add("whole", tool.name, size, ended.seconds)
        bench.results.add("memory", tool.name, size, ended.memory)


def empty_to_head(bench: Bench) -> None:
    """Measure the whole process on an empty database."""
    everyone = (tools.PSQL, *bench.everyone, tools.ALEMBIC_EACH)
    bench.prepare(bench.plan.sizes, everyone)
    cases = [(size, tool) for size in bench.plan.sizes for tool in everyone]
    for size, tool in rounds("empty to head", bench.plan.rounds, cases):
        ended = bench.upgrade(tool, size, bench.server.create())
        bench.results.add("empty", tool.name, size, ended.seconds)


def pending(bench: Bench) -> None:
    """Measure many pending revisions on a database that has tables."""
    before, after = bench.plan.standing, bench.plan.standing + bench.plan.pending
    everyone = (*bench.everyone, tools.ALEMBIC_EACH)
    bench.prepare((before, after), everyone)
    for tool in rounds("pending", bench.plan.rounds, everyone):
        ended = bench.upgrade(tool, after, bench.server.create(bench.head(tool, before)))
        bench.results.add("pending", tool.name, bench.plan.pending, ended.seconds)


def stall(bench: Bench) -> None:
    """Measure the longest wait of a reading client while revision 2 alters the table behind a long reader."""
    bench.prepare((1, 2), bench.everyone)
    for tool in rounds("stall of traffic", bench.plan.long_rounds, bench.everyone):
        database = bench.server.create(bench.head(tool, 1))
        connect, migrate = partial(bench.server.connect, database), partial(bench.upgrade, tool, 2, database)
        longest, ended = longest_wait(connect, table(2), bench.plan.reader, migrate)
        bench.results.add("stall", tool.name, 2, longest)
        bench.results.add("stall-done", tool.name, 2, ended.seconds)


def crowd(bench: Bench) -> None:
    """Measure one process alone, then many at once, on a database at head: when is the slowest done?"""
    size = bench.plan.crowd_size
    bench.prepare((size,), bench.everyone)
    for tool in rounds("many at once, at head", bench.plan.long_rounds, bench.everyone):
        database = bench.head(tool, size)
        bench.results.add("crowd-alone", tool.name, size, bench.upgrade(tool, size, database).seconds)
        ended = bench.together(tool, size, database)
        bench.results.add("crowd", tool.name, size, ended[-1].seconds)
        bench.results.add("crowd-done", tool.name, size, succeeded(ended))


def race(bench: Bench) -> None:
    """Measure how many of many processes succeed that meet on an empty database, and when the last is done."""
    size = bench.plan.crowd_size
    everyone = (*bench.everyone, tools.DBMATE_LOCK)
    bench.prepare((size,), everyone)
    for tool in rounds("many at once, empty", bench.plan.long_rounds, everyone):
        database = bench.server.create()
        ended = bench.together(tool, size, database)
        bench.results.add("race", tool.name, size, succeeded(ended))
        bench.results.add("race-right", tool.name, size, bench.server.catalog(database) == bench.catalogs[size])
        bench.results.add("race-seconds", tool.name, size, ended[-1].seconds)


def opening(bench: Bench) -> None:
    """Measure `import app` and `create_app()` at head, and where the time of the imports goes."""
    size = bench.plan.crowd_size
    if tools.RAILHEAD not in bench.mine:
        return
    script, tree = str(places.HERE / "opening.py"), bench.tree(tools.RAILHEAD, size)
    environment = bench.server.environment(bench.head(tools.RAILHEAD, size))
    for part in rounds("start of the application", bench.plan.rounds, ("warm", "times", "imports")):
        command = [str(places.PYTHON), *(["-X", "importtime"] if part == "imports" else []), script]
        done = processes.completed(command, tree, environment)
        if part == "times":
            imported, created = done.stdout.split()[-2:]
            bench.results.add("opening", "import app", size, float(imported))
            bench.results.add("opening", "create_app()", size, float(created))
        if part == "imports":
            for package, seconds in imports(done.stderr).items():
                bench.results.add("imports", package, size, seconds)


def changes_under_load(bench: Bench) -> None:
    """Measure the longest wait of a client that reads and writes a large table while each kind of change is made to it."""
    everyone = (*bench.mine, tools.ALEMBIC)
    count, template = bench.plan.rows, _large(bench, everyone[0])
    trees = {(change, tool): _change_tree(change, tool) for change in busy.CHANGES for tool in everyone}
    after: dict[str, list[str]] = {}
    for change, tool in rounds("changes to a busy table", bench.plan.long_rounds, [*trees]):
        database = bench.server.create(template)
        bench.server.settle()
        environment = bench.server.environment(database)
        with Client(bench.server.connect(database), busy.traffic(count), busy.PAUSE) as client:
            ended = processes.once(tools.command_of(tool), trees[change, tool], environment)
        bench.results.add(f"busy-{tool.name}", change.label, count, client.longest)
        bench.results.add(f"busy-{tool.name}-done", change.label, count, ended.seconds)
        found = bench.server.catalog(database)
        if found != after.setdefault(change.label, found):
            raise processes.ProgramFailed(f"{tool.label} arrives at another schema: {change.label}")
        bench.server.drop(database)


def _large(bench: Bench, tool: Tool) -> str:
    """Return a database with the large table, and a version table that both tools go on from."""
    say(f"  a table of {bench.plan.rows} rows")
    database = bench.server.create()
    tree = tools.laid(tool, busy.START, "busy")
    processes.once(tools.command_of(tool), tree, bench.server.environment(database))
    session = bench.server.connect(database)
    for statement in busy.rows(bench.plan.rows):
        session.cursor().execute(statement)
    session.close()
    return database


def _change_tree(change: busy.Change, tool: Tool) -> Path:
    history = change.history(safe=tool is tools.RAILHEAD)
    return tools.laid(tool, history, f"busy-{busy.CHANGES.index(change)}")


MEASURES: dict[str, Callable[[Bench], None]] = {
    "inside": no_op_inside,
    "whole": no_op_whole,
    "empty": empty_to_head,
    "pending": pending,
    "stall": stall,
    "crowd": crowd,
    "race": race,
    "opening": opening,
    "busy": changes_under_load,
}


def imports(trace: str) -> dict[str, float]:
    """Return the seconds that each top-level package took by itself, from the output of `python -X importtime`."""
    taken: Counter[str] = Counter()
    for line in trace.splitlines():
        if line.startswith("import time:") and line.count("|") == 2 and "self [us]" not in line:
            own, _, module = line.removeprefix("import time:").split("|")
            taken[_package(module.strip())] += int(own)
    return {package: microseconds / 1e6 for package, microseconds in taken.items()}


def rounds(title: str, count: int, cases: Sequence[T]) -> Iterator[T]:
    """Yield every case `count` times, each round starting with another one, and say how it goes."""
    say(title)
    began = time.monotonic()
    for number in range(count):
        turn = number % len(cases)
        yield from (*cases[turn:], *cases[:turn])
    say(f"  {count} rounds of {len(cases)} in {time.monotonic() - began:.0f} s")


def succeeded(ended: Sequence[processes.Ended]) -> int:
    """Return how many of these processes ended with exit code 0."""
    return sum(one.exit_code == 0 for one in ended)


def say(line: str) -> None:
    """Tell on standard error how far the run is."""
    print(line, file=sys.stderr, flush=True)


def _package(module: str) -> str:
    name = module.partition(".")[0]
    return "Python's own" if name in sys.stdlib_module_names or name.startswith("_") else name
