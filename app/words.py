"""How do dates and names look on a page?"""

from __future__ import annotations

from datetime import UTC, date, datetime

from flask import Flask


def init_app(app: Flask) -> None:
    """Teach the templates these words."""
    for word in (day, moment, initials):
        app.add_template_filter(word)


def day(value: date) -> str:
    """`3 Mar 2026`."""
    return f"{value.day} {value:%b} {value.year}"


def moment(value: datetime) -> str:
    """`3 Mar 2026, 14:05 UTC`."""
    there = value.astimezone(UTC)
    return f"{day(there)}, {there:%H:%M} UTC"


def initials(name: str) -> str:
    """The first letters of the first and the last word: `AL` for Ada Lovelace."""
    words = name.split()
    return "".join(word[0] for word in dict.fromkeys((words[0], words[-1]))).upper() if words else ""
