"""What does a line say that was kept, in the ledger or by another process?

The way back from `objects`: the words of each kind fall into the facts that they were made of. What was just read needs none of this.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache

from railhead.schema import objects
from railhead.schema.objects import CatalogObject, Facts
from railhead.schema.phrases import covered, inside, listed, parts

_KIND = re.compile(rf"((?:{objects.COMMENT})?(?:materialized view|\w+)) (.+)", re.DOTALL)
_BELONGINGS = {"column", "constraint", "index", "trigger", "rule", "policy"}

_UNESCAPES = {escape[1]: sign for sign, escape in objects.ESCAPES.items()}


@lru_cache(maxsize=1 << 16)
def parsed(line: str) -> CatalogObject:
    """Return the object of a line. Remembered: a replay in two processes looks at the same lines hundreds of times."""
    identity, definition, here, origin = [*line.split("\t"), "", "", ""][:4]
    kind, place, name = split_identity(_unescaped(identity))
    noun = kind.removeprefix(objects.COMMENT)
    names = listed(place, ".")
    table = names.pop() if names and noun in _BELONGINGS else ""
    facts = _facts(kind, _unescaped(definition))
    return CatalogObject(line, kind, ".".join(names), table, name, facts, _unescaped(here), origin)


def split_identity(identity: str) -> tuple[str, str, str]:
    """Return the kind of an object, where it is, and its name, the latter two as SQL writes them.

    `column archive.task.title` is ("column", "archive.task", "title"), and `table task` is ("table", "", "task").
    """
    match = _KIND.fullmatch(identity)
    if match is None:
        return "", "", identity
    dot = covered(match[2]).rfind(".")
    return match[1], match[2][: max(dot, 0)], match[2][dot + 1 :]


def _unescaped(text: str) -> str:
    if "\\" not in text:
        return text
    return re.sub(r"\\(.)", lambda match: _UNESCAPES[match[1]], text)


def _facts(kind: str, definition: str) -> Facts:
    reading = _READINGS.get(kind)
    return (reading(definition) if reading else None) or objects.Text(definition)


def _by(pattern: str, make: Callable[..., Facts]) -> Callable[[str], Facts | None]:
    """Return what reads the words of a kind whose fields are the groups of a pattern."""
    compiled = re.compile(pattern, re.DOTALL)

    def read(definition: str) -> Facts | None:
        fields = parts(compiled, definition)
        return None if fields is None else make(**fields)

    return read


def _column(computed: str | None, kept: str | None, default: str | None, sequence: str | None, **fields: str) -> Facts:
    filled, expression = (kept, inside(computed)) if kept else ("default" if default else None, default)
    return objects.Column(**fields, filled=filled, expression=expression, sequence=_inside(sequence))


def _table(options: str | None, **fields: str) -> Facts:
    return objects.Table(**fields, options=_inside(options))


def _view(columns: str, options: str | None, uses: str | None) -> Facts:
    return objects.View.of("", _inside(options), uses, *listed(inside(columns)))


def _domain(checks: str, **fields: str) -> Facts:
    ends = [match.start() for match in re.finditer(_CHECK, covered(checks))][1:]
    starts = [0, *ends]
    texts = (checks[start:end] for start, end in zip(starts, [*ends, len(checks)], strict=True)) if checks else ()
    return objects.Domain(**fields, checks=tuple(check.removeprefix(" constraint ") for check in texts))


def _inside(brackets: str | None) -> str | None:
    return None if brackets is None else inside(brackets)


_CHECK = r" constraint \S+ CHECK \x02+"
_STATE = r"(?: (?P<state>DISABLED|ENABLED ON REPLICA|ENABLED ALWAYS))?"

_READINGS: dict[str, Callable[[str], Facts | None]] = {
    "table": _by(
        r"(?:(?P<unlogged>unlogged) )?(?P<shape>.+?)(?: with (?P<options>\x02+))?(?: (?P<row_security>row security))?"
        r"(?: (?P<forced>forced row security))?(?: replica identity (?P<replica_identity>full|nothing|index))?",
        _table,
    ),
    "column": _by(
        r"(?P<type>.+?)(?: collate (?P<collation>\S+))?(?: (?P<nullness>not null(?: not valid)?))?"
        r"(?: default (?P<default>.+?)| generated always as (?P<computed>\x02+) (?P<kept>stored|virtual))?"
        r"(?: generated (?P<identity>always|by default) as identity)?(?: sequence (?P<sequence>\x02+))?",
        _column,
    ),
    "constraint": _by(r"(?P<statement>.+?)(?: (?P<invalid>INVALID))?(?: (?P<disabled>DISABLED))?", objects.Constraint),
    "index": _by(r"(?P<statement>.+?)(?: (?P<invalid>INVALID))?", objects.Index),
    "view": _by(r"(?P<columns>\x02+)(?: with (?P<options>\x02+))?(?: uses (?P<uses>.+))?", _view),
    "sequence": _by(r"(?:(?P<unlogged>unlogged) )?as (?P<type>\w+)(?: (?P<settings>.+))?", objects.FreeSequence),
    "trigger": _by(rf"(?P<statement>.+?){_STATE}", objects.Trigger),
    "rule": _by(rf"on (?P<event>\w+)(?: (?P<instead>instead))?(?: uses (?P<uses>.+?))?{_STATE}", objects.RewriteRule),
    "policy": _by(
        r"(?P<manner>permissive|restrictive) for (?P<command>\w+) to (?P<roles>\S+(?:(?<=,) \S+)*)(?: (?P<condition>.+))?",
        objects.Policy,
    ),
    "enum": lambda definition: objects.Enum(tuple(listed(definition))),
    "domain": _by(
        r"(?P<type>.+?)(?: collate (?P<collation>\S+))?(?: (?P<nullness>not null))?(?: default (?P<default>.+?))?"
        rf"(?P<checks>(?:{_CHECK}(?: NOT VALID)?)*)",
        _domain,
    ),
    "type": lambda definition: objects.Composite(tuple(listed(inside(definition)))),
}
_READINGS["materialized view"] = _READINGS["view"]
