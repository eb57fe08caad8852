"""Is this process alive, and can it serve? For the platform, not for people."""

from __future__ import annotations

import psycopg2
from flask import Blueprint, Response, current_app, jsonify

from app.sign_in import access
from railhead.errors import Stop
from railhead.settings import Settings

_FOR_ALL = ("state", "flags", "current", "heads", "pending", "unknown")
"""What a stranger may know; where the database is and who migrated it is for those who may write."""

blueprint = Blueprint("health", __name__)


@blueprint.get("/healthz")
def healthz() -> Response:
    """Tell that the process answers. Touches nothing."""
    return jsonify(status="ok")


@blueprint.get("/readyz")
def readyz() -> tuple[Response, int]:
    """Answer 200 when the database answers and its schema is one that this code can serve, else 503. Read-only."""
    from app import console  # it imports Alembic, which nobody needs who only serves the board
    from railhead.state import status

    settings: Settings = current_app.config["SETTINGS"]
    try:
        with console.observing(settings) as connection:
            seen = status.status_of(connection, settings, console.history(settings.project), console.models)
    except (Stop, psycopg2.Error) as error:
        current_app.logger.warning("not ready: %s", error)
        return jsonify(state="unreachable"), 503
    record = seen.record()
    shown = record if access().may_write else {key: record[key] for key in _FOR_ALL}
    return jsonify(shown), 200 if seen.can_serve else 503
