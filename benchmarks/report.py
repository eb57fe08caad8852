"""What does docs/benchmarks.md say?

Built from the results of one run and nothing else, so that it can be written again at any time. Never measures.
"""

from __future__ import annotations

from collections.abc import Callable

from benchmarks import busy, tools
from benchmarks.promises import promises
from benchmarks.results import Results
from benchmarks.tables import by_measure, by_size, memory, table, time, times, whole, yes

ALEMBIC, RAILHEAD = tools.ALEMBIC.name, tools.RAILHEAD.name
HEAVIEST = 12
"""How many packages the last table names."""

OPENING = (
    "# Benchmarks\n\nWritten by `make bench`; changes by hand are lost with the next run. All numbers are from one run on one "
    "machine against one\nserver, the tools in turn round by round. A cell holds the median, the quartiles in brackets, and how "
    "many times Railhead's\nmedian it is. Times are milliseconds of wall clock."
)


def text(results: Results) -> str:
    """Return the whole report as Markdown, without the parts that the run did not measure."""
    parts: tuple[Callable[[Results], str], ...] = (
        _promises,
        _inside,
        _whole,
        _empty,
        _pending,
        _stall,
        _busy,
        _crowd,
        _race,
        _application,
        _method,
        _machine,
    )
    written = (part(results) for part in parts)
    return "\n\n".join([OPENING, *(part for part in written if part)]) + "\n"


def _promises(results: Results) -> str:
    found = promises(results)
    if not found:
        return ""
    rows = [(one.text, one.bound, one.measured, "yes" if one.kept else "**no**") for one in found]
    return "## What Railhead promises\n\n" + table(["", "Bound", "Measured", "Kept"], rows)


def _inside(results: Results) -> str:
    if not results.sizes("inside"):
        return ""
    return (
        "## A start with nothing to do, inside the application\n\n"
        "![No-op cost against number of revisions](benchmarks.svg)\n\n"
        "A fresh process that has imported Flask, SQLAlchemy and the driver (for Django: has set up Django and its driver) imports "
        "the tool\nand calls it once, on a database at head. Railhead's hook also alone, without imports and settings.\n\n"
        + by_size(results, "inside", time)
    )


def _whole(results: Results) -> str:
    if not results.sizes("whole"):
        return ""
    return (
        "## A start with nothing to do, as a process of its own\n\n"
        "`python utils/migrate.py`, `alembic upgrade head`, `flask db upgrade`, `python manage.py migrate`, `dbmate migrate`; the limit is "
        "a Python\nprocess that imports the driver, connects, asks for the version and ends.\n\n"
        + by_size(results, "whole", time)
        + "\n\nPeak resident memory of the process, in MiB:\n\n"
        + by_size(results, "memory", memory)
    )


def _empty(results: Results) -> str:
    if not results.sizes("empty"):
        return ""
    parts = ["## From empty to head", "The whole process, on an empty database.", by_size(results, "empty", time)]
    return "\n\n".join([*parts, *_where_it_goes(results)])


def _where_it_goes(results: Results) -> list[str]:
    """Take Railhead's time for the longest history apart, by what other rows of the same run took for the same share."""
    size = results.sizes("empty")[-1]
    total, server = results.median("empty", RAILHEAD, size), results.median("empty", tools.PSQL.name, size)
    reading, starting = (
        results.median("whole", "alembic", size),
        results.median("whole", "alembic", min(results.sizes("whole"), default=0)),
    )
    if not (total and server and reading and starting):
        return []
    rest = total - server - reading
    rows = [
        ("the statements themselves (`psql -1 -f`)", server),
        ("Python, SQLAlchemy and Alembic start (Alembic's shortest no-op)", starting),
        (f"reading {size} revision files (Alembic's longest no-op, less that)", reading - starting),
        ("the rest: running each revision, and lock, timeouts, fence, ledger, verification, catalog", rest),
    ]
    shares = [(label, time(value), f"{value / total:.0%}") for label, value in rows]
    dbmate = results.median("empty", tools.DBMATE.name, size)
    beside = f"{times(total / server)} `psql -1 -f`" + (f" and {times(total / dbmate)} dbmate" if dbmate else "")
    told = f"With {size} revisions Railhead takes {beside}. Its {time(total)} ms, taken apart by what other rows took for the same:"
    return [told, table(["", "ms", "Share"], shares)]


def _pending(results: Results) -> str:
    if not results.sizes("pending"):
        return ""
    return (
        "## Many pending revisions on a database that has tables\n\n"
        f"{results.plan['standing']:.0f} revisions are there; Railhead runs each of the others in a transaction of its own, as there "
        "is traffic to protect. So do\ndbmate, Django and Alembic with `transaction_per_migration`; Alembic and Flask-Migrate as they "
        "come hold all locks to the end.\n\n" + by_size(results, "pending", time)
    )


def _stall(results: Results) -> str:
    if not results.sizes("stall"):
        return ""
    columns = (("stall", "Longest wait, ms", time), ("stall-done", "Migrated after, ms", time))
    return (
        "## Traffic behind a long reader\n\n"
        f"A session reads a table and stays in its transaction for {results.plan['reader']:g} s. A revision adds a column to that "
        "table. A client reads one row\nevery 20 ms: how long did it wait at most?\n\n"
        + by_measure(results, 2, columns)
    )


def _busy(results: Results) -> str:
    sizes = results.sizes(f"busy-{ALEMBIC}")
    if not sizes:
        return ""
    size = sizes[0]
    columns = [
        (f"busy-{name}{part}", f"{label}: {what}, ms", time)
        for part, what in (("", "longest wait"), ("-done", "migrated after"))
        for name, label in ((ALEMBIC, "Alembic"), (RAILHEAD, "Railhead"))
        if results.sizes(f"busy-{name}")
    ]
    return (
        "## Changes to a busy table\n\n"
        f"A table of {size:,} rows; a client that reads one row and writes another every {busy.PAUSE * 1000:.0f} ms, found by their "
        "keys. Meanwhile each kind of change is\nmade by `alembic upgrade head` with what Alembic's autogenerate writes, and by "
        "`python utils/migrate.py` with what Railhead's writes: how\nlong did the client wait for one answer at most?\n\n"
        + by_measure(results, size, columns)
        + "\n\n"
        + _backfill(results, size)
    )


def _backfill(results: Results, size: int) -> str:
    """Return how fast each way gives all rows a value."""
    label = busy.BACKFILL.label
    ways = (
        (ALEMBIC, "one UPDATE in one transaction"),
        (RAILHEAD, "`op.backfill`, at most 5,000 rows in a transaction"),
    )
    rows = []
    for name, way in ways:
        seconds, longest = results.median(f"busy-{name}-done", label, size), results.median(f"busy-{name}", label, size)
        if seconds and longest:
            rows.append((way, f"{size / seconds:,.0f}", time(longest)))
    return f"{label}, the start of the command included:\n\n" + table(["", "Rows a second", "Longest wait, ms"], rows)


def _crowd(results: Results) -> str:
    sizes = results.sizes("crowd")
    if not sizes:
        return ""
    columns = (
        ("crowd-alone", "One alone, ms", time),
        ("crowd", "Slowest, ms", time),
        ("crowd-done", "Succeeded", whole),
    )
    return (
        f"## {results.plan['processes']:.0f} processes at once, nothing to do\n\n"
        f"On a database at head, {sizes[0]} revisions, {results.plan['cores']:.0f} cores.\n\n"
        + by_measure(results, sizes[0], columns)
    )


def _race(results: Results) -> str:
    sizes = results.sizes("race")
    if not sizes:
        return ""
    columns = (
        ("race", "Succeeded", whole),
        ("race-right", "Schema right in the end", yes),
        ("race-seconds", "Last one done, ms", time),
    )
    return (
        f"## {results.plan['processes']:.0f} processes at once, on an empty database\n\n"
        f"{sizes[0]} revisions are pending, as when a new release starts on many machines.\n\n"
        + by_measure(results, sizes[0], columns)
    )


def _application(results: Results) -> str:
    sizes = results.sizes("opening")
    if not sizes:
        return ""
    heaviest = sorted(results.names("imports"), key=lambda name: -(results.median("imports", name, sizes[0]) or 0))[
        :HEAVIEST
    ]
    rows = [(name, time(results.median("imports", name, sizes[0]) or 0)) for name in heaviest]
    total = sum(results.median("imports", name, sizes[0]) or 0 for name in results.names("imports"))
    return (
        "## Where the start of the application goes\n\n"
        + by_measure(results, sizes[0], (("opening", "ms", time),))
        + "\n\nThe imports behind both, by package, each without what it imports in turn, as `python -X importtime` counts them (which "
        f"itself\nslows them down), in ms; {time(total)} in all:\n\n" + table(["Package", "ms"], rows)
    )


def _method(results: Results) -> str:
    verified = ", ".join(
        f"{size}: {lines}" for size, lines in sorted(results.verified.items(), key=lambda item: int(item[0]))
    )
    return (
        "## How it was measured\n\n"
        "- Equal histories: of five revisions two create a table, two add a column, one builds an index. The same statement, letter "
        "for\n  letter, reaches the server from every tool: `op.execute`, Django's `RunSQL` (which spares Django the state of its "
        "models), SQL files.\n"
        f"- Equal histories: verified. Columns, constraints and indexes are the same after every tool (lines by revisions: {verified}).\n"
        "- Each tool is laid out as its own `init` command or its documentation shows. Django has no application but the one that is migrated; dbmate "
        "does not\n  dump the schema. All Python tools share one virtual environment, and Railhead's files are this project's own.\n"
        "- Every timed run that changes something gets a new database; a run that changes nothing keeps its own. None is dropped "
        "before the end, but for those with a large table.\n"
        "- The large table: a clone of one database for each run, after a CHECKPOINT. The client's wait is for one statement, its commit "
        "included;\n  the schema is the same after both tools.\n"
        f"- {results.plan['rounds']:.0f} rounds, {results.plan['long_rounds']:.0f} of what takes seconds each; every round starts with "
        "another tool. Python's bytecode is there before the clock starts.\n"
        "- Time and memory of a process are taken by a small program that starts it (about 10 MB: no process can show less)."
    )


def _machine(results: Results) -> str:
    rows = list(results.machine.items())
    return (
        "## The machine\n\n"
        + table(["", ""], rows).replace("---:", "---")
        + "\n\n## Again\n\n```\nmake bench                               # everything\n"
        "python -m benchmarks --quick             # a smoke run\n"
        "python -m benchmarks --only inside,whole # some measures\n"
        "python -m benchmarks --reader 9          # a longer reader before the traffic\n```\n\n"
        "`TEST_DATABASE_URL` names the server; without it the embedded one is started for the run, with PostgreSQL's own settings."
    )
