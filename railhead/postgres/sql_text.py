"""Does a text of SQL end the transaction that it runs in?

Reads only how statements begin: what stands in quotes, in comments and in the bodies of functions is no statement.
"""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

End = Literal["COMMIT", "ROLLBACK"]
"""How a transaction ends. PREPARE TRANSACTION is like COMMIT for who has left it."""


class Piece(NamedTuple):
    """A part of a text: statements that end no transaction, or one that does."""

    sql: str
    end: End | None


_SUSPICIOUS = re.compile(r"\b(?:commit|end|rollback|abort|prepare\s+transaction)\b", re.IGNORECASE)

_NO_STATEMENTS = re.compile(
    r"""(?P<dollar>\$\w*\$).*?(?P=dollar) | e'(?:\\.|''|[^'\\])*' | '(?:''|[^'])*' | "(?:""|[^"])*" | --[^\n]* | /\*.*?\*/""",
    re.IGNORECASE | re.DOTALL | re.VERBOSE,
)

_COMMITS = re.compile(r"\s*(?:commit(?!\s+prepared)|end|prepare\s+transaction)\b", re.IGNORECASE)
_ROLLS_BACK = re.compile(
    r"\s*(?:rollback|abort)\b(?!\s+(?:(?:work|transaction)\s+)?to\b)(?!\s+prepared)", re.IGNORECASE
)
_ATOMIC = re.compile(r"\bbegin\s+atomic\b", re.IGNORECASE)


def commits(sql: str) -> bool:
    """Tell whether a statement in it is COMMIT or END, so that what came before stays whatever happens."""
    return any(piece.end == "COMMIT" for piece in pieces(sql))


def pieces(sql: str) -> list[Piece]:
    """Return the text cut at each statement that ends a transaction; in one piece where there is none."""
    if not _SUSPICIOUS.search(sql):  # nearly all are told by that
        return [Piece(sql, None)]
    plain = _NO_STATEMENTS.sub(lambda match: " " * len(match[0]), sql)
    if _ATOMIC.search(plain):
        return [Piece(sql, None)]
    cut: list[Piece] = []
    start = 0
    for statement in plain.split(";"):
        stop = start + len(statement)
        text, end, start = sql[start:stop], _end(statement), stop + 1
        if end is None and cut and cut[-1].end is None:
            cut[-1] = Piece(f"{cut[-1].sql};{text}", None)
        else:
            cut.append(Piece(text, end))
    if all(piece.end is None for piece in cut):
        return [Piece(sql, None)]
    return [piece for piece in cut if piece.end or _NO_STATEMENTS.sub("", piece.sql).strip("; \t\r\n")]


def _end(statement: str) -> End | None:
    if _COMMITS.match(statement):
        return "COMMIT"
    return "ROLLBACK" if _ROLLS_BACK.match(statement) else None
