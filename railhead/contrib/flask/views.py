"""What does the console answer? State, drift, history and tables, as a page and as JSON. Imports what drives Alembic."""

from __future__ import annotations

import json

import psycopg2
from flask import Response, current_app, g, make_response, render_template, request, url_for
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import ServiceUnavailable

from railhead.contrib.flask import console, picture
from railhead.contrib.flask.console import Console
from railhead.contrib.flask.state import State
from railhead.errors import Stop
from railhead.postgres import failures
from railhead.state import ledger
from railhead.state.ledger import Filter

REFRESH = 4
"""Seconds after which the page is loaded again while another process migrates."""

RETRY_AFTER = 5
"""Seconds after which it is worth asking a database again that is away."""

LONGEST_WORD = 100


def page(state: State) -> ResponseReturnValue:
    """Show the console."""
    try:
        shown = _read(state)
    except Stop as stop:
        return _away(state, stop)
    stopped = request.args.get("refresh") == "off"
    text = render_template(
        "railhead/console.html",
        layout=state.layout,
        told=shown,
        only=_filter(),
        actions=ledger.ACTIONS,
        outcomes=ledger.OUTCOMES,
        picture=picture.draw(shown.tables) if shown.tables else None,
        anchors={table.name: table.anchor for table in shown.tables or ()},
        tone=_tone(shown),
        refresh=0 if stopped else REFRESH,
    )
    answer = make_response(state.settings.project.spoken(text))
    if shown.overview.status.lock and not stopped:
        answer.headers["Refresh"] = str(
            REFRESH
        )  # works without JavaScript, and our Content-Security-Policy allows none
    return answer


def as_json(state: State) -> ResponseReturnValue:
    """Give the same facts to a program."""
    try:
        shown = _read(state)
    except Stop as stop:
        return _away(state, stop)
    text = json.dumps(shown.record(), ensure_ascii=False, default=str)
    answer = Response(state.settings.project.spoken(text), content_type="application/json")
    for part in (shown.revisions_page, shown.ledger_page):
        for relation, number in (("prev", part.number - 1), ("next", part.number + 1)):
            if 1 <= number <= part.last:
                address = part.address(number).partition("#")[0]
                answer.headers.add("Link", f'<{address}>; rel="{relation}"; title="{part.name}"')
    return answer


def _read(state: State) -> Console:
    """Raises Stop for whatever keeps us from reading."""
    try:
        return console.read(state.settings, _filter())
    except psycopg2.Error as error:
        raise Stop(
            "unreadable",
            "the database did not answer while it was read",
            facts=[("PostgreSQL", failures.server_words(error))],
            database="unchanged",
            next_step="load the page again",
        ) from error


def _filter() -> Filter:
    words = {name: request.args.get(name, "").replace("\0", "").strip()[:LONGEST_WORD] for name in Filter._fields}
    return Filter(**words)


def _tone(shown: Console) -> str:
    """Return how the banner looks; it says the same in words."""
    if shown.overview.status.state == "current" and shown.overview.status.can_serve:
        return "care" if shown.overview.flags else "good"
    return "care" if shown.overview.status.can_serve or shown.overview.status.state == "behind" else "bad"


def _away(state: State, stop: Stop) -> ResponseReturnValue:
    current_app.logger.error("the console cannot read the database: %s", stop)
    if request.path.endswith(".json") or request.accept_mimetypes.best == "application/json":
        raise ServiceUnavailable(stop.headline, retry_after=RETRY_AFTER)
    text = render_template(
        "railhead/away.html",
        layout=state.layout,
        stop=stop,
        again=url_for("railhead.console"),
        reference=g.get("request_id"),
    )
    answer = make_response(state.settings.project.spoken(text), 503)
    answer.headers["Retry-After"] = str(RETRY_AFTER)
    return answer
