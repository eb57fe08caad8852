"""How do we log? Text for people, one-line JSON for platforms.

The engine's loggers hang below `railhead` and have handlers of their own, so that nothing here touches the loggers of the
application, of gunicorn or of Alembic.
"""

from __future__ import annotations

import json
import logging
import sys
from typing import TextIO

from railhead import nesting
from railhead.masking import MASK, masked
from railhead.project import HERE, Project
from railhead.settings import Secret, Settings

log = logging.getLogger("railhead")

_LEVELS = {"warning": "warn", "critical": "error"}
"""Railway's words for levels where they are not Python's."""


class JsonFormatter(logging.Formatter):
    """One JSON object a line, with `message` and `level` where platforms look for them."""

    def __init__(self, project: Project = HERE) -> None:
        """Say commands as they are typed in `project`."""
        super().__init__()
        self._project = project

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one line; extra facts come from the `facts` attribute, and rename nothing of ours."""
        level = record.levelname.lower()
        line: dict[str, object] = {
            "message": self._project.spoken(record.getMessage()),
            "level": _LEVELS.get(level, level),
            "logger": record.name,
            "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z"),
        }
        facts: dict[str, object] = getattr(record, "facts", {})
        line |= {name: _open(value) for name, value in facts.items() if name not in line}
        if record.exc_info:
            line["traceback"] = masked(self.formatException(record.exc_info))
        return _writable(json.dumps(line, ensure_ascii=False, default=str))


class TextFormatter(logging.Formatter):
    """`12:03:04 message`, with the level when it is more than information."""

    def __init__(self, project: Project = HERE) -> None:
        """Say commands as they are typed in `project`."""
        super().__init__()
        self._project = project

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as text, the traceback below it."""
        message = self._project.spoken(record.getMessage())
        level = "" if record.levelno <= logging.INFO else f"{record.levelname.lower()}: "
        text = f"{self.formatTime(record, '%H:%M:%S')} {level}{message}"
        if record.exc_info:
            text = f"{text}\n{masked(self.formatException(record.exc_info))}"
        return _writable(text)


def formatter(settings: Settings) -> logging.Formatter:
    """Return the formatter that LOG_FORMAT asks for."""
    return JsonFormatter(settings.project) if settings.log_format == "json" else TextFormatter(settings.project)


def configure(settings: Settings, stream: TextIO | None = None) -> None:
    """Send the engine's log to `stream` (standard error unless given), as LOG_FORMAT and LOG_LEVEL say, doubts about settings first.

    May be called again: it replaces its own handler only. An application that a revision makes does not turn the log of the run away.
    """
    if nesting.is_at_work():
        return
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(formatter(settings))
    log.handlers[:] = [handler]
    log.setLevel(settings.log_level.upper())
    log.propagate = False
    for doubt in settings.doubts:
        log.warning("%s", doubt)


def _open(value: object) -> object:
    """Return what may be shown of a value: JSON would write a connection string with its password."""
    if isinstance(value, Secret):
        return MASK
    return masked(str(value)) if isinstance(value, str) else value


def _writable(text: str) -> str:
    """Return text that can be encoded: names of files and messages of servers may hold bytes that are no text."""
    return text.encode("utf-8", "backslashreplace").decode()
