"""The command line: one function a command.

Imports what a command needs only when it runs: a command with nothing to do costs neither Alembic nor SQLAlchemy.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout

from railhead import errors, logs, nesting
from railhead.arguments import parser_of
from railhead.call import Call, Command, agree, agree_by_name
from railhead.errors import Stop
from railhead.fast_path import at_head, can_serve
from railhead.postgres import interrupts
from railhead.postgres.connection import open_now
from railhead.project import Project
from railhead.settings import load
from railhead.startup import refusals_told, told_as_changed, unexpected, with_database

_SETTLING = "where this release can serve it, with post-deploy work left"


def main(project: Project, arguments: Sequence[str] | None = None) -> int:
    """Run one command of the command line and return its exit code."""
    parsed = parser_of(project.command, COMMANDS).parse_args(arguments)
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
    except Exception as error:  # a bug of ours, or of somebody's code that we run
        logs.log.debug("%s stopped by an error of our own", command, exc_info=error)
        print(project.spoken(unexpected(error).render(command)), file=sys.stderr)
        return errors.IMPOSSIBLE


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

    place = read(call.settings, models=call.project.models)
    call.say(report.as_json(place.record()) if call.arguments.json else report.status_text(place))
    return errors.NO if call.arguments.exit_code and place.state not in {"current", "settling"} else errors.DONE


def _plan(call: Call) -> int:
    from railhead.commands import report
    from railhead.commands.plan import make
    from railhead.state.status import assert_one_database

    assert_one_database(call.settings)
    upgrade = make(call.arguments.revision, call.settings)
    call.say(report.as_json(upgrade.record()) if getattr(call.arguments, "json", False) else report.plan_text(upgrade))
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
        agree(call, "downgrade", f"downgrade {call.arguments.revision}")
    call.say(migrate("downgrade", call.arguments.revision, call.settings))
    return errors.DONE


def _drift(call: Call) -> int:
    from railhead.commands import report
    from railhead.history import loader
    from railhead.state.status import assert_one_database, drifted

    assert_one_database(call.settings)
    with loader.no_garbage_collection():
        drift = drifted(call.settings, call.project.models)
    call.say(report.as_json(drift.record()) if call.arguments.json else report.drift_text(drift))
    return errors.NO if drift.is_there else errors.DONE


def _doctor(call: Call) -> int:
    from railhead.commands import report
    from railhead.commands.doctor import examine

    messages = examine(call.settings, call.project.models)
    call.say(
        report.as_json([message._asdict() for message in messages])
        if call.arguments.json
        else report.findings_text(messages)
    )
    return errors.NO if any(not message.is_remark for message in messages) else errors.DONE


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
    is_there = glimpse is not None and not (whole and glimpse[1])
    place = "at head" if glimpse is None or not glimpse[1] else _SETTLING
    if not is_there:
        from railhead.commands.wait import not_served, wait

        status = wait(call.settings, call.project.models, whole=whole)
        is_there = status.can_serve and not (whole and status.state == "settling")
        if is_there and status.state == "settling":
            place = _SETTLING
        elif status.state == "ahead":
            place = "ahead of this release, which may be served on it"
        elif not is_there:
            place = f"not at head after {call.settings.wait_lock:g} s (MIGRATE_WAIT_LOCK)"
        if not is_there and status.state not in {"behind", "settling"}:
            raise not_served(call.project, status, ("waiting", "does not help: somebody has to do something first"))
    call.say(f"wait: the database is {place}")
    return errors.DONE if is_there else errors.NO


def _finish(call: Call) -> int:
    if at_head(call.settings) is not None:
        call.say("finish: nothing to do, the database is at head")
        return errors.DONE
    from railhead.commands.finish import finish, finish_beside

    if call.arguments.beside:
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
        untrue = differences(call.project, seen=not call.arguments.no_replay)
        call.say("\n".join(untrue) or "the manifest is true")
        if untrue:
            call.say(f"\nnext: {call.project.command} seal", error=True)
        return errors.NO if untrue else errors.DONE
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

    options = call.arguments
    dump = Path(options.dump) if options.dump else None
    settings = call.settings if dump else with_database(call.settings)
    with baseline.made(settings, options.start, dump, options.rows or ()) as begun:
        sealed = write(settings, look=not options.no_replay, every=options.all, advise=options.advice, start=begun)
    call.say(report.sealed_text(sealed, advice=options.advice))
    call.say(baseline.description(loader.history(settings.project), begun))
    return errors.DONE


def _init(call: Call) -> int:
    from pathlib import Path

    from railhead.init import command

    options = call.arguments
    if options.undo:
        command.take_back(call.project, call.say)
        return errors.DONE
    settings = call.settings
    if options.new:
        settings = settings._replace(project=call.project._replace(root=Path.cwd()))

    def ask() -> None:
        if not options.yes:
            agree(call, "init", "init", danger="init replaces files")

    init = command.Init(settings, call.say, ask, dry=options.dry_run, replay=not options.no_replay)
    (command.new if options.new else command.existing)(init)
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
    agree_by_name(call, name)
    empty_database(call.settings)
    with told_as_changed("everything was dropped by this reset", f"{call.project.command} upgrade"):
        call.say(migrate("upgrade", "head", call.settings))
    return errors.DONE


COMMANDS: dict[str, Command] = {
    "upgrade": _upgrade,
    "status": _status,
    "downgrade": _downgrade,
    "plan": _plan,
    "drift": _drift,
    "log": _log,
    "adopt": _adopt,
    "seal": _seal,
    "init": _init,
    "wait": _wait,
    "rebase": _rebase,
    "reset": _reset,
    "finish": _finish,
    "doctor": _doctor,
}


def _as_json(record: object) -> str:
    import json

    return json.dumps(record, indent=2, ensure_ascii=False)
