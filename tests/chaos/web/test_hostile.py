"""More requests than the quick tests have time for."""

from __future__ import annotations

import pytest
from flask import Flask
from sqlalchemy import Connection
from sqlalchemy.orm import Session

from tests.web.conftest import app, engine, locked, make_app, migrated, session, transaction
from tests.web.hostile import pairs
from tests.web.test_hostile import attack

__all__ = ["app", "engine", "locked", "make_app", "migrated", "session", "transaction"]  # the fixtures of the pages


@pytest.mark.parametrize("attacked", ["app", "locked"])
def test_two_thousand_requests_do_not_break_the_application(
    request: pytest.FixtureRequest,
    session: Session,
    transaction: Connection,
    attacked: str,
) -> None:
    """Whatever is sent, to every route and with every method, open or behind a password, nothing breaks, leaks, runs or leads away."""
    application: Flask = request.getfixturevalue(attacked)
    assert pairs(application) <= attack(application, session, transaction, count=1000)
