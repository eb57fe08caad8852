"""The command line: arguments, and one function a command.

Imports what a command needs only when it runs: a command with nothing to do costs neither Alembic nor SQLAlchemy.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from typing import NamedTuple, TextIO

from railhead import errors, logs, nesting
from railhead.errors import Stop
from railhead.fast_path import at_head, can_serve
from railhead.postgres import interrupts
from railhead.postgres.connection import open_now
from railhead.project import Project
from railhead.settings import Settings, load
from railhead.startup import refusals_told, told_as_changed, with_database


class Call(NamedTuple):
    """One call of the command line."""

    arguments: argparse.Namespace
    settings: Settings
    answers: TextIO
    """Standard output, which is for answers alone: what a revision prints must not get into JSON."""

    @property
    def project(self) -> Project:
        """Whose settings these are."""
        return self.settings.project

    def say(self, text: object, *, error: bool = False) -> None:
        """Write an answer to standard output, or a remark to standard error, with commands as they are typed here."""
        print(self.project.spoken(str(text)), file=sys.stderr if error else self.answers)


Command = Callable[[Call], int]

_SETTLING = "where this release can serve it, with post-deploy work left"


def main(project: Project, arguments: Sequence[str] | None = None) -> int:
    """Run one command of the command line and return its exit code."""
    parsed = _parser(project.command).parse_args(arguments)
    command: str = parsed.command or "upgrade"
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # the name of a file may be no text, or none of this locale
    try:
        with interrupts.watching(), refusals_told(f"{project.command} {command}"):
            settings = load(project) if parsed.alone else with_database(load(project))
            logs.configure(settings)
            run: Command = parsed.run
            call = Call(parsed, settings, sys.stdout)
            with nesting.at_work(), redirect_stdout(sys.stderr):
                code = run(call)
            sys.stdout.flush()
            return code
    except BrokenPipeError:  # `| head -1` has read what it wanted
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return errors.DONE
    except Stop as stop:
        if getattr(parsed, "json", False):
            print(project.spoken(_as_json(stop.record())))
        print(project.spoken(stop.render(command)), file=sys.stderr)
        return stop.exit_code
    except interrupts.Interrupted as interrupted:
        print(f"{command} stopped: {interrupted}", file=sys.stderr)
        return interrupted.exit_code


def _upgrade(call: Call) -> int:
    target: str = call.arguments.revision
    if target == "head" and not call.arguments.dry_run and (heads := at_head(call.settings)) is not None:
        call.say(f"upgrade: nothing to do, the database is at {', '.join(heads)}")
        return errors.DONE
    if call.arguments.dry_run:
        return _plan(call)
    from railhead.execution.entry import migrate

    call.say(migrate("upgrade", target, call.settings))
    return errors.DONE


def _status(call: Call) -> int:
    if call.arguments.exit_code and not call.arguments.json and (glimpse := can_serve(call.settings)) is not None:
        versions, unfinished = glimpse
        call.say(f"{'settling' if unfinished else 'current'}: the database is at {', '.join(versions)}")
        return errors.DONE
    from railhead.commands import report
    from railhead.state.status import read

    found = read(call.settings, models=call.project.models)
    call.say(report.as_json(found.record()) if call.arguments.json else report.status_text(found))
    return errors.NO if call.arguments.exit_code and found.state not in {"current", "settling"} else errors.DONE


def _plan(call: Call) -> int:
    from railhead.commands import report
    from railhead.commands.plan import make
    from railhead.state.status import assert_one_database

    assert_one_database(call.settings)
    made = make(call.arguments.revision, call.settings)
    call.say(report.as_json(made.record()) if getattr(call.arguments, "json", False) else report.plan_text(made))
    return errors.DONE


def _downgrade(call: Call) -> int:
    from railhead.commands import data_loss, report
    from railhead.execution import entry as upgrade
    from railhead.execution.entry import migrate
    from railhead.state.status import assert_one_database

    assert_one_database(call.settings)
    steps = upgrade.plan("downgrade", call.arguments.revision, call.settings)
    if not steps:
        call.say("downgrade: nothing to do")
        return errors.DONE
    call.say(report.steps_text("downgrade", steps))
    call.say("\n".join(data_loss.of_downgrade(steps, call.settings)))
    if not call.arguments.yes:
        _agree(call, "downgrade", f"downgrade {call.arguments.revision}")
    call.say(migrate("downgrade", call.arguments.revision, call.settings))
    return errors.DONE


def _drift(call: Call) -> int:
    from railhead.commands import report
    from railhead.history import loader
    from railhead.state.status import assert_one_database, drifted

    assert_one_database(call.settings)
    with loader.no_garbage_collection():
        found = drifted(call.settings, call.project.models)
    call.say(report.as_json(found.record()) if call.arguments.json else report.drift_text(found))
    return errors.NO if found.is_there else errors.DONE


def _doctor(call: Call) -> int:
    from railhead.commands import report
    from railhead.commands.doctor import examine

    found = examine(call.settings, call.project.models)
    call.say(report.as_json([one._asdict() for one in found]) if call.arguments.json else report.findings_text(found))
    return errors.NO if any(not one.is_remark for one in found) else errors.DONE


def _adopt(call: Call) -> int:
    from railhead.commands import adopt as upgrade

    call.say(
        f"adopt: the database is at {upgrade.adopt(call.settings, call.arguments.revision, force=call.arguments.force)}"
    )
    return errors.DONE


def _log(call: Call) -> int:
    from railhead.commands import report
    from railhead.state import ledger
    from railhead.state.status import assert_one_database

    assert_one_database(call.settings)
    connection = open_now(call.settings.application, "log")
    entries = ledger.entries(connection, call.arguments.limit)
    connection.close()
    call.say(report.as_json([entry.record() for entry in entries]) if call.arguments.json else report.log_text(entries))
    return errors.DONE


def _wait(call: Call) -> int:
    whole: bool = call.arguments.head
    glimpse = can_serve(call.settings)
    there = glimpse is not None and not (whole and glimpse[1])
    place = "at head" if glimpse is None or not glimpse[1] else _SETTLING
    if not there:
        from railhead.commands.wait import not_served, wait

        found = wait(call.settings, call.project.models, whole=whole)
        there = found.can_serve and not (whole and found.state == "settling")
        if there and found.state == "settling":
            place = _SETTLING
        elif found.state == "ahead":
            place = "ahead of this release, which may be served on it"
        elif not there:
            place = f"not at head after {call.settings.wait_lock:g} s (MIGRATE_WAIT_LOCK)"
        if not there and found.state not in {"behind", "settling"}:
            raise not_served(call.project, found, ("waiting", "does not help: somebody has to do something first"))
    call.say(f"wait: the database is {place}")
    return errors.DONE if there else errors.NO


def _finish(call: Call) -> int:
    if at_head(call.settings) is not None:
        call.say("finish: nothing to do, the database is at head")
        return errors.DONE
    from railhead.commands.finish import finish

    if call.arguments.beside:
        from railhead.commands.finish import finish_beside

        finish_beside(call.settings, call.arguments.beside)
        return errors.DONE  # gunicorn takes some other codes for those of its workers, and ends
    done = finish(call.settings, now=call.arguments.now)
    call.say(f"finish: {', '.join(done) or 'nothing to do'}")
    return errors.DONE


def _seal(call: Call) -> int:
    from railhead.commands import report
    from railhead.commands.seal import FIRST_SEAL, differences, write

    if call.arguments.start:
        return _seal_from(call)
    if call.arguments.check:
        told = differences(call.project, seen=not call.arguments.no_replay)
        call.say("\n".join(told) or "the manifest is true")
        if told:
            call.say(f"\nnext: {call.project.command} seal", error=True)
        return errors.NO if told else errors.DONE
    sealed = write(
        call.settings,
        look=not call.arguments.no_replay,
        every=call.arguments.all,
        advise=call.arguments.advice,
        adopted_up_to=call.arguments.adopted_up_to or FIRST_SEAL,
    )
    call.say(report.sealed_text(sealed, advice=call.arguments.advice))
    if sealed.unseen:
        shown = report.some(sealed.unseen)
        call.say(f"\nlisted only: {shown}; next: {call.project.command} seal", error=True)
    return errors.DONE


def _seal_from(call: Call) -> int:
    from pathlib import Path

    from railhead.commands import baseline, report
    from railhead.commands.seal import write
    from railhead.history import loader

    asked = call.arguments
    dump = Path(asked.dump) if asked.dump else None
    settings = call.settings if dump else with_database(call.settings)
    with baseline.made(settings, asked.start, dump, asked.rows or ()) as made:
        sealed = write(settings, look=not asked.no_replay, every=asked.all, advise=asked.advice, start=made)
    call.say(report.sealed_text(sealed, advice=asked.advice))
    call.say(baseline.description(loader.history(settings.project), made))
    return errors.DONE


def _init(call: Call) -> int:
    from pathlib import Path

    from railhead.init import command

    asked = call.arguments
    if asked.undo:
        command.take_back(call.project, call.say)
        return errors.DONE
    settings = call.settings
    if asked.new:
        settings = settings._replace(project=call.project._replace(root=Path.cwd()))

    def agree() -> None:
        if not asked.yes:
            _agree(call, "init", "init", danger="init replaces files")

    init = command.Init(settings, call.say, agree, dry=asked.dry_run, replay=not asked.no_replay)
    (command.new if asked.new else command.existing)(init)
    return errors.DONE


def _rebase(call: Call) -> int:
    from railhead.commands import rebase, report
    from railhead.state.status import assert_one_database

    assert_one_database(call.settings)
    call.say(report.rebased_text(rebase.rebase(call.arguments.revision, call.settings)))
    return errors.DONE


def _reset(call: Call) -> int:
    from railhead.commands.reset import empty_database, name_of, of_reset
    from railhead.execution.entry import migrate
    from railhead.history import loader
    from railhead.state.status import assert_one_database

    if call.settings.production:
        raise Stop(
            "not-in-production",
            "reset drops everything, and this is production",
            facts=[("production", f"because {call.settings.why}")],
            database="unchanged",
            next_step=f"{call.project.command} downgrade REV",
        )
    assert_one_database(call.settings)
    if problem := loader.history(call.project).problem:
        raise problem
    name = name_of(call.settings)
    call.say("\n".join(of_reset(call.settings)))
    _agree_by_name(call, name)
    empty_database(call.settings)
    with told_as_changed("everything was dropped by this reset", f"{call.project.command} upgrade"):
        call.say(migrate("upgrade", "head", call.settings))
    return errors.DONE


def _agree_by_name(call: Call, name: str) -> None:
    """Raise Stop unless somebody has named the database that is to be emptied: a `yes` is typed without looking."""
    given: str | None = call.arguments.yes
    asked = given is None and sys.stdin.isatty()
    if asked:
        given = _answer(f"type the name of the database ({name}) to go on: ")
    if given == name:
        return
    from shlex import quote

    raise Stop(
        "not-agreed",
        f"reset drops everything, and the database is {name}, not {given}"
        if given
        else "reset drops everything, and nobody has named the database",
        facts=[("url", str(call.settings.migrations))],
        database="unchanged",
        next_step="nothing" if asked else f"{call.project.command} reset --yes={quote(name)}",
        exit_code=errors.NO if asked else errors.USAGE,
    )


def _agree(call: Call, what: str, typed: str, danger: str | None = None) -> None:
    """Raise Stop unless somebody at a terminal says yes. In production nobody is asked: it takes `--yes`."""
    if call.settings.production or not sys.stdin.isatty():
        raise Stop(
            "not-agreed",
            f"{danger or f'{what} may lose data'}, and nobody agreed",
            facts=[("asked", "nobody: this is production" if call.settings.production else "nobody: no terminal")],
            database="unchanged",
            next_step=f"{call.project.command} {typed} --yes",
            exit_code=errors.USAGE,
        )
    if _answer("go on? [y/N] ").lower() not in {"y", "yes"}:
        raise Stop(
            "not-agreed", f"{what} was not agreed to", database="unchanged", next_step="nothing", exit_code=errors.NO
        )


def _answer(question: str) -> str:
    try:
        return input(question).strip()
    except EOFError:  # Ctrl-D
        return ""


def _parser(program: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=program,
        formatter_class=_formatter,
        description="Bring the database to head, or say where it is. Without a command: upgrade.",
        epilog="exit codes: 0 done or yes, 1 the answer is no, 2 usage, 3 could not, 4 the lock stayed busy, "
        "5 failed and rolled back, 6 failed and left something behind",
    )
    parser.set_defaults(run=_upgrade, command=None, alone=False, revision="head", dry_run=False)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", prog=program)

    def add(name: str, run: Command, does: str) -> argparse.ArgumentParser:
        about = f"{does[0].upper()}{does[1:]}."
        added = commands.add_parser(name, help=does, description=about, formatter_class=_formatter)
        added.set_defaults(run=run)
        return added

    upgrade = add("upgrade", _upgrade, "migrate to head, or to a revision")
    upgrade.add_argument("revision", nargs="?", default="head", metavar="REV", help="id, prefix, +N or head (default)")
    upgrade.add_argument("--dry-run", action="store_true", help="show what would be done")
    status = add("status", _status, "say where the database is")
    status.add_argument(
        "--exit-code",
        action="store_true",
        help="exit 1 unless the database is at head, or only post-deploy work is left",
    )
    downgrade = add("downgrade", _downgrade, "go back to a revision, after showing what will be lost")
    downgrade.add_argument("revision", metavar="REV", help="id, prefix, -N or base")
    plan = add("plan", _plan, "show what an upgrade would do: SQL, locks, hazards on tables of this size")
    plan.add_argument("revision", nargs="?", default="head", metavar="REV", help="id, prefix, +N or head (default)")
    drift = add("drift", _drift, "say where models.py, the migrations and the database differ; exit 1 when they do")
    ledger = add("log", _log, "show the ledger: who did what, when, how long, which release")
    ledger.add_argument("--limit", type=_count, metavar="N", default=50, help="the newest N rows (default 50)")
    adopt = add("adopt", _adopt, "take over a database that has tables but no version")
    adopt.add_argument(
        "revision", nargs="?", metavar="REV", help="the revision that it is at; found by itself when left out"
    )
    adopt.add_argument("--force", action="store_true", help="take it for REV although its schema differs")
    seal = add("seal", _seal, "write migrations/manifest.txt, or check it")
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
    init = add("init", _init, "bring Railhead into an application that exists")
    init.set_defaults(alone=True)
    init.add_argument("--yes", action="store_true", help="do not ask")
    init.add_argument("--dry-run", action="store_true", help="show what would be written")
    init.add_argument("--new", action="store_true", help="make a small application in an empty folder")
    init.add_argument("--undo", action="store_true", help="give back every file as it was")
    init.add_argument("--no-replay", action="store_true", help="seal without trying the revisions")
    wait = add("wait", _wait, "return 0 when this release can serve the database, for processes that must not migrate")
    wait.add_argument("--head", action="store_true", help="wait for post-deploy work, too")
    rebase = add("rebase", _rebase, "put a branch on top of the other head: new numbers, new parent, new file names")
    rebase.add_argument("revision", metavar="REVISION", help="id or file of the revision to move")
    reset = add("reset", _reset, "development only: drop everything and migrate from nothing")
    finish = add("finish", _finish, "do the post-deploy work that is left, once the previous release is gone")
    finish.add_argument("--now", action="store_true", help="do not wait for the previous release; says whom it breaks")
    finish.add_argument("--beside", type=int, metavar="PID", help=argparse.SUPPRESS)
    doctor = add("doctor", _doctor, "look for everything that could bite; exit 1 when there is something")
    for told in (status, plan, drift, ledger, doctor):
        told.add_argument("--json", action="store_true", help="the same record as JSON")
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


def _as_json(record: object) -> str:
    import json

    return json.dumps(record, indent=2, ensure_ascii=False)
