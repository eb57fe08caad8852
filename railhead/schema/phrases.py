"""Into which parts does a phrase fall that PostgreSQL has written?

What stands in quotes or in brackets is no part of its grammar, so it is covered before anything is looked for.
"""

from __future__ import annotations

import re
from typing import NamedTuple, Self

NAME, BRACKET = "\x01", "\x02"
"""What covers each sign of a name or text in quotes, and of what stands in brackets."""

_QUOTED = re.compile(r"""'(?:[^']|'')*'|"(?:[^"]|"")*\"""")
_INNERMOST = re.compile(r"\([^()]*\)|\[[^\[\]]*\]")


def covered(phrase: str) -> str:
    """Return a phrase of the same length, in which only its own words can be read."""
    plain = _QUOTED.sub(lambda match: NAME * len(match[0]), phrase)
    hidden = ""
    while hidden != plain:
        hidden, plain = plain, _INNERMOST.sub(lambda match: BRACKET * len(match[0]), plain)
    return plain


def parts(pattern: re.Pattern[str], phrase: str) -> dict[str, str | None] | None:
    """Return what the groups of a pattern find in the covered phrase, in its own words; None when it does not fit as a whole."""
    match = pattern.fullmatch(covered(phrase))
    if match is None:
        return None
    spans = {name: match.span(name) for name in pattern.groupindex}
    return {name: None if start < 0 else phrase[start:end] for name, (start, end) in spans.items()}


def listed(phrase: str, between: str = ", ") -> list[str]:
    """Return what stands in a list; nothing of an empty one."""
    items, start = [], 0
    for word in covered(phrase).split(between):
        items.append(phrase[start : start + len(word)])
        start += len(word) + len(between)
    return items if phrase else []


def inside(phrase: str | None) -> str:
    """Return what stands in the brackets around a phrase."""
    return phrase[1:-1] if phrase else ""


def without_texts(phrase: str) -> str:
    """Return a phrase without what stands in it as text, names in quotes kept."""
    return _QUOTED.sub(lambda match: match[0] if match[0].startswith('"') else "''", phrase)


def name_and_type(phrase: str) -> tuple[str, str]:
    """Return the two halves of `"post code" character varying(10)`."""
    space = covered(phrase).index(" ")
    return phrase[:space], phrase[space + 1 :]


class Rule(NamedTuple):
    """What a constraint or an index asks for, and of what."""

    kind: str
    """`CHECK`, `UNIQUE`, `PRIMARY KEY`, `FOREIGN KEY`, `EXCLUDE`; `INDEX` where it asks for nothing."""
    keys: tuple[str, ...] = ()
    """Columns or expressions; of an index with what their order and operator class are, of EXCLUDE with the operator."""
    method: str = ""
    include: tuple[str, ...] = ()
    condition: str | None = None
    """Of CHECK the expression, of others the rows that it is about."""
    references: str | None = None
    """The table, and its columns in brackets."""
    actions: str = ""
    """What follows `ON UPDATE` and `ON DELETE`, with these words."""
    nulls_not_distinct: bool = False
    deferrable: bool = False
    deferred: bool = False
    not_valid: bool = False

    @classmethod
    def of_constraint(cls, statement: str) -> Self:
        """Return the rule that pg_get_constraintdef has written down."""
        groups = parts(_CONSTRAINT, statement)
        if groups is None:
            return cls(statement)
        is_check = groups["kind"] == "CHECK"
        return cls(
            groups["kind"] or "",
            () if is_check else tuple(listed(inside(groups["keys"]))),
            groups["method"] or "",
            tuple(listed(inside(groups["include"]))),
            inside(groups["keys"] if is_check else groups["where"]) or None,
            groups["references"],
            (groups["actions"] or "").strip(),
            nulls_not_distinct=groups["nulls"] is not None,
            deferrable=groups["deferrable"] is not None,
            deferred=groups["deferred"] is not None,
            not_valid=groups["not_valid"] is not None,
        )

    @classmethod
    def of_index(cls, statement: str) -> Self:
        """Return the rule that pg_get_indexdef has written down."""
        groups = parts(_INDEX, statement)
        if groups is None:
            return cls("INDEX")
        return cls(
            "UNIQUE" if groups["unique"] else "INDEX",
            tuple(listed(inside(groups["keys"]))),
            groups["method"] or "",
            tuple(listed(inside(groups["include"]))),
            groups["where"],
            nulls_not_distinct=groups["nulls"] is not None,
        )


_CONSTRAINT = re.compile(
    r"(?P<kind>CHECK|UNIQUE|PRIMARY KEY|FOREIGN KEY|EXCLUDE)(?: USING (?P<method>\S+))?(?P<nulls> NULLS NOT DISTINCT)?"
    r" (?P<keys>\x02+)(?: REFERENCES (?P<references>[^\x02]+\x02*))?(?: INCLUDE (?P<include>\x02+))?(?: WITH \x02+)?"
    r"(?: USING INDEX TABLESPACE \S+)?(?: WHERE (?P<where>\x02+))?(?: MATCH \w+)?"
    r"(?P<actions>(?: ON (?:UPDATE|DELETE) (?:CASCADE|RESTRICT|SET NULL|SET DEFAULT|NO ACTION)(?: \x02+)?)*)"
    r"(?P<deferrable> DEFERRABLE)?(?P<deferred> INITIALLY DEFERRED)?(?: NO INHERIT)?(?: NOT ENFORCED)?(?P<not_valid> NOT VALID)?"
)
_INDEX = re.compile(
    r"CREATE (?P<unique>UNIQUE )?INDEX \S+ ON (?:ONLY )?\S+ USING (?P<method>\S+) (?P<keys>\x02+)"
    r"(?: INCLUDE (?P<include>\x02+))?(?P<nulls> NULLS NOT DISTINCT)?(?: WITH \x02+)?(?: TABLESPACE \S+)?(?: WHERE (?P<where>.+))?",
    re.DOTALL,
)
