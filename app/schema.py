"""How is the schema? The console for whoever may write: state, drift, history and tables, as a page and as JSON."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from typing import TYPE_CHECKING, ParamSpec

import psycopg2
from flask import Blueprint, Flask, Response, abort, current_app, g, make_response, render_template, request, url_for
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import ServiceUnavailable

from app import errors, picture
from app.sign_in import Access, access, writers_only
from railhead.errors import Stop
from railhead.postgres import failures
from railhead.settings import Settings
from railhead.state import ledger
from railhead.state.ledger import Filter

if TYPE_CHECKING:
    from app.console import Console

REFRESH = 4
"""Seconds after which the page is loaded again while another process migrates."""

LONGEST_WORD = 100

_UNITS = ("bytes", "kB", "MB", "GB", "TB")

blueprint = Blueprint("schema", __name__)
P = ParamSpec("P")


def init_app(app: Flask) -> None:
    """Tell the templates whether there is a console, and teach them how to write sizes."""

    @app.context_processor
    def console_there() -> dict[str, object]:
        return {"has_console": access() is not Access.READ_ONLY}

    for word in (size, seconds, age, capitalize_first):
        app.add_template_filter(word)


def _for_writers(view: Callable[P, ResponseReturnValue]) -> Callable[P, ResponseReturnValue]:
    """Let those see `view` who may write; where nobody can sign in there is no such page."""

    @functools.wraps(view)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> ResponseReturnValue:
        if access() is Access.READ_ONLY:
            abort(404)
        return writers_only(view)(*args, **kwargs)

    return guarded


@blueprint.get("/schema")
@_for_writers
def console() -> ResponseReturnValue:
    """Show the console."""
    try:
        told = _read()
    except Stop as stop:
        return _away(stop)
    stopped = request.args.get("refresh") == "off"
    page = make_response(
        render_template(
            "schema.html",
            told=told,
            only=_filter(),
            actions=ledger.ACTIONS,
            outcomes=ledger.OUTCOMES,
            picture=picture.draw(told.tables) if told.tables else None,
            anchors={table.name: table.anchor for table in told.tables or ()},
            tone=_tone(told),
            refresh=0 if stopped else REFRESH,
        )
    )
    if told.overview.status.lock and not stopped:
        page.headers["Refresh"] = str(REFRESH)  # works without JavaScript, and our Content-Security-Policy allows none
    return page


@blueprint.get("/schema.json")
@_for_writers
def as_json() -> ResponseReturnValue:
    """Give the same facts to a program."""
    try:
        told = _read()
    except Stop as stop:
        return _away(stop)
    answer = Response(json.dumps(told.record(), ensure_ascii=False, default=str), content_type="application/json")
    for page in (told.revisions_page, told.ledger_page):
        for relation, number in (("prev", page.number - 1), ("next", page.number + 1)):
            if 1 <= number <= page.last:
                address = page.address(number).partition("#")[0]
                answer.headers.add("Link", f'<{address}>; rel="{relation}"; title="{page.name}"')
    return answer


def size(count: int) -> str:
    """`8 kB`, `1.2 MB`: bytes for people."""
    amount, unit = float(count), 0
    while amount >= 1000 and unit < len(_UNITS) - 1:
        amount, unit = amount / 1024, unit + 1
    return f"{amount:.0f} {_UNITS[unit]}" if unit == 0 or amount >= 10 else f"{amount:.1f} {_UNITS[unit]}"


def seconds(milliseconds: int) -> str:
    """`40 ms`, `1.2 s`, `3 min 5 s`."""
    if milliseconds < 1000:
        return f"{milliseconds} ms"
    return f"{milliseconds / 1000:.1f} s" if milliseconds < 60_000 else age(milliseconds / 1000)


def age(length: float) -> str:
    """`8 s`, `3 min 5 s`, `2 h 10 min`."""
    minutes, rest = divmod(round(length), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def capitalize_first(sentence: str) -> str:
    """Begin a sentence with a capital, unless its first word is a name such as models.py."""
    word = sentence.split(" ", 1)[0]
    return sentence if "." in word or "_" in word else sentence[:1].upper() + sentence[1:]


def _read() -> Console:
    """Raises Stop for whatever keeps us from reading."""
    from app import console  # it imports Alembic, which nobody needs who only serves the board

    settings: Settings = current_app.config["SETTINGS"]
    try:
        return console.read(settings, _filter())
    except psycopg2.Error as error:
        raise Stop(
            "unreadable",
            "the database did not answer while it was read",
            facts=[("PostgreSQL", failures.server_words(error))],
            database="unchanged",
            next_step="load the page again",
        ) from error


def _filter() -> Filter:
    asked = {name: request.args.get(name, "").replace("\0", "").strip()[:LONGEST_WORD] for name in Filter._fields}
    return Filter(**asked)


def _tone(told: Console) -> str:
    """Return how the banner looks; it says the same in words."""
    if told.overview.status.state == "current":
        return "care" if told.overview.flags else "good"
    return "care" if told.overview.status.can_serve or told.overview.status.state == "behind" else "bad"


def _away(stop: Stop) -> ResponseReturnValue:
    current_app.logger.error("the console cannot read the database: %s", stop)
    if errors.wants_json():
        raise ServiceUnavailable(stop.headline, retry_after=errors.RETRY_AFTER)
    page = make_response(
        render_template("schema_away.html", stop=stop, again=url_for("schema.console"), reference=g.request_id), 503
    )
    page.headers["Retry-After"] = str(errors.RETRY_AFTER)
    return page
