"""The smallest application that brings its database to head before it serves."""

from __future__ import annotations

import sys

import click
import psycopg2
from flask import Flask, current_app
from flask.cli import FlaskGroup

from railhead import logs
from railhead.errors import Stop
from railhead.settings import Settings, load
from utils.migrate import PROJECT, migrate_on_startup


def create_app(settings: Settings | None = None) -> Flask:
    """Return the application, with its database at head. Changes the schema."""
    try:
        settings = settings or load(PROJECT)
    except Stop as stop:
        sys.stderr.write(stop.render() + "\n")
        raise SystemExit(stop.exit_code) from None
    logs.configure(settings, sys.stdout)
    if _is_serving():
        settings = migrate_on_startup(settings)
    app = Flask(__name__)
    app.config["SETTINGS"] = settings
    app.add_url_rule("/healthz", "healthz", lambda: {"status": "ok"})
    app.add_url_rule("/readyz", "readyz", _readyz)
    return app


def _readyz() -> tuple[dict[str, object], int]:
    from railhead.state import status

    try:
        answer = status.read(current_app.config["SETTINGS"], models=PROJECT.models)
    except (Stop, psycopg2.Error):
        return {"state": "unreachable"}, 503
    return answer.record(), 200 if answer.can_serve else 503


def _is_serving() -> bool:
    """Tell whether requests will follow: not so under `flask routes` and the like."""
    context = click.get_current_context(silent=True)
    if context is None or context.info_name == "run":
        return True
    return not isinstance(context.find_root().command, FlaskGroup)
