"""The migration engine: brings a PostgreSQL database to the head of its Alembic history, safely, at every start.

`migrate_on_startup` is what an application calls before it serves, `Project` what it hands in; `Settings` and `load` are what the
operator said, `Stop` what ends a run. `connect` gives an application connections that wait for nobody for long, `log_to` lets the
engine be heard. With Flask all of it is `railhead.contrib.flask.Railhead`; `railhead.testing` is for tests. These names are the public
surface: the rest may change with any version. Imported lazily, so that `import railhead` costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from railhead.errors import Stop
    from railhead.logs import configure as log_to
    from railhead.postgres.patient import Patient as PatientConnection
    from railhead.project import Project
    from railhead.serving import connect
    from railhead.settings import Settings, load
    from railhead.startup import migrate_on_startup

__version__ = "1.0.0.dev0"
__all__ = ["PatientConnection", "Project", "Settings", "Stop", "connect", "load", "log_to", "migrate_on_startup"]

_HOMES = {
    "PatientConnection": "railhead.postgres.patient:Patient",
    "Project": "railhead.project:Project",
    "Settings": "railhead.settings:Settings",
    "Stop": "railhead.errors:Stop",
    "connect": "railhead.serving:connect",
    "load": "railhead.settings:load",
    "log_to": "railhead.logs:configure",
    "migrate_on_startup": "railhead.startup:migrate_on_startup",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    module, _, attribute = _HOMES[name].partition(":")
    return getattr(import_module(module), attribute)
