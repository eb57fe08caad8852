"""What do environment variables say? Reads one at a time, and remembers what is wrong, so that all of it can be said at once.

Knows no setting by name but those of libpq.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TypeVar

from railhead import platforms
from railhead.dsn import Dsn, checked, parse_url
from railhead.errors import Stop

PG_VARIABLES = {"PGHOST": "host", "PGPORT": "port", "PGDATABASE": "dbname", "PGUSER": "user", "PGPASSWORD": "password"}
_PLACES = {"PGHOSTADDR": "hostaddr", "PGSERVICE": "service"}
"""Further variables that lead libpq to a database, wherever the others point."""

T = TypeVar("T")

_SECONDS = {"ms": 0.001, "s": 1.0, "min": 60.0, "h": 3600.0}
_UNITS = {
    "ms": "ms msec msecs millisecond milliseconds",
    "s": "s sec secs second seconds",
    "min": "min mins m minute minutes",
    "h": "h hr hrs hour hours",
}
_UNIT_OF = {word: _SECONDS[unit] for unit, words in _UNITS.items() for word in words.split()}
_PART_OF_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]+)\s*", re.IGNORECASE)
_LONGEST = 2_147_483.0
"""Seconds that PostgreSQL can count in its milliseconds: 24 days."""

_MOST_WORKERS = 1024


class Reader:
    """Reads one variable at a time and remembers everything that is wrong, so that it can be said at once."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.environ = environ
        self.mistakes: list[tuple[str, str]] = []
        self.doubts: list[str] = []
        self._known: set[str] = set()

    def pg_variables(self) -> dict[str, str]:
        """Return what the variables of libpq say, by its parameters; empty where they say nothing."""
        return {key: self.environ.get(variable, "") for variable, key in {**PG_VARIABLES, **_PLACES}.items()}

    def text(self, name: str) -> str | None:
        """Return what is set, without quotes around it: `docker --env-file` and others keep those of the file."""
        text = self.secret(name)
        quoted = re.fullmatch(r"""(["'])(.*)\1""", text or "", re.DOTALL)
        return quoted[2].strip() or None if quoted else text

    def secret(self, name: str) -> str | None:
        """Return what is set, as it is: it may begin and end with a quote."""
        self._known.add(name)
        return self.environ.get(name, "").strip() or None

    def name(self, name: str) -> str | None:
        """Return a text that goes into the ledger."""
        text = self.text(name)
        try:
            (text or "").encode()
        except UnicodeEncodeError:
            self.wrong(name, "is not UTF-8")
            return None
        return text

    def wrong(self, name: str, why: str) -> None:
        """Remember that a variable is wrong; `why` follows on its name."""
        self.mistakes.append((name, why))

    def value(self, name: str, default: T, parse: Callable[[str], T], examples: str) -> T:
        """Return what a variable says, the default where it says nothing; what `parse` does not take (ValueError) is wrong."""
        return self._understood(name, default, parse, lambda text: self.wrong(name, f"is {text!r}; write {examples}"))

    def harmless(self, name: str, default: T, parse: Callable[[str], T], examples: str) -> T:
        """Return what a variable says that can hurt nobody: what is not understood is a doubt, and the default holds."""
        held = str(default).lower()
        return self._understood(
            name,
            default,
            parse,
            lambda text: self.doubts.append(
                f"{name} is {text!r}, which says nothing here, so it is {held}; write {examples}"
            ),
        )

    def _understood(self, name: str, default: T, parse: Callable[[str], T], otherwise: Callable[[str], None]) -> T:
        """Return what a variable says; the default where it says nothing, or nothing that is understood, which `otherwise` is told."""
        text = self.text(name)
        if text is None:
            return default
        try:
            return parse(text)
        except ValueError:
            otherwise(text)
            return default

    def port(self, name: str, default: int) -> int:
        """Return a port; of a link to a service, as Docker and Kubernetes write it, that one's."""
        port = self.harmless(name, default, platforms.port, f"a port from 1 to 65535, for instance {default}")
        if "://" in (text := self.text(name) or "") and text.endswith(str(port)):
            self.doubts.append(f"{name} is {text!r}, the link to a service, and its port is taken: {port}")
        return port

    def workers(self, name: str, default: int) -> int:
        """Return a number of processes; `auto` leaves it to us: in a container the processors counted are the machine's."""

        def parse(text: str) -> int:
            if text.lower() in {"auto", "default"}:
                return default
            if not 1 <= float(text) <= _MOST_WORKERS or not float(text).is_integer():
                raise ValueError(text)
            return int(float(text))

        return self.harmless(name, default, parse, f"a whole number from 1 to {_MOST_WORKERS}, or auto")

    def choice(self, name: str, default: str, *others: str) -> str:
        """Return one of these words."""
        return self.value(
            name, default, lambda text: one_of(text.lower(), (default, *others)), listed(default, *others)
        )

    def duration(self, name: str, default: str, *, positive: bool = False) -> float:
        """Return the seconds that a duration stands for."""

        def parse(text: str) -> float:
            seconds = duration(text)
            if positive and seconds <= 0:
                raise ValueError(text)
            return seconds

        return self.value(name, duration(default), parse, f"a duration such as 500ms, 2s or 5min (default {default})")

    def ratio(self, name: str, default: float) -> float:
        """Return a number from 0 to 100."""

        def parse(text: str) -> float:
            if not 0 <= float(text) <= 100:
                raise ValueError(text)
            return float(text)

        return self.value(name, default, parse, f"a number from 0 to 100 (default {default:g})")

    def integer(self, name: str, default: int, least: int, most: int) -> int:
        """Return a whole number from `least` to `most`."""

        def parse(text: str) -> int:
            number = int(text)
            if not least <= number <= most:
                raise ValueError(text)
            return number

        return self.value(name, default, parse, f"a whole number from {least} to {most}, for instance {default}")

    def url(self, name: str) -> Dsn | None:
        """What the URL leaves out comes from the PG* variables: libpq does so in any case, and this way we know it."""
        text = self.text(name)
        if text is None:
            return None
        try:
            named = parse_url(text).parameters()
            return checked(Dsn.of(**{**named, **self.pg_variables(), **named}))
        except ValueError as error:
            hint = "write postgresql://user:password@host:5432/name"
            embedded = "or leave it out: development then gets the embedded PostgreSQL in .data/"
            self.wrong(name, f"{error}; {hint}, {embedded}")
            return None

    def refuse_misspelt(self) -> None:
        """Call wrong what is almost one of our names: whoever wrote MIGRATE_ON_STRAT=off must not be migrated."""
        ours = [name for name in self.environ if name.startswith(("MIGRATE_", "DEV_CREATE_"))]
        for name in sorted({*ours} - self._known):
            from difflib import get_close_matches  # 2 ms that only those pay who have such a name

            meant = get_close_matches(name, self._known, 1, 0.9)
            if meant and self.environ[name].strip():
                self.wrong(name, f"is no setting; did you mean {meant[0]}?")

    def finish(self) -> None:
        """Raise Stop(`settings`) with everything that is wrong, if something is."""
        if self.mistakes:
            count = len(self.mistakes)
            raise Stop(
                "settings",
                "a setting is wrong" if count == 1 else f"{count} settings are wrong",
                facts=[("setting", f"{name} {why}") for name, why in self.mistakes],
                database="not touched",
                next_step="correct the environment (or .env), then start again; .env.example lists every setting",
            )


def duration(text: str) -> float:
    """Return the seconds that `500ms`, `2s`, `5 minutes`, `1h30m` or a bare `0` stand for. Raises ValueError."""
    text_left, seconds = text.strip(), 0.0
    while match := _PART_OF_DURATION.match(text_left):
        seconds += float(match[1]) * _UNIT_OF.get(match[2].lower(), float("inf"))
        text_left = text_left[match.end() :]
    if text_left not in {"", "0"} or not text.strip() or seconds > _LONGEST:
        raise ValueError(text)
    return seconds


def one_of(text: str, choices: tuple[str, ...]) -> str:
    """Return `text` if it is among the choices. Raises ValueError."""
    if text not in choices:
        raise ValueError(text)
    return text


def listed(*words: str) -> str:
    """Return words as a sentence lists them: `a, b or c`."""
    return ", ".join(words[:-1]) + " or " + words[-1] if len(words) > 1 else words[0]
