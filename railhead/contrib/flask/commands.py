"""`flask railhead ...`: the command line of the engine, with the settings and the models of the application."""

from __future__ import annotations

import sys

import click
from flask.cli import with_appcontext

from railhead.contrib.flask.state import state


@click.command("railhead", context_settings={"ignore_unknown_options": True, "help_option_names": []})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@with_appcontext
def railhead(arguments: tuple[str, ...]) -> None:
    """Bring the database to head, or say where it is; `flask railhead --help` lists what else."""
    from railhead import cli

    sys.exit(cli.main(state().settings.project, arguments))
