"""One call of the command line: what is asked, where the answers go, and whether somebody agrees to what may lose data."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from typing import NamedTuple, TextIO

from railhead import errors
from railhead.errors import Stop
from railhead.project import Project
from railhead.settings import Settings


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


def agree_by_name(call: Call, name: str) -> None:
    """Raise Stop unless somebody has named the database that is to be emptied: a `yes` is typed without looking."""
    typed: str | None = call.arguments.yes
    is_asked = typed is None and sys.stdin.isatty()
    if is_asked:
        typed = _answer(f"type the name of the database ({name}) to go on: ")
    if typed == name:
        return
    from shlex import quote

    raise Stop(
        "not-agreed",
        f"reset drops everything, and the database is {name}, not {typed}"
        if typed
        else "reset drops everything, and nobody has named the database",
        facts=[("url", str(call.settings.migrations))],
        database="unchanged",
        next_step="nothing" if is_asked else f"{call.project.command} reset --yes={quote(name)}",
        exit_code=errors.NO if is_asked else errors.USAGE,
    )


def agree(call: Call, what: str, typed: str, danger: str | None = None) -> None:
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
