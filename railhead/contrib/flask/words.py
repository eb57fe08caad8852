"""How do sizes, durations and dates look on the console?"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

_UNITS = ("bytes", "kB", "MB", "GB", "TB")


def size(count: int) -> str:
    """`8 kB`, `1.2 MB`: bytes for people."""
    amount, unit = float(count), 0
    while amount >= 1000 and unit < len(_UNITS) - 1:
        amount, unit = amount / 1024, unit + 1
    return f"{amount:.0f} {_UNITS[unit]}" if unit == 0 or amount >= 10 else f"{amount:.1f} {_UNITS[unit]}"


def seconds(milliseconds: int) -> str:
    """`40 ms`, `1.2 s`, `3 min 5 s`."""
    if milliseconds < 1000:
        return f"{milliseconds} ms"
    return f"{milliseconds / 1000:.1f} s" if milliseconds < 60_000 else age(milliseconds / 1000)


def age(length: float) -> str:
    """`8 s`, `3 min 5 s`, `2 h 10 min`."""
    minutes, rest = divmod(round(length), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def moment(value: datetime) -> str:
    """`3 Mar 2026, 14:05 UTC`."""
    local = value.astimezone(UTC)
    return f"{local.day} {local:%b} {local.year}, {local:%H:%M} UTC"


def capitalize_first(sentence: str) -> str:
    """Begin a sentence with a capital, unless its first word is a name such as models.py."""
    word = sentence.split(" ", 1)[0]
    return sentence if "." in word or "_" in word else sentence[:1].upper() + sentence[1:]


FILTERS: dict[str, Callable[..., str]] = {
    "size": size,
    "seconds": seconds,
    "age": age,
    "moment": moment,
    "capitalize_first": capitalize_first,
}
"""By the names that templates know them by, which begin with `railhead_`."""
