"""Which request was that? One id per request: in the answer, on error pages and in the log."""

from __future__ import annotations

import logging
import re
import uuid

from flask import Flask, Response, g, has_request_context, request

from railhead import Settings

_FIT_TO_KEEP = re.compile(r"[A-Za-z0-9._-]{8,64}")


def init_app(app: Flask, settings: Settings) -> None:
    """Give every request an id, and the application's log the engine's form with that id in each line."""
    app.before_request(_take)
    app.after_request(_show)
    if not logging.getLogger().handlers:  # gunicorn.conf.py gives the root one, and twice would be too much
        app.logger.handlers[:] = logging.getLogger("railhead").handlers
    app.logger.setLevel(settings.log_level.upper())
    app.logger.addFilter(_name_the_request)


def _take() -> None:
    given = request.headers.get("X-Request-Id", "")  # the proxy in front of us may have given it one
    g.request_id = given if _FIT_TO_KEEP.fullmatch(given) else uuid.uuid4().hex


def _show(response: Response) -> Response:
    response.headers["X-Request-Id"] = g.get("request_id", "-")
    return response


def _name_the_request(record: logging.LogRecord) -> bool:
    if has_request_context() and "request_id" in g:
        record.facts = {"request": g.request_id}
        record.msg = f"{record.getMessage()} (request {g.request_id})"
        record.args = None
    return True
