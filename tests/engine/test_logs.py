"""What goes to the log, for people and for platforms."""

from __future__ import annotations

import io
import json
import logging
import sys
from collections.abc import Callable, Iterator

import pytest

from railhead import logs
from railhead.dsn import Dsn
from railhead.settings import Secret, Settings

Logged = Callable[..., str]


@pytest.fixture
def logged() -> Iterator[Logged]:
    """Log one message with the given settings and return what was written; the logger is as before afterwards."""
    before = logs.log.handlers[:], logs.log.level, logs.log.propagate

    def write(message: str, *arguments: object, level: int = logging.INFO, form: str = "text", **extra: object) -> str:
        stream = io.StringIO()
        logs.configure(Settings(log_format=form), stream)
        logs.log.log(level, message, *arguments, **extra)  # type: ignore[arg-type]
        return stream.getvalue()

    yield write
    logs.log.handlers[:], logs.log.level, logs.log.propagate = before


def test_people_read_time_and_message(logged: Logged) -> None:
    """Text is the time, the level when it matters, and the message."""
    assert logged("at %s", "0002")[8:] == " at 0002\n"
    assert logged("careful", level=logging.WARNING)[8:] == " warning: careful\n"


def test_platforms_read_one_object_a_line(logged: Logged) -> None:
    """JSON has `message` and `level` in Railway's words, and is one line even when the message is not."""
    written = logged("two\nlines of %s", "é", level=logging.WARNING, form="json")
    assert written.count("\n") == 1
    line = json.loads(written)
    assert (line["message"], line["level"], line["logger"]) == ("two\nlines of é", "warn", "railhead")
    assert "T" in line["time"]


def test_facts_stand_beside_the_message(logged: Logged) -> None:
    """A record may carry facts for programs; they cannot take the place of the message."""
    line = json.loads(logged("done", form="json", extra={"facts": {"revisions": 2, "message": "other"}}))
    assert (line["message"], line["revisions"]) == ("done", 2)


@pytest.mark.parametrize("form", ["text", "json"])
def test_traceback_is_written(logged: Logged, form: str) -> None:
    """An exception comes with its traceback, in JSON in a field of its own."""
    try:
        {}["gone"]
    except KeyError:
        written = logged("failed", form=form, exc_info=sys.exc_info())
    assert "Traceback" in written
    assert "KeyError: 'gone'" in (json.loads(written)["traceback"] if form == "json" else written)


@pytest.mark.parametrize("form", ["text", "json"])
def test_no_password_is_logged(logged: Logged, form: str) -> None:
    """A connection string shows its password neither in a message nor among the facts."""
    dsn = Dsn.of(host="db", user="me", password="hidden", dbname="app")
    written = logged("connecting to %s", dsn, form=form, extra={"facts": {"dsn": dsn, "key": Secret("hidden")}})
    assert "hidden" not in written
    assert "me:***@db/app" in written


@pytest.mark.parametrize("form", ["text", "json"])
def test_bytes_that_are_no_text_do_not_lose_the_message(logged: Logged, form: str) -> None:
    """Whatever a file is called, the line can be encoded."""
    assert logged("read %s", "caf\udce9.py", form=form).encode()


def test_level_is_what_was_asked_for() -> None:
    """LOG_LEVEL decides what is written."""
    stream = io.StringIO()
    before = logs.log.handlers[:], logs.log.level, logs.log.propagate
    try:
        logs.configure(Settings(log_level="warning"), stream)
        logs.log.info("no")
        logs.log.warning("yes")
    finally:
        logs.log.handlers[:], logs.log.level, logs.log.propagate = before
    assert "yes" in stream.getvalue()
    assert "no" not in stream.getvalue()


def test_other_loggers_are_left_alone() -> None:
    """Configuring twice leaves one handler, below `railhead`, and touches no logger of the application or of gunicorn."""
    before = logs.log.handlers[:], logs.log.level, logs.log.propagate
    root, gunicorn = logging.getLogger(), logging.getLogger("gunicorn.error")
    others = (root.handlers[:], root.level, gunicorn.handlers[:], gunicorn.disabled, gunicorn.propagate)
    try:
        logs.configure(Settings(), io.StringIO())
        logs.configure(Settings(), io.StringIO())
        assert len(logs.log.handlers) == 1
        assert (root.handlers[:], root.level, gunicorn.handlers[:], gunicorn.disabled, gunicorn.propagate) == others
    finally:
        logs.log.handlers[:], logs.log.level, logs.log.propagate = before
