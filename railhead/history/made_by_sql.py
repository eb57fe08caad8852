"""What does SQL make and drop, by what stands in its statements?"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from railhead.history.expressions import UNKNOWN

RELATION, TYPE, ROUTINE, SCHEMA, EXTENSION = "relation", "type", "routine", "schema", "extension"

ANYWHERE = "*"
"""The schema of what is made in one that cannot be read."""


class MadeObject(NamedTuple):
    """Something that a revision makes; `schema` is None where it says none."""

    kind: str
    schema: str | None
    name: str


class Event(NamedTuple):
    """Something is made, or dropped."""

    made: bool
    object: MadeObject


_KINDS = {
    "TABLE": RELATION,
    "VIEW": RELATION,
    "SEQUENCE": RELATION,
    "TYPE": TYPE,
    "DOMAIN": TYPE,
    "FUNCTION": ROUTINE,
    "PROCEDURE": ROUTINE,
    "AGGREGATE": ROUTINE,
    "SCHEMA": SCHEMA,
    "EXTENSION": EXTENSION,
}
_KIND = rf"(?P<kind>{'|'.join(_KINDS)})"
_WORD = r'(?:"(?:[^"]|"")+"|[\w$\0]+)'
_NAME = rf"(?:{_WORD}\s*\.\s*)?{_WORD}"
_COMMENT = re.compile(r"--[^\n]*|/\*.*?\*/", re.DOTALL)
_STATEMENT = re.compile(
    rf"""\bCREATE\s+(?P<adjectives>(?:(?:OR\s+REPLACE|UNLOGGED|FOREIGN|MATERIALIZED|RECURSIVE|GLOBAL|LOCAL|TEMP|TEMPORARY)\s+)*)
         {_KIND}\s+(?:IF\s+NOT\s+EXISTS\s+)?(?P<created>{_NAME})
    | \bSELECT\b[^;]*?\bINTO\s+(?:UNLOGGED\s+|TABLE\s+)*(?P<selected>{_NAME})\s+FROM\b
    | \bALTER\s+(?:FOREIGN\s+|MATERIALIZED\s+)?(?P<altered>{"|".join(_KINDS)})\s+(?:IF\s+EXISTS\s+)?(?:ONLY\s+)?(?P<old>{_NAME})
         (?:\s*\([^)]*\))?\s+(?:RENAME\s+TO\s+(?P<new>{_WORD})|SET\s+SCHEMA\s+(?P<moved>{_WORD}))
    | \bDROP\s+(?:FOREIGN\s+|MATERIALIZED\s+)?(?P<dropped>{"|".join(_KINDS)})\s+(?:IF\s+EXISTS\s+)?(?P<gone>{_NAME}(?:\s*,\s*{_NAME})*)
    | \bSET\s+(?:LOCAL\s+|SESSION\s+)?search_path\s*(?:TO|=)\s*(?P<path>[^;\n]+)
    """,
    re.IGNORECASE | re.VERBOSE | re.DOTALL,
)


class SqlReader:
    """Reads statements, and remembers where the search_path that they set leads."""

    def __init__(self) -> None:
        self._path: list[str] = []

    def events(self, text: str) -> Iterator[Event]:
        """Yield what a text makes and drops, in order."""
        for match in _STATEMENT.finditer(_COMMENT.sub(" ", text)):
            groups = match.groupdict()
            if groups["path"]:
                names = [_plain(word.strip().strip("'")) for word in groups["path"].split(",")]
                self._path = [name for name in names if UNKNOWN not in name and not name.startswith("$")]
            elif groups["created"] and "TEMP" not in groups["adjectives"].upper():
                yield from self.event(True, _KINDS[groups["kind"].upper()], *split_name(groups["created"]))
            elif groups["selected"]:
                yield from self.event(True, RELATION, *split_name(groups["selected"]))
            elif groups["altered"]:
                yield from self._altered(groups)
            elif groups["dropped"]:
                for name in re.findall(_NAME, groups["gone"]):
                    yield from self.event(False, _KINDS[groups["dropped"].upper()], *split_name(name))

    def _altered(self, groups: dict[str, str]) -> Iterator[Event]:
        kind, (schema, name) = _KINDS[groups["altered"].upper()], split_name(groups["old"])
        yield from self.event(False, kind, schema, name)
        if groups["new"]:
            yield from self.event(True, kind, schema, _plain(groups["new"]))
        else:
            yield from self.event(True, kind, _plain(groups["moved"]), name)

    def event(self, made: bool, kind: str, schema: str | None, name: str) -> Iterator[Event]:
        """Yield what happens to one thing, in each schema where it may; nothing when its name is not known."""
        if UNKNOWN in name:
            return
        if schema and UNKNOWN in schema:
            schema = ANYWHERE
        for place in (schema, *(self._path if schema is None else ())):
            yield Event(made, MadeObject(kind, place, name))


def ends_before_a_name(text: str) -> bool:
    """Tell whether a text ends where the name of the relation that it makes is to follow."""
    return bool(_UNFINISHED.search(text))


_UNFINISHED = re.compile(
    r"""\b(?:CREATE\s+(?:\w+\s+)*?(?:TABLE|VIEW)(?:\s+IF\s+NOT\s+EXISTS)?|RENAME\s+TO)\s*"?\s*$""", re.IGNORECASE
)


def split_name(name: str) -> tuple[str | None, str]:
    """Return the schema, if there is one, and the name, as PostgreSQL understands them."""
    words = [_plain(word) for word in re.findall(_WORD, name)]
    return (words[0], words[1]) if len(words) > 1 else (None, words[0])


def _plain(word: str) -> str:
    return word[1:-1].replace('""', '"') if word.startswith('"') else word.lower()
