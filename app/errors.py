"""How do we say that it did not work? One page for people, RFC 9457 problems for programs, the request's id in both."""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import NamedTuple
from urllib.parse import quote

from flask import Flask, Response, current_app, g, make_response, render_template, request
from flask_wtf.csrf import CSRFError
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm.exc import StaleDataError
from werkzeug.exceptions import BadHost, Conflict, HTTPException, SecurityError, ServiceUnavailable, TooManyRequests

from app import database

RETRY_AFTER = 5
"""Seconds after which it is worth asking a database again that is away."""


class Words(NamedTuple):
    """What an error page says."""

    title: str
    text: str


_WORDS = {
    400: Words("That request makes no sense here", "Go back, reload the page and try once more."),
    401: Words("Sign in first", "Only people who have signed in can do this."),
    403: Words("This board is read-only", "Nobody can sign in here, because no ADMIN_PASSWORD is set."),
    404: Words("There is nothing here", "It may have been deleted, or the address has a slip in it."),
    405: Words("That does not work this way", "The address is right, but it does not take this kind of request."),
    409: Words("Somebody was faster", "It was changed or deleted meanwhile. Nothing of yours was saved."),
    413: Words("That is too much at once", "The form is larger than this application accepts. Shorten the text."),
    429: Words("Too many tries", "Wait {seconds} s before the next one."),
    500: Words("Something broke on our side", "It has been written to the log. Nothing you did was wrong."),
    503: Words(
        "The database does not answer",
        "Nothing is wrong with your request. If you were saving something, look whether it is there before you repeat it.",
    ),
}
_UNFIT = Words(
    "The database is not as this release needs it",
    "Nothing is wrong with your request: tables or columns that it needs were changed. What is missing is in the log and at /schema.",
)
_EXPIRED = Words("This form has expired", "Go back, reload the page and send it again: nothing was saved.")


def init_app(app: Flask) -> None:
    """Turn every failure into a page or a problem."""
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(CSRFError, _expired)
    app.register_error_handler(SQLAlchemyError, _database_error)


def _http_error(error: HTTPException) -> Response:
    if error.code is None or error.response is not None:
        return make_response(error.get_response())
    if isinstance(error, BadHost | SecurityError):  # Flask can build no address for a host that cannot be
        return Response("The Host header makes no sense.\n", 400, content_type="text/plain; charset=utf-8")
    answer = _answer(error.code, _words(error, error.code))
    for name in ("Allow", "Retry-After"):
        for value in error.get_response().headers.getlist(name):
            answer.headers[name] = value
    return answer


def _words(error: HTTPException, code: int) -> Words:
    known = _WORDS.get(code) or Words(error.name, "")
    if isinstance(error, TooManyRequests):
        return known._replace(text=known.text.format(seconds=error.retry_after))
    return known


def _expired(error: CSRFError) -> Response:
    current_app.logger.info("form refused: %s", error.description)
    return _answer(400, _EXPIRED)


def _database_error(error: SQLAlchemyError) -> Response:
    if isinstance(error, StaleDataError):
        return _http_error(Conflict())
    if not database.is_trouble(error):
        raise error  # a fault of ours: Flask logs it, and shows the page for 500
    current_app.logger.error("the database failed us at %s %s: %s", request.method, request.path, _first_line(error))
    if database.is_unfit(error):
        return _answer(503, _UNFIT)
    return _http_error(ServiceUnavailable(retry_after=RETRY_AFTER))


def _answer(code: int, words: Words) -> Response:
    reference = g.get("request_id", "-")
    if wants_json():
        problem = {
            "type": "about:blank",
            "title": HTTPStatus(code).phrase,
            "status": code,
            "detail": f"{words.title}. {words.text}".strip(),
            "instance": quote(request.path),
            "request_id": reference,
        }
        return Response(json.dumps(problem), code, content_type="application/problem+json")
    return make_response(render_template("error.html", code=code, words=words, reference=reference), code)


def wants_json() -> bool:
    """Tell whether a program is asking: by the address, or because it prefers JSON to a page."""
    accepted = request.accept_mimetypes
    best = accepted.best_match(["text/html", "application/json", "application/problem+json"])
    return request.path.endswith(".json") or (best != "text/html" and bool(accepted))


def _first_line(error: SQLAlchemyError) -> str:
    """The driver's own sentence: SQLAlchemy's text would repeat the statement and its parameters."""
    cause = getattr(error, "orig", None) or error
    return f"{type(cause).__name__}: {cause}".strip().splitlines()[0]
