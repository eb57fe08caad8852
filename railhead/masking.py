"""What must nobody read? Every secret that we know is `***` in whatever leaves: a log, the ledger, a page, a message, JSON.

The one place that knows them: what the environment holds, and what statements say behind PASSWORD. Never prints, keeps nothing on disk.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from urllib.parse import quote, quote_plus, unquote

MASK = "***"

SECRETS = ("PGPASSWORD", "ADMIN_PASSWORD", "SECRET_KEY")
"""Variables that hold nothing else."""

_SHORTEST = 4
_WORDS_FROM = 8
"""Letters from which a secret is masked in the middle of a word, too: a shorter one would be found in words that mean something else."""

_MOST_LEARNT = 100
_PLAIN = frozenset(
    {
        "postgres",
        "postgresql",
        "password",
        "pass",
        "user",
        "admin",
        "root",
        "test",
        "public",
        "none",
        "null",
        "true",
        "false",
    }
)
"""What is known to everybody, and stands in every second sentence: masked only where it is used as a password."""

_IN_URL = re.compile(r"([A-Za-z][\w+.-]*://[^\s:/@'\"<>]*:)([^\s'\"<>]*)(?=@)")
_IN_PAIRS = re.compile(
    r"\b((?:ssl)?pass(?:word|wd)|PGPASSWORD)(\s*=\s*|['\"]\s*:\s*)('(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"|[^\s&,;'\")]+)",
    re.IGNORECASE,
)
_IN_SQL = re.compile(
    r"\b(PASSWORD\s+)(E?'((?:[^']|'')*)(?:'|\Z)|\$(\w*)\$(.*?)(?:\$\4\$|\Z))", re.IGNORECASE | re.DOTALL
)
"""A statement may be cut off: then the text ends in the literal."""

_NO_PASSWORD = frozenset({"password", "...", MASK})
"""What stands there in a sentence that says how a URL is written."""

_environ: Mapping[str, str] = {}
_learnt: dict[str, None] = {}
_pattern: re.Pattern[str] | None = None


def know(environ: Mapping[str, str]) -> None:
    """Know the secrets of this environment from now on, and of no other: a process has one. They are looked for when text leaves."""
    global _environ, _pattern
    _environ, _pattern = environ, None


def learn(statement: str) -> None:
    """Remember what a statement says behind PASSWORD: an error may quote it without that word."""
    global _pattern
    if "assword" not in statement and "ASSWORD" not in statement:
        return
    for match in _IN_SQL.finditer(statement):
        literal = (match[3] or "").replace("''", "'") or match[5] or ""
        if _tells(literal) and literal not in _learnt and len(_learnt) < _MOST_LEARNT:
            _learnt[literal] = None
            _pattern = None


def masked(text: str) -> str:
    """Return a text without the secrets that we know, and without what stands where passwords stand: in a URL, behind PASSWORD."""
    global _pattern
    learn(text)
    if _pattern is None:
        _pattern = _compiled({form for secret in (*_secrets(_environ), *_learnt) for form in _forms(secret)})
    text = _pattern.sub(MASK, text)
    if "://" in text:
        text = _IN_URL.sub(lambda match: match[0] if match[2].lower() in _NO_PASSWORD else match[1] + MASK, text)
    if "pass" in text.lower():
        text = _IN_SQL.sub(rf"\1'{MASK}'", text)
        text = _IN_PAIRS.sub(rf"\1\2{MASK}", text)
    return text


def _secrets(environ: Mapping[str, str]) -> Iterable[str]:
    """Return what this environment holds that is not to be read."""
    for name in SECRETS:
        if _tells(secret := environ.get(name, "").strip()):
            yield secret
    for value in environ.values():
        if "://" in value:
            yield from (secret for secret in passwords(value) if _tells(secret, beside=value))


def passwords(url: str) -> Iterable[str]:
    """Return what may be the password of a URL, as it is written there: nobody knows where it ends when it was not escaped."""
    rest = url.partition("://")[2]
    for authority in (rest.partition("?")[0], rest):
        user_info, at, _ = authority.rpartition("@")
        if at:
            yield user_info.partition(":")[2]
    for match in re.finditer(r"[?&](?:ssl)?password=([^&'\"\s]*)", rest):
        yield match[1]


def _tells(secret: str, beside: str = "") -> bool:
    """Tell whether a secret is one: a password that is the name of the user, the database or the host is no secret in a sentence."""
    if len(secret) < _SHORTEST or secret.lower() in _PLAIN:
        return False
    names = re.split(r"[^\w-]+", beside.replace(f":{secret}@", ":@", 1))
    return not any(secret in name for name in names)


def _forms(secret: str) -> set[str]:
    """Return how a secret may be written: as it is, percent-encoded or decoded, escaped as in Python, JSON, SQL and libpq."""
    decoded = unquote(secret)
    encoded = {write(decoded, errors="replace") for write in (quote, quote_plus, _quote_all)}
    plain = {secret, decoded}
    escaped = {repr(text)[1:-1] for text in plain} | {text.replace("\\", "\\\\").replace('"', '\\"') for text in plain}
    escaped |= {text.replace("'", "''") for text in plain} | {
        text.replace("\\", "\\\\").replace("'", "\\'") for text in plain
    }
    escaped |= {text.encode("ascii", "backslashreplace").decode() for text in plain}
    return {form for form in plain | encoded | escaped if len(form) >= _SHORTEST}


def _quote_all(text: str, errors: str) -> str:
    return quote(text, safe="", errors=errors)


def _compiled(forms: set[str]) -> re.Pattern[str]:
    """Return what finds any of these, the longest first; nothing where there are none."""
    if not forms:
        return re.compile(r"(?!)")
    return re.compile("|".join(map(_bounded, sorted(forms, key=len, reverse=True))))


def _bounded(form: str) -> str:
    text = re.escape(form)
    is_part_of_words = len(form) >= _WORDS_FROM or not form.isalnum()
    return text if is_part_of_words else rf"(?<![\w-]){text}(?![\w-])"  # nor in a slug: wrong-password
