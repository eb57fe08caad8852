"""Which operation does a statement stand for that is written in SQL?

An index on plain columns, and an UPDATE where the condition can tell which rows are done, on rows with NULL too: then it can be
done in batches. What it cannot read it does not promise.
"""

from __future__ import annotations

import re

from alembic.operations import ops

from railhead.autogenerate.render import Verb
from railhead.hazards.table_names import of_sql

_PART = r'(?:"(?:[^"]|"")+"|\w+)'
_CREATE_INDEX = re.compile(
    rf"\s*CREATE\s+(?P<unique>UNIQUE\s+)?INDEX\s+(?:IF\s+NOT\s+EXISTS\s+)?(?P<name>{_PART})\s+ON\s+(?:(?P<schema>{_PART})\.)?(?P<table>{_PART})"
    rf"\s*\((?P<columns>\s*{_PART}(?:\s*,\s*{_PART})*\s*)\)\s*;?\s*",
    re.IGNORECASE,
)
_UPDATE = re.compile(
    r'\s*UPDATE\s+(?:(?P<schema>"[^"]+"|\w+)\.)?(?P<table>"[^"]+"|\w+)\s+SET\s+(?P<set>.+?)(?:\s+WHERE\s+(?P<where>.+?))?\s*;?\s*',
    re.IGNORECASE | re.DOTALL,
)
_FROM = re.compile(r"\bFROM\b", re.IGNORECASE)
_COMMENT = re.compile(r"--|/\*")
_BLANKS = re.compile(r"""(?P<text>'[^']*'|"[^"]*")|\s+""")
_RETURNING = re.compile(r"\bRETURNING\b", re.IGNORECASE)

_NEVER_NULL = re.compile(
    r"(?:-?\d+(?:\.\d+)?|'[^']*'|true|false)(?:::[\w ]+(?:\(\d+(?:, ?\d+)?\))?)?"
    r"|(?:gen_random_uuid|uuidv[47]|now|clock_timestamp|random|nextval)\((?:'[^']*')?\)|current_(?:timestamp|date)",
    re.IGNORECASE,
)
"""A value that no row can get NULL from: a literal, or a function that always gives something."""

_STEADY = """
abs all and any as array avg btrim by case cast ceil coalesce concat count else exists floor format from greatest
having in initcap jsonb_build_array jsonb_build_object jsonb_set least left length lower lpad ltrim max md5 min mod
not nullif on or over regexp_replace replace right round rpad rtrim select split_part strpos substr substring sum
then to_jsonb trim trunc upper values when where char decimal numeric varchar
"""
"""What may stand before a bracket: functions that give the same for the same, and SQL's own words."""

_CHANGING = re.compile(r"\b(?:current_\w+|localtime|localtimestamp|session_user|user|default)\b", re.IGNORECASE)


def index(sql: str) -> ops.CreateIndexOp | None:
    """Return the operation that builds the same index, None where this is no such statement."""
    match = _CREATE_INDEX.fullmatch(sql)
    if match is None:
        return None
    columns = [of_sql(column) for column in re.findall(_PART, match["columns"])]
    schema = of_sql(match["schema"]) if match["schema"] else None
    unique = bool(match["unique"])
    return ops.CreateIndexOp(of_sql(match["name"]), of_sql(match["table"]), columns, schema=schema, unique=unique)


def backfill(sql: str) -> Verb | None:
    """Return the verb that does an UPDATE in batches; None where the rows that are done cannot be told from the others."""
    match = _UPDATE.fullmatch(sql)
    if (
        match is None
        or _COMMENT.search(_without_quotes(sql))
        or _FROM.search(_without_brackets(match["set"]))
        or _RETURNING.search(_without_brackets(sql))
    ):
        return None
    assignments = [part.split("=", 1) for part in _split(match["set"])]
    pairs = [(column.strip(), value.strip()) for column, value in (part for part in assignments if len(part) == 2)]
    if len(pairs) < len(assignments) or not all(re.fullmatch(r'\w+|"[^"]+"', column) for column, _ in pairs):
        return None
    if any(re.search(rf"(?<![\w']){re.escape(column)}(?![\w'])", value) for column, _ in pairs for _, value in pairs):
        return None  # price = price * 2: nobody can see which rows are done
    where = _on_one_line(match["where"] or "")
    if not any(
        where.lower() == f"{column} is null".lower() and _NEVER_NULL.fullmatch(value) for column, value in pairs
    ):
        if not all(_is_steady(value) for _, value in pairs):
            return None
        undone = " OR ".join(f"{column} IS DISTINCT FROM {_bracketed(value)}" for column, value in pairs)
        several = f"({undone})" if len(pairs) > 1 and where else undone
        where = f"({where}) AND {several}" if where else several
    schema = of_sql(match["schema"]) if match["schema"] else None
    return Verb("backfill", of_sql(match["table"]), _on_one_line(match["set"]), where, schema=schema)


def _is_steady(value: str) -> bool:
    """Tell whether SQL is known to give the same value each time; a function that nobody here knows may give any."""
    words = _without_quotes(value)
    called = {name.lower() for name in re.findall(r"(\w+)\s*\(", words)}
    return called <= {*_STEADY.split()} and not _CHANGING.search(words)


def _on_one_line(sql: str) -> str:
    return _BLANKS.sub(lambda match: match["text"] or " ", sql).strip()


def _without_quotes(text: str) -> str:
    return re.sub(r"'[^']*'", "''", text)


def _without_brackets(text: str) -> str:
    while text != (text := re.sub(r"\([^()]*\)|'[^']*'", "", text)):
        pass
    return text


def _split(text: str) -> list[str]:
    """Return the parts of a list at its commas outside of brackets and quotes."""
    parts, depth, quoted, start = [], 0, False, 0
    for index, letter in enumerate(text):
        if letter == "'":
            quoted = not quoted
        elif not quoted and letter in "([{":
            depth += 1
        elif not quoted and letter in ")]}":
            depth -= 1
        elif letter == "," and not quoted and not depth:
            parts.append(text[start:index])
            start = index + 1
    return [*parts, text[start:]]


def _bracketed(value: str) -> str:
    return value if re.fullmatch(r"[\w.]+|'[^']*'|\([^()]*\)", value) else f"({value})"
