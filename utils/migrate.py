"""The front door: command line and start-up hook.

`python utils/migrate.py [COMMAND]` from any folder, `python -m utils.migrate`, and `migrate_on_startup` for the application.
Imports what a command needs only when it runs: a start with nothing to do costs neither Alembic nor SQLAlchemy.
"""

from __future__ import annotations

import argparse
import gc
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

_HERE = os.path.dirname(os.path.realpath(__file__))
if os.path.realpath(sys.path[0] or ".") == _HERE:
    sys.path[0] = os.path.dirname(_HERE)  # started by path: the project is what we import from, not this folder
elif os.path.dirname(_HERE) not in sys.path:
    sys.path.insert(0, os.path.dirname(_HERE))

import psycopg2

from railhead import errors, logs
from railhead.errors import Stop
from railhead.history import manifest
from railhead.logs import log
from railhead.postgres import connection as database
from railhead.postgres import interrupts as watchdog
from railhead.settings import Settings, load

if TYPE_CHECKING:
    from sqlalchemy import MetaData

    from railhead.state.status import Status

Command = Callable[[argparse.Namespace, Settings], int]

_PROGRAM = "python utils/migrate.py"

_GLANCE = 3
"""Seconds that the first look may take before a closer one, which waits for longer and says what it waits for."""

_VERSIONS = "SELECT version_num FROM alembic_version"
_VERSIONS_AND_PLACE = f"SELECT version_num, place.* FROM alembic_version, ({database.IDENTITY}) AS place"


def migrate_on_startup(settings: Settings) -> Settings:
    """Return the settings, completed, when the application may serve. Changes the schema, writes the ledger.

    Waits for the database, for another migrator and for table locks, as the settings say. Ends the process with status 3
    after one message when the schema is not one that this code can serve; with 143 or 130 when it is told to stop.
    """
    with _ending_the_process("start"), watchdog.watching(), _refusals_told("python utils/migrate.py status"):
        settings = _with_database(settings)
        if settings.migrate_on_start == "off":
            log.info("start: MIGRATE_ON_START=off, the schema is not looked at")
        elif settings.migrate_on_start == "check":
            _check(settings)
        elif (heads := at_head(settings)) is not None:
            log.info("start: the database is at head, %s", ", ".join(heads))
        else:
            _upgrade_or_fall_back(settings)
    return settings


def at_head(settings: Settings) -> tuple[str, ...] | None:
    """Return the heads when one glance shows that the database is there; None when it takes a closer look. Read-only."""
    if settings.database is None or settings.migrate_database is None:
        return None
    addresses = settings.addresses
    question = _VERSIONS if len(addresses) == 1 else _VERSIONS_AND_PLACE
    asked: list[database.Question] = []
    try:
        asked += (database.Question(address, "start", question, timeout=_GLANCE) for address in addresses)
        heads = manifest.head_without_alembic()  # while the server lets us in
        found = [one.answer() for one in asked] if heads else []
    except psycopg2.Error:
        return None
    finally:
        for one in asked:
            one.close()  # where nobody has waited for the answer
    versions = {tuple(sorted(str(row[0]) for row in rows)) for rows in found}
    places = {row[1:] for rows in found for row in rows}
    return heads if versions == {heads} and len(places) == 1 else None


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command of the command line and return its exit code."""
    parsed = _parser().parse_args(arguments)
    command: str = parsed.command or "upgrade"
    try:
        with watchdog.watching(), _refusals_told(f"python utils/migrate.py {command}"):
            settings = load() if parsed.alone else _with_database(load())
            logs.configure(settings)
            run: Command = parsed.run
            code = run(parsed, settings)
            sys.stdout.flush()
            return code
    except BrokenPipeError:  # `| head -1` has read what it wanted
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return errors.DONE
    except Stop as stop:
        if getattr(parsed, "json", False):
            print(_as_json(stop.record()))
        print(stop.render(command), file=sys.stderr)
        return stop.exit_code
    except watchdog.Interrupted as interrupted:
        print(f"{command} stopped: {interrupted}", file=sys.stderr)
        return interrupted.exit_code


def _upgrade(parsed: argparse.Namespace, settings: Settings) -> int:
    target: str = parsed.revision
    if target == "head" and not parsed.dry_run and (heads := at_head(settings)) is not None:
        print(f"upgrade: nothing to do, the database is at {', '.join(heads)}")
        return errors.DONE
    if parsed.dry_run:
        return _plan(parsed, settings)
    from railhead.execution import entry as upgrade

    print(upgrade.run("upgrade", target, settings))
    return errors.DONE


def _status(parsed: argparse.Namespace, settings: Settings) -> int:
    if parsed.exit_code and not parsed.json and (heads := at_head(settings)) is not None:
        print(f"current: the database is at {', '.join(heads)}")
        return errors.DONE
    from railhead.commands import report
    from railhead.state import status

    found = status.read(settings, models=_models)
    print(report.as_json(found.record()) if parsed.json else report.status_text(found))
    return errors.NO if parsed.exit_code and found.state != "current" else errors.DONE


def _plan(parsed: argparse.Namespace, settings: Settings) -> int:
    from railhead.commands import plan, report
    from railhead.state import status

    status.assert_one_database(settings)
    made = plan.make(parsed.revision, settings)
    print(report.as_json(made.record()) if getattr(parsed, "json", False) else report.plan_text(made))
    return errors.DONE


def _downgrade(parsed: argparse.Namespace, settings: Settings) -> int:
    from railhead.commands import data_loss as losses
    from railhead.commands import report
    from railhead.execution import entry as upgrade
    from railhead.state import status

    status.assert_one_database(settings)
    steps = upgrade.plan("downgrade", parsed.revision, settings)
    if not steps:
        print("downgrade: nothing to do")
        return errors.DONE
    print(report.steps_text("downgrade", steps))
    print("\n".join(losses.of_downgrade(steps, settings)))
    if not parsed.yes:
        _agree("downgrade", f"downgrade {parsed.revision}", settings)
    print(upgrade.run("downgrade", parsed.revision, settings))
    return errors.DONE


def _drift(parsed: argparse.Namespace, settings: Settings) -> int:
    from railhead.commands import report
    from railhead.history import planner as revisions
    from railhead.state import status

    status.assert_one_database(settings)
    with revisions.no_garbage_collection():
        found = status.drifted(settings, _models)
    print(report.as_json(found.record()) if parsed.json else report.drift_text(found))
    return errors.NO if found.is_there else errors.DONE


def _doctor(parsed: argparse.Namespace, settings: Settings) -> int:
    from railhead.commands import doctor, report

    found = doctor.examine(settings, _models)
    print(report.as_json([one._asdict() for one in found]) if parsed.json else report.findings_text(found))
    return errors.NO if found else errors.DONE


def _adopt(parsed: argparse.Namespace, settings: Settings) -> int:
    from railhead.execution import entry as upgrade

    print(f"adopt: the database is at {upgrade.adopt(settings, parsed.revision, force=parsed.force)}")
    return errors.DONE


def _log(parsed: argparse.Namespace, settings: Settings) -> int:
    from railhead.commands import report
    from railhead.state import ledger, status

    status.assert_one_database(settings)
    connection = database.open_now(settings.application, "log")
    entries = ledger.entries(connection, parsed.limit)
    connection.close()
    print(report.as_json([entry.record() for entry in entries]) if parsed.json else report.log_text(entries))
    return errors.DONE


def _wait(_parsed: argparse.Namespace, settings: Settings) -> int:
    there = at_head(settings) is not None
    place = "at head"
    if not there:
        from railhead.execution import entry as upgrade

        found = upgrade.wait(settings, _models)
        there = found.can_serve
        if found.state == "ahead":
            place = "ahead of this release, which may be served on it"
        elif not there:
            place = f"not at head after {settings.wait_lock:g} s (MIGRATE_WAIT_LOCK)"
        if not there and found.state != "behind":
            raise _not_served(found, ("waiting", "does not help: somebody has to do something first"))
    print(f"wait: the database is {place}")
    return errors.DONE if there else errors.NO


def _seal(parsed: argparse.Namespace, settings: Settings) -> int:
    from railhead.commands import report, seal

    if parsed.check:
        told = seal.differences(seen=not parsed.no_replay)
        print("\n".join(told) or "the manifest is true")
        if told:
            print("\nnext: python utils/migrate.py seal", file=sys.stderr)
        return errors.NO if told else errors.DONE
    sealed = seal.write(settings, look=not parsed.no_replay)
    print(report.sealed_text(sealed))
    if sealed.unseen:
        print(f"\nlisted only: {', '.join(sealed.unseen)}; next: python utils/migrate.py seal", file=sys.stderr)
    return errors.DONE


def _rebase(parsed: argparse.Namespace, settings: Settings) -> int:
    from railhead.commands import rebase, report
    from railhead.state import status

    status.assert_one_database(settings)
    print(report.rebased_text(rebase.rebase(parsed.revision, settings)))
    return errors.DONE


def _reset(parsed: argparse.Namespace, settings: Settings) -> int:
    from railhead.commands import data_loss as losses
    from railhead.execution import entry as upgrade
    from railhead.state import status

    if settings.production:
        raise Stop(
            "not-in-production",
            "reset drops everything, and this is production",
            facts=[("production", "because of APP_ENV, a RAILWAY_* variable or a database on another machine")],
            database="unchanged",
            next_step="python utils/migrate.py downgrade REV",
        )
    status.assert_one_database(settings)
    print("\n".join(losses.of_reset(settings)))
    if not parsed.yes:
        _agree("reset", "reset", settings)
    upgrade.drop_everything(settings)
    print(upgrade.run("upgrade", "head", settings))
    return errors.DONE


def _agree(what: str, typed: str, settings: Settings) -> None:
    """Raise Stop unless somebody at a terminal says yes. In production nobody is asked: it takes `--yes`."""
    if settings.production or not sys.stdin.isatty():
        raise Stop(
            "not-agreed",
            f"{what} may lose data, and nobody agreed",
            facts=[("asked", "nobody: this is production" if settings.production else "nobody: no terminal")],
            database="unchanged",
            next_step=f"python utils/migrate.py {typed} --yes",
            exit_code=errors.USAGE,
        )
    if _answer("go on? [y/N] ") not in {"y", "yes"}:
        raise Stop(
            "not-agreed", f"{what} was not agreed to", database="unchanged", next_step="nothing", exit_code=errors.NO
        )


def _answer(question: str) -> str:
    try:
        return input(question).strip().lower()
    except EOFError:  # Ctrl-D
        return ""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=_PROGRAM,
        formatter_class=_formatter,
        description="Bring the database to head, or say where it is. Without a command: upgrade.",
        epilog="exit codes: 0 done or yes, 1 the answer is no, 2 usage, 3 could not, 4 the lock stayed busy, "
        "5 failed and rolled back, 6 failed and left something behind",
    )
    parser.set_defaults(run=_upgrade, command=None, alone=False, revision="head", dry_run=False)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", prog=_PROGRAM)

    def add(name: str, run: Command, does: str) -> argparse.ArgumentParser:
        about = f"{does[0].upper()}{does[1:]}."
        added = commands.add_parser(name, help=does, description=about, formatter_class=_formatter)
        added.set_defaults(run=run)
        return added

    upgrade = add("upgrade", _upgrade, "migrate to head, or to a revision")
    upgrade.add_argument("revision", nargs="?", default="head", metavar="REV", help="id, prefix, +N or head (default)")
    upgrade.add_argument("--dry-run", action="store_true", help="show what would be done")
    status = add("status", _status, "say where the database is")
    status.add_argument("--exit-code", action="store_true", help="exit 1 unless the database is at head")
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
    add("wait", _wait, "return 0 when the database is at head, for processes that must not migrate")
    rebase = add("rebase", _rebase, "put a branch on top of the other head: new numbers, new parent, new file names")
    rebase.add_argument("revision", metavar="REVISION", help="id or file of the revision to move")
    reset = add("reset", _reset, "development only: drop everything and migrate from nothing")
    doctor = add("doctor", _doctor, "look for everything that could bite; exit 1 when there is something")
    for told in (status, plan, drift, ledger, doctor):
        told.add_argument("--json", action="store_true", help="the same record as JSON")
    for asking in (downgrade, reset):
        asking.add_argument("--yes", action="store_true", help="do not ask")
    return parser


def _count(text: str) -> int:
    """Return a number of rows. Raises ArgumentTypeError."""
    if not text.isdecimal() or not 0 < int(text) < 10**9:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of rows, such as 50")
    return int(text)


def _check(settings: Settings) -> None:
    """Raise Stop unless the database is where this code can serve. Read-only. Waits up to MIGRATE_WAIT_DATABASE for it to answer."""
    if at_head(settings) is not None:
        return
    from railhead.state import status

    allowance = database.Allowance(settings.wait_database, "MIGRATE_WAIT_DATABASE")
    found = status.read(settings, models=_models, closely=False, allowance=allowance)
    if not found.can_serve:
        raise _not_served(found, ("setting", "MIGRATE_ON_START=check: this process does not migrate"))


def _not_served(found: Status, fact: errors.Fact) -> Stop:
    """Return the refusal of a database that this code cannot serve, by a process that does not migrate."""
    from railhead.commands import report
    from railhead.diagnosis import messages as diagnosis
    from railhead.history import graph as history
    from railhead.history import planner as revisions

    problem = revisions.history().problem if found.state == "forked" else None
    if problem:
        return problem
    place = f"at {', '.join(found.current)}" if found.current else "without a version"
    if found.state == "ahead" and found.unmet:
        return diagnosis.ahead(found.unknown, list(found.unmet), found.newer_release, place)
    if found.state == "unknown":
        return history.unknown_version(found.current, found.heads, found.redundant)
    let = "let the pre-deploy command migrate:\n" if found.state == "behind" else ""
    return Stop(
        "not-at-head",
        report.sentence(found),
        facts=[fact],
        database=f"unchanged, {place}",
        next_step=f"{let}{report.next_step(found)}",
    )


def _upgrade_or_fall_back(settings: Settings) -> None:
    from railhead.execution import entry as upgrade

    try:
        log.info("%s", upgrade.run("upgrade", "head", settings))
    except Stop as stop:
        if not settings.dev_create_tables or isinstance(stop, errors.TwoDatabases):
            raise
        if settings.production:
            log.warning("DEV_CREATE_TABLES is ignored: this is production")
            raise
        log.error("%s", stop.render("start"))
        upgrade.create_tables(settings, _models())
        log.warning(
            "DEV_CREATE_TABLES: migrating failed, so the tables that were missing were made from models.py; correct the migration, then: "
            "python utils/migrate.py reset"
        )


def _with_database(settings: Settings) -> Settings:
    """Return the settings with a database: the embedded server when none is named, which development only has."""
    if settings.database is not None:
        return settings
    from railhead.devserver import shared as embedded

    return embedded.fill(settings)


def _formatter(prog: str) -> argparse.HelpFormatter:
    """Return the formatter of help texts. Given a width, argparse does not import shutil to find one: 5 ms at every start."""
    try:
        width = os.get_terminal_size().columns - 2
    except OSError:
        width = 98
    return argparse.HelpFormatter(prog, width=width)


def _models() -> MetaData:
    from models import Base

    return Base.metadata


@contextmanager
def _ending_the_process(doing: str) -> Iterator[None]:
    """End the process after one message when something stops us. Status 3 also halts gunicorn's master."""
    try:
        yield
    except Stop as stop:
        log.error("%s", stop.render(doing))
        sys.exit(errors.IMPOSSIBLE)
    except watchdog.Interrupted as interrupted:
        log.warning("%s stopped: %s", doing, interrupted)
        sys.exit(interrupted.exit_code)
    except Exception:  # a bug of ours must end the process just as surely
        log.exception("%s stopped by an error of our own", doing)
        sys.exit(errors.IMPOSSIBLE)


@contextmanager
def _refusals_told(again: str) -> Iterator[None]:
    """Turn what PostgreSQL refuses outside of any migration into a Stop that ends with the command to repeat."""
    try:
        yield
    except psycopg2.Error as error:
        from railhead.diagnosis import messages as diagnosis

        raise diagnosis.refused(error, "unchanged", again=again) from error


def _as_json(record: object) -> str:
    import json

    return json.dumps(record, indent=2, ensure_ascii=False)


if __name__ == "__main__":
    exit_code = main()
    gc.freeze()  # the last look for reference cycles before the end, among hundreds of modules, is a tenth of a run
    sys.exit(exit_code)
