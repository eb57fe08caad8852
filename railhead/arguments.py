"""What may be typed at the command line?"""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping

from railhead.call import Command


def parser_of(program: str, commands: Mapping[str, Command]) -> argparse.ArgumentParser:
    """Return what understands all that may be typed behind `program`: each of `commands`, and `upgrade` when none is."""
    parser = argparse.ArgumentParser(
        prog=program,
        formatter_class=_formatter,
        description="Bring the database to head, or say where it is. Without a command: upgrade.",
        epilog="exit codes: 0 done or yes, 1 the answer is no, 2 usage, 3 could not, 4 the lock stayed busy, "
        "5 failed and rolled back, 6 failed and left something behind",
    )
    parser.set_defaults(run=commands["upgrade"], command=None, alone=False, revision="head", dry_run=False)
    added = parser.add_subparsers(dest="command", metavar="COMMAND", prog=program)

    def add(name: str, does: str) -> argparse.ArgumentParser:
        about = f"{does[0].upper()}{does[1:]}."
        command = added.add_parser(name, help=does, description=about, formatter_class=_formatter)
        command.set_defaults(run=commands[name])
        return command

    upgrade = add("upgrade", "migrate to head, or to a revision")
    upgrade.add_argument("revision", nargs="?", default="head", metavar="REV", help="id, prefix, +N or head (default)")
    upgrade.add_argument("--dry-run", action="store_true", help="show what would be done")
    status = add("status", "say where the database is")
    status.add_argument(
        "--exit-code",
        action="store_true",
        help="exit 1 unless the database is at head, or only post-deploy work is left",
    )
    downgrade = add("downgrade", "go back to a revision, after showing what will be lost")
    downgrade.add_argument("revision", metavar="REV", help="id, prefix, -N or base")
    plan = add("plan", "show what an upgrade would do: SQL, locks, hazards on tables of this size")
    plan.add_argument("revision", nargs="?", default="head", metavar="REV", help="id, prefix, +N or head (default)")
    drift = add("drift", "say where models.py, the migrations and the database differ; exit 1 when they do")
    ledger = add("log", "show the ledger: who did what, when, how long, which release")
    ledger.add_argument("--limit", type=_count, metavar="N", default=50, help="the newest N rows (default 50)")
    adopt = add("adopt", "take over a database that has tables but no version")
    adopt.add_argument(
        "revision", nargs="?", metavar="REV", help="the revision that it is at; found by itself when left out"
    )
    adopt.add_argument("--force", action="store_true", help="take it for REV although its schema differs")
    seal = add("seal", "write migrations/manifest.txt, or check it")
    seal.set_defaults(alone=True)  # it makes a server of its own only if there is something to replay
    seal.add_argument("--check", action="store_true", help="change nothing; exit 1 when the manifest is not true")
    seal.add_argument("--no-replay", action="store_true", help="list files, parents and checksums only")
    seal.add_argument(
        "--adopted-up-to", metavar="REV", help="what is older was applied before anybody judged it (base: nothing was)"
    )
    seal.add_argument(
        "--from",
        dest="start",
        metavar="REV",
        help="let the history start from the schema at REV, taken from the database, which is there: writes migrations/baseline.sql",
    )
    seal.add_argument("--dump", metavar="FILE", help="with --from: take it from what pg_dump has written")
    seal.add_argument("--rows", action="append", metavar="TABLE", help="with --from: keep this table's rows, too")
    seal.add_argument("--all", action="store_true", help="judge what is older than the first seal, too")
    seal.add_argument("--advice", action="store_true", help="tell of every finding what to write instead")
    init = add("init", "bring Railhead into an application that exists")
    init.set_defaults(alone=True)
    init.add_argument("--yes", action="store_true", help="do not ask")
    init.add_argument("--dry-run", action="store_true", help="show what would be written")
    init.add_argument("--new", action="store_true", help="make a small application in an empty folder")
    init.add_argument("--undo", action="store_true", help="give back every file as it was")
    init.add_argument("--no-replay", action="store_true", help="seal without trying the revisions")
    wait = add("wait", "return 0 when this release can serve the database, for processes that must not migrate")
    wait.add_argument("--head", action="store_true", help="wait for post-deploy work, too")
    rebase = add("rebase", "put a branch on top of the other head: new numbers, new parent, new file names")
    rebase.add_argument("revision", metavar="REVISION", help="id or file of the revision to move")
    reset = add("reset", "development only: drop everything and migrate from nothing")
    finish = add("finish", "do the post-deploy work that is left, once the previous release is gone")
    finish.add_argument("--now", action="store_true", help="do not wait for the previous release; says whom it breaks")
    finish.add_argument("--beside", type=int, metavar="PID", help=argparse.SUPPRESS)
    doctor = add("doctor", "look for everything that could bite; exit 1 when there is something")
    for answering in (status, plan, drift, ledger, doctor):
        answering.add_argument("--json", action="store_true", help="the same record as JSON")
    downgrade.add_argument("--yes", action="store_true", help="do not ask")
    reset.add_argument("--yes", nargs="?", const="", metavar="NAME", help="do not ask: the database is called so")
    return parser


def _count(text: str) -> int:
    """Return a number of rows. Raises ArgumentTypeError."""
    if not text.isdecimal() or not 0 < int(text) < 10**9:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of rows, such as 50")
    return int(text)


def _formatter(prog: str) -> argparse.HelpFormatter:
    """Return the formatter of help texts. Given a width, argparse does not import shutil to find one: 5 ms at every start."""
    try:
        width = os.get_terminal_size().columns - 2
    except OSError:
        width = 98
    return argparse.HelpFormatter(prog, width=width)
