"""`railhead init`: bring the engine into an application that exists. Writes files; moves no database.

Shows what it would write, asks, keeps what it replaces, seals the history, and ends with the line to add and where the database is.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from railhead.errors import Stop, labelled
from railhead.init import fresh, setup
from railhead.init.files import Change, undo, write
from railhead.init.setup import Setup
from railhead.project import Project
from railhead.settings import Settings


class Init(NamedTuple):
    """What one run is to do."""

    settings: Settings
    say: Callable[[str], None]
    agree: Callable[[], None]
    """Raises Stop unless somebody agrees to what was shown."""
    dry: bool = False
    replay: bool = True

    @property
    def project(self) -> Project:
        """Return the project whose files are looked at."""
        return self.settings.project


def take_back(project: Project, say: Callable[[str], None]) -> None:
    """Give back every file as it was before `railhead init`. Changes files only."""
    done = undo(project.root)
    if done is None:
        raise Stop(
            "nothing-kept",
            "there is nothing to take back: railhead init has not been here",
            database="not touched",
            next_step="nothing",
        )
    say("\n".join(done))


def new(init: Init) -> None:
    """Make a small application in an empty folder. Raises Stop where something is there already."""
    there = sorted(entry.name for entry in init.project.root.iterdir() if not entry.name.startswith("."))
    if there:
        raise Stop(
            "not-empty",
            "init --new makes an application in an empty folder, and this one is not empty",
            facts=[("there", ", ".join(there[:6]))],
            database="not touched",
            next_step="stand in an empty folder; in an application that exists:  railhead init",
        )
    _go(init, Setup("an empty folder: a small application is made", fresh.files(), (), "nothing: it is there already"))


def existing(init: Init) -> None:
    """Bring the engine into the application around. Changes files only, and scratch databases."""
    _go(init, setup.of(init.project))


def _go(init: Init, plan: Setup) -> None:
    init.say(f"found: {plan.layout}")
    for change in plan.changes:
        init.say(change.diff(init.project.root))
    for remark in plan.remarks:
        init.say(f"note: {remark}")
    if init.dry:
        init.say("nothing was written (--dry-run)")
        return
    if plan.changes:
        init.agree()
        write(init.project.root, plan.changes, [_manifest(init.project, plan.changes)])
        init.say("\n".join(f"written  {change.path}" for change in plan.changes))
    else:
        init.say("every file is as it should be: nothing is written")
    _seal(init)
    _end(init, plan)


def _manifest(project: Project, changes: tuple[Change, ...]) -> str:
    scripts = next((Path(change.path).parent for change in changes if change.path.endswith("env.py")), None)
    known = (
        project.scripts.relative_to(project.root) if project.scripts.is_relative_to(project.root) else project.scripts
    )
    return ((scripts or known) / "manifest.txt").as_posix()


def _seal(init: Init) -> None:
    """Seal what is not sealed; where no replay is possible the revisions are listed only, and that is said."""
    from railhead.commands import report, seal

    if init.project.manifest.is_file() and not seal.differences(init.project, seen=False):
        return
    if not init.project.versions.is_dir():
        init.project.versions.mkdir(parents=True)
    try:
        sealed = seal.write(init.settings, look=init.replay, adopted_up_to=seal.FIRST_SEAL)
    except Stop as stop:
        init.say(stop.render("seal"))
        sealed = seal.write(init.settings, look=False, adopted_up_to=seal.FIRST_SEAL)
    init.say(report.sealed_text(sealed))


def _end(init: Init, plan: Setup) -> None:
    from railhead.commands import report
    from railhead.startup import with_database
    from railhead.state import status

    try:
        place = status.read(with_database(init.settings), models=init.project.models)
        init.say(report.status_text(place))
    except Stop as stop:
        init.say(stop.render("status"))
    init.say(
        "\n".join(
            [
                "",
                *labelled("next", f"add the line\n{plan.lines}"),
                *labelled("", "then start the application; railhead init --undo takes all of this back"),
            ]
        )
    )
