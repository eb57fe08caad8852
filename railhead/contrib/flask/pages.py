"""Which pages does Railhead add? The console for whoever is allowed to see it, and `/readyz` for the platform."""

from __future__ import annotations

import functools
import hmac
from collections.abc import Callable
from typing import ParamSpec

import psycopg2
from flask import Blueprint, Response, abort, current_app, jsonify, request
from flask.typing import ResponseReturnValue

from railhead.contrib.flask.state import Access, state
from railhead.contrib.flask.words import FILTERS
from railhead.errors import Stop
from railhead.settings import Settings

P = ParamSpec("P")

_FOR_ALL = ("state", "flags", "current", "heads", "pending", "unknown")
"""What a stranger may know; where the database is and who migrated it is for those who see the console."""

_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
}


def blueprint(console: str | None, readyz: str | None) -> Blueprint:
    """Return the pages at these addresses."""
    made = Blueprint(
        "railhead",
        __name__,
        template_folder="templates",
        static_folder="static",
        static_url_path=f"{console or '/schema'}/static",
    )
    for name, word in FILTERS.items():
        made.add_app_template_filter(word, f"railhead_{name}")
    if console:
        made.add_url_rule(console, "console", _guarded(_console))
        made.add_url_rule(f"{console}.json", "as_json", _guarded(_as_json))
    if readyz:
        made.add_url_rule(readyz, "readyz", _readyz)
    made.after_request(_protect)
    return made


def knows_password(settings: Settings) -> Access:
    """Return whether who asks knows ADMIN_PASSWORD, or is asked for it. Without one, development is open and production closed."""
    if settings.admin_password is None:
        return not settings.production
    given = (request.authorization and request.authorization.password) or ""
    if hmac.compare_digest(given.encode(), settings.admin_password.encode()):
        return True
    return Response("Sign in with ADMIN_PASSWORD.\n", 401, {"WWW-Authenticate": 'Basic realm="Railhead"'})


def _guarded(view: Callable[P, ResponseReturnValue]) -> Callable[P, ResponseReturnValue]:
    """Let those see `view` who are allowed to; for others there is no such page, or the answer that the application gives."""

    @functools.wraps(view)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> ResponseReturnValue:
        access = state().allowed()
        if access is True:
            return view(*args, **kwargs)
        return abort(404) if access is False else access

    return guarded


def _console() -> ResponseReturnValue:
    """Show the console."""
    from railhead.contrib.flask import views  # it imports Alembic, which nobody needs who only serves

    return views.page(state())


def _as_json() -> ResponseReturnValue:
    """Give the same facts to a program."""
    from railhead.contrib.flask import views

    return views.as_json(state())


def _readyz() -> tuple[Response, int]:
    """Answer 200 when the database answers and its schema is one that this code can serve, else 503. Read-only."""
    from railhead.contrib.flask import console
    from railhead.state import status

    settings = state().settings
    try:
        with console.observing(settings) as connection:
            history = console.history(settings.project)
            place = status.status_of(connection, settings, history, settings.project.models)
    except (Stop, psycopg2.Error) as error:
        current_app.logger.warning("not ready: %s", error)
        return jsonify(state="unreachable"), 503
    record = place.record()
    shown = record if state().allowed() is True else {key: record[key] for key in _FOR_ALL}
    return jsonify(shown), 200 if place.can_serve else 503


def _protect(response: Response) -> Response:
    for name, value in _HEADERS.items():
        if name != "Cache-Control" or request.endpoint != "railhead.static":
            response.headers.setdefault(name, value)
    return response
