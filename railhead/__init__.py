"""The migration engine: brings a PostgreSQL database to the head of its Alembic history, safely, at every start.

`migrate_on_startup` is what an application calls before it serves, `Project` what it hands in; `Settings` and `load` are what the
operator said, `Stop` what ends a run. Imported lazily, so that `import railhead` costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from railhead.errors import Stop
    from railhead.project import Project
    from railhead.settings import Settings, load
    from railhead.startup import migrate_on_startup

__version__ = "1.0.0.dev0"
__all__ = ["Project", "Settings", "Stop", "load", "migrate_on_startup"]

_HOMES = {
    "Project": "railhead.project",
    "Settings": "railhead.settings",
    "Stop": "railhead.errors",
    "load": "railhead.settings",
    "migrate_on_startup": "railhead.startup",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
