"""How are revisions numbered and named?"""

from __future__ import annotations

import re
import unicodedata

ID_LENGTH = 32
"""The width of alembic_version.version_num: a longer id would fail when it is applied, not before."""


def revision_id(number: int, words: str, ending: str = "") -> str:
    """Return `0003_add_due_date`: ASCII, lower case, at most 32 characters, cut at a word; never a bare number."""
    prefix = f"{number:04d}_"
    ending = f"_{ending}" if ending else ""
    return prefix + (slug(words, ID_LENGTH - len(prefix) - len(ending)) or "change") + ending


def slug(text: str, room: int) -> str:
    """Return the words of `text` as a_b_c in at most `room` characters; empty when nothing in it is ASCII."""
    plain = unicodedata.normalize("NFKD", text.casefold()).encode("ascii", "ignore").decode()
    joined = "_".join(re.findall(r"[a-z0-9]+", plain))
    if len(joined) <= room:
        return joined
    whole_words, _, _ = joined[: room + 1].rpartition("_")
    return whole_words or joined[:room]


LONGEST_ID = 32
"""The width of Alembic's `version_num` column: a longer id fails only when it is written."""


def number(revision: str) -> int | None:
    """Return the number that a revision id starts with (`0003_add_due_date` is 3), None when it has none."""
    match = re.match(r"(\d+)_", revision)
    return int(match[1]) if match else None
