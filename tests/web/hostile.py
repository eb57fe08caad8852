"""Requests that nobody's browser would send: every route and method, with texts that have broken applications before."""

from __future__ import annotations

from typing import NamedTuple

from flask import Flask
from hypothesis import strategies

SCRIPT = '"><script>alert(1)</script>'
NASTY = (
    "",
    " ",
    "\x00",
    "a\x00b",
    "\ud7ff\ufffd\uffff",
    "\u202eevil",
    "'; DROP TABLE task; --",
    "%",
    "%s %(x)s {0} {{7*7}} ${7*7}",
    "\\",
    SCRIPT,
    "javascript:alert(1)",
    "//evil.example",
    "/\\evil.example",
    "https://evil.example",
    "/\r\nSet-Cookie: x=y",
    "0",
    "-1",
    "9223372036854775807",
    "9223372036854775808",
    "1e309",
    "NaN",
    "٣",
    "1_0",
    "0001-01-01",
    "9999-12-31",
    "10000-01-01",
    "2026-02-30",
    "x" * 300,
    "9" * 5000,
    "_scheme",
)
NAMES = (  # noqa: SIM905  a sentence reads better than 35 lines
    "q project member due todo doing done page next title name email description project_id assignee_id status due_on "
    "password csrf_token _scheme _external _anchor _method endpoint id action outcome revision release ledger revisions refresh"
).split()


class Request(NamedTuple):
    """What is sent."""

    method: str
    path: str
    query: dict[str, str]
    form: dict[str, str]
    headers: dict[str, str]
    rule: str
    """Of the route that is meant."""


_texts = strategies.one_of(strategies.sampled_from(NASTY), strategies.text(max_size=40), strategies.integers().map(str))
_fields = strategies.dictionaries(strategies.sampled_from(NAMES), _texts, max_size=6)
_methods = strategies.sampled_from(["GET", "POST", "POST", "HEAD", "OPTIONS", "PUT", "DELETE", "PATCH", "TRACE"])
_headers = strategies.fixed_dictionaries(
    {},
    optional={
        "Accept": strategies.sampled_from(["application/json", "text/html", "*/*;q=x", ",,;", "image/png"]),
        "X-Request-Id": strategies.sampled_from(["abcdefgh", "<x>", "a" * 500]),
        "X-Forwarded-For": strategies.sampled_from(["1.2.3.4", "x", "::1, 2001:db8::1", "fe80::1%eth0", ",,,", "1.2.3.4:80"]),
        "X-Forwarded-Proto": strategies.sampled_from(["https", "javascript", ","]),
        "Host": strategies.sampled_from(["evil.example", "a b", "[::1", "x" * 300, "evil.example:99999"]),
        "Cookie": strategies.sampled_from(["session=x", "session=.eJw", "session=eyJwcm9vZiI6MX0.x.y", "=;=;"]),
        "Content-Type": strategies.sampled_from(
            ["application/json", "multipart/form-data", "multipart/form-data; boundary=x", "text/plain; charset=nope"]
        ),
        "Referer": strategies.sampled_from(["https://evil.example/", "x", "//"]),
    },
)  # fmt: skip


def pairs(app: Flask) -> set[tuple[str, str]]:
    """Return what `app` answers: the rule of each route, with each of its methods."""
    return {(rule.rule, method) for rule in app.url_map.iter_rules() for method in rule.methods or ()}


def plain(app: Flask, number: int) -> list[Request]:
    """Return one request for each of them, about the record of this number where there is one."""
    return [
        Request(method, _path(rule, str(number)), {"q": SCRIPT}, {"name": SCRIPT, "title": SCRIPT}, {}, rule)
        for rule, method in sorted(pairs(app))
    ]


def requests(app: Flask, ids: list[int]) -> strategies.SearchStrategy[Request]:
    """Return requests to all routes of `app`; `ids` are numbers that exist."""
    rules = sorted({rule.rule for rule in app.url_map.iter_rules()})
    numbers = strategies.one_of(
        strategies.sampled_from([str(number) for number in ids]), strategies.sampled_from(NASTY)
    )
    return strategies.builds(
        lambda rule, number, method, *more: Request(method, _path(rule, number), *more, rule=rule),
        *(strategies.sampled_from(rules), numbers, _methods, _fields, _fields, _headers),
    )


def _path(rule: str, number: str) -> str:
    return "/".join(number if part.startswith("<") else part for part in rule.split("/"))


def judge(status: int, headers: dict[str, str], text: str) -> None:
    """Fail when an answer shows a fault, leads away from the site, or holds what was typed as markup."""
    assert status < 500, text
    location = headers.get("Location", "/")
    assert location.startswith("/"), location
    assert not location.startswith(("//", "/\\")), location
    assert "<script" not in text
    for word in ("psycopg", "sqlalchemy", "Traceback", "SELECT "):
        assert word not in text
