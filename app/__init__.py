"""How is the web application put together?

`create_app()` is what gunicorn and the flask command call. It brings the schema to head first, and holds no connection
when it returns, because gunicorn forks its workers next.
"""

from __future__ import annotations

import secrets
import sys
from datetime import timedelta

from flask import Flask
from flask_wtf import CSRFProtect

from app import board, database, errors, health, members, projects, request_id, security, sign_in, tasks, words
from models import Base
from railhead import Settings, Stop, load, log_to
from railhead.contrib.flask import Railhead
from utils.migrate import PROJECT, migrate_on_startup

SAMPLE = (board, tasks, projects, members)
"""The pages of the sample; put your own in their place."""

PAGES = (("board.index", "Board"), ("projects.index", "Projects"), ("members.index", "Members"))
"""What stands at the top of every page, by endpoint; the first is where one starts."""

LARGEST_REQUEST = 128 * 1024
"""Bytes; the longest honest form is a task with a description of 10,000 characters, of up to 12 bytes each on their way here."""


def create_app(settings: Settings | None = None) -> Flask:
    """Return the application, with its database at head. Changes the schema.

    Reads the settings from the environment unless they are given. Ends the process with status 3 when a setting is
    wrong or the schema could not be brought to head.
    """
    settings = settings or _load()
    log_to(settings, sys.stdout)
    app = Flask(__name__)
    settings = Railhead().init_app(
        app,
        Base.metadata,
        settings=settings,
        migrate=migrate_on_startup,
        allowed=sign_in.sees_console,
        layout="base.html",
    )
    app.jinja_options = {"trim_blocks": True, "lstrip_blocks": True}
    app.config.from_mapping(_configuration(settings))
    request_id.init_app(app, settings)
    security.init_app(app, settings)
    database.init_app(app, settings)
    errors.init_app(app)
    CSRFProtect(app)
    sign_in.init_app(app)
    words.init_app(app)
    app.jinja_env.globals["pages"] = PAGES
    for noun in (*SAMPLE, sign_in, health):
        app.register_blueprint(noun.blueprint)
    return app


def _configuration(settings: Settings) -> dict[str, object]:
    return {
        "SETTINGS": settings,
        "HOME": PAGES[0][0],
        "SECRET_KEY": settings.secret_key or secrets.token_hex(32),
        "SESSION_COOKIE_HTTPONLY": True,
        "SESSION_COOKIE_SAMESITE": "Lax",
        "SESSION_COOKIE_SECURE": settings.production,
        "SESSION_REFRESH_EACH_REQUEST": False,
        "PERMANENT_SESSION_LIFETIME": timedelta(days=7),
        "MAX_CONTENT_LENGTH": LARGEST_REQUEST,
        "MAX_FORM_MEMORY_SIZE": LARGEST_REQUEST,
        "MAX_FORM_PARTS": 50,
        "WTF_CSRF_TIME_LIMIT": None,  # as long as the session: a form left open over lunch still works
    }


def _load() -> Settings:
    try:
        settings = load(PROJECT)
        _assert_signed(settings)
    except Stop as stop:
        sys.stderr.write(stop.render() + "\n")
        raise SystemExit(stop.exit_code) from None
    return settings


def _assert_signed(settings: Settings) -> None:
    """Raise Stop(`settings`) where workers and restarts would not agree on who has signed in."""
    if settings.production and settings.admin_password and not settings.secret_key:
        raise Stop(
            "settings",
            "a setting is wrong",
            facts=[("setting", "SECRET_KEY is required in production when ADMIN_PASSWORD is set")],
            database="not touched",
            next_step="write a long random text into SECRET_KEY, then start again",
        )
