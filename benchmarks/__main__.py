"""Measure, and write docs/benchmarks.md and docs/benchmarks.svg.

python -m benchmarks               everything, about 25 minutes; writes both files
python -m benchmarks --quick       fewer rounds, shorter histories; prints the report, writes nothing
python -m benchmarks --only a,b    some measures; prints the report, writes nothing
python -m benchmarks --again       write both files again from the last complete run, without measuring
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from benchmarks import chart, machine, places, processes, report, tools
from benchmarks.databases import server
from benchmarks.measures import MEASURES, QUICK, Bench, Plan, say
from benchmarks.results import Results


def main() -> None:
    """Do what the command line says."""
    options = _options()
    if options.again:
        _write(Results.load(places.RESULTS))
        return
    plan = QUICK if options.quick else Plan()
    plan = plan._replace(reader=options.reader) if options.reader else plan
    plan = (
        plan._replace(rounds=options.rounds, long_rounds=min(plan.long_rounds, options.rounds))
        if options.rounds
        else plan
    )
    wanted = options.only or list(MEASURES)
    results = measured(plan, wanted, [tools.RAILHEAD] if not options.peers_only else [])
    if options.quick or options.only or options.peers_only:
        print(report.text(results))
    else:
        results.save(places.RESULTS)
        _write(results)


def measured(plan: Plan, wanted: Sequence[str], mine: Sequence[tools.Tool]) -> Results:
    """Return what the measures named in `wanted` find out, of the peers and of `mine`."""
    places.DATA.mkdir(parents=True, exist_ok=True)
    say("preparing the tools")
    places.install()
    results = Results(plan={name: float(value) for name, value in plan._asdict().items() if name != "sizes"})
    results.plan["cores"] = float(os.cpu_count() or 1)
    with server() as found:
        results.machine = machine.facts(found)
        bench = Bench(found, plan, results, mine)
        for name in wanted:
            MEASURES[name](bench)
        say("dropping the databases")
    return results


def _write(results: Results) -> None:
    places.REPORT.parent.mkdir(exist_ok=True)
    places.REPORT.write_text(report.text(results))
    places.CHART.write_text(chart.svg(results))
    say(f"wrote {places.REPORT.relative_to(places.ROOT)} and {places.CHART.relative_to(places.ROOT)}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure Railhead beside its peers.")
    parser.add_argument("--quick", action="store_true", help="a smoke run: two rounds, short histories")
    parser.add_argument("--only", type=_measures, metavar="A,B", help=f"some of: {', '.join(MEASURES)}")
    parser.add_argument("--rounds", type=int, help="rounds (default 7, and 3 of what takes seconds each)")
    parser.add_argument(
        "--reader", type=float, metavar="SECONDS", help="how long the reader of the stall stays (default 4)"
    )
    parser.add_argument("--peers-only", action="store_true", help="leave Railhead out")
    parser.add_argument("--again", action="store_true", help="write the report again from the last complete run")
    return parser.parse_args()


def _measures(text: str) -> list[str]:
    names = text.split(",")
    unknown = sorted(set(names) - set(MEASURES))
    if unknown:
        raise argparse.ArgumentTypeError(f"{', '.join(unknown)}: not among {', '.join(MEASURES)}")
    return names


if __name__ == "__main__":
    try:
        main()
    except processes.ProgramFailed as failure:
        sys.exit(str(failure))
