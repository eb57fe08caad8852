"""What does an application that has Railhead keep? `app.extensions["railhead"]`."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from flask import current_app
from flask.typing import ResponseReturnValue

from railhead.settings import Settings

Access = bool | ResponseReturnValue
"""Whether somebody may see the console: True, False (there is no such page), or the answer that she gets instead."""


class State(NamedTuple):
    """Settings, who may see the console, and the template around it."""

    settings: Settings
    allowed: Callable[[], Access]
    layout: str


def state() -> State:
    """Return what the application at work keeps."""
    kept: State = current_app.extensions["railhead"]
    return kept
