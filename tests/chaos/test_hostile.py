"""More requests than the quick tests have time for."""

from __future__ import annotations

from flask import Flask
from sqlalchemy import Connection
from sqlalchemy.orm import Session

from tests.web.conftest import app, engine, make_app, migrated, session, transaction
from tests.web.test_hostile import attack

__all__ = ["app", "engine", "make_app", "migrated", "session", "transaction"]  # the fixtures of the pages


def test_two_thousand_requests_do_not_break_the_application(
    app: Flask,
    session: Session,
    transaction: Connection,
) -> None:
    """Whatever is sent, to every route and with every method, nothing breaks, leaks, runs or leads away."""
    attack(app, session, transaction, count=2000)
