"""Is this process alive, and can it serve? For the platform, not for people."""

from __future__ import annotations

from flask import Blueprint, Response, jsonify
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from app.database import session

blueprint = Blueprint("health", __name__)


@blueprint.get("/healthz")
def healthz() -> Response:
    """The process answers. Touches nothing."""
    return jsonify(status="ok")


@blueprint.get("/readyz")
def readyz() -> tuple[Response, int]:
    """200 when the database answers and its schema is one that this code can serve, else 503. Read-only."""
    try:
        current = session().scalars(text("SELECT version_num FROM alembic_version")).all()
    except SQLAlchemyError:
        return jsonify(state="unreachable"), 503
    return jsonify(current=list(current)), 200
