"""Is this process alive? For the platform, not for people. Whether it can serve says `/readyz`, which Railhead adds."""

from __future__ import annotations

from flask import Blueprint, Response, jsonify

blueprint = Blueprint("health", __name__)


@blueprint.get("/healthz")
def healthz() -> Response:
    """Tell that the process answers. Touches nothing."""
    return jsonify(status="ok")
