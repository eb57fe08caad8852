"""What do people put into a database's URL that libpq does not know, and what is to be taken out?

Words of other drivers, of shells and of platforms. Names nothing of a URL but what is written here: the rest could be a secret.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

_OTHERS = {
    "Prisma's": "pgbouncer connection_limit pool_timeout socket_timeout statement_cache_size sslaccept sslidentity",
    "a pool's": "pool_size pool max min max_overflow pool_max_conns pool_min_conns pool_mode pool_recycle pool_pre_ping max_connections"
    " min_connections idle_timeout maxPoolSize minPoolSize",
    "JDBC's": "currentSchema useSSL sslfactory stringtype prepareThreshold reWriteBatchedInserts loginTimeout tcpKeepAlive ApplicationName",
    "another driver's": "ssl charset encoding serverVersion uselibpqcompat command_timeout timeout prepared_statements prepare_threshold"
    " prepared_statement_cache_size async_fallback binary_parameters default_query_exec_mode statement_timeout lock_timeout"
    " sslcertmode_verify supa workaround reconnect autocommit isolation_level timezone",
}
_WHOSE = {key: whose for whose, keys in _OTHERS.items() for key in keys.split()}
_SCHEMA = ("schema", "currentSchema", "search_path")
_SSLMODES = {
    "no-verify": "require (encrypted, the certificate is not looked at)",
    "noverify": "require (encrypted, the certificate is not looked at)",
    "true": "require",
    "1": "require",
    "on": "require",
    "required": "require",
    "false": "disable",
    "off": "disable",
    "0": "disable",
    "preferred": "prefer",
    "verify_ca": "verify-ca",
    "verify_full": "verify-full",
    "verify-identity": "verify-full",
}
_KNOWN_SSLMODES = frozenset({"disable", "allow", "prefer", "require", "verify-ca", "verify-full", ""})

_REFERENCE = re.compile(r"\$\{\{?[\w.\-\s:]*\}\}?|\{\{[\w.\-\s]*\}\}|^\$\w+$|^%\w+%$|^\$\(\w+\)$")
_PLACEHOLDER = re.compile(
    r"[\[<](?:[\w .-]*[\s_.-])?(?:your|password|host\w*|user\w*|name|ref|region|project|database|db|endpoint)(?:[\s_.-][\w .-]*)?[\]>]",
    re.IGNORECASE,
)
_BEFORE = re.compile(r"\s*(?:psql\s+|(?:export\s+|set\s+)?[A-Za-z_]\w*\s*=\s*|jdbc:)", re.IGNORECASE)
_QUOTES = "\"'`“”‘’«»"


def unwrapped(text: str) -> tuple[str, list[str]]:
    """Return the URL without what stands around it, and what that is: a word of a shell, quotes, a mark at its end."""
    mistakes = []
    url = text.strip()
    while "://" in url and (before := _BEFORE.match(url)):
        word = before[0].strip()
        known = (
            word if word.startswith(("psql", "export", "set", "jdbc:")) or word.isupper() else "what stands before it"
        )
        mistakes.append(f"take out {known}")
        url = url[before.end() :].strip()
    if url[:1] in _QUOTES or url[-1:] in _QUOTES:
        mistakes.append("take out the quotes")
        url = url.strip(_QUOTES).strip()
    if url.endswith((";", ",")):
        mistakes.append(f"take out the {url[-1]} at its end")
        url = url.rstrip(";,")
    return url, mistakes


def unfilled(url: str) -> list[str]:
    """Return what nobody has filled in: a reference to a variable, a placeholder of a tutorial."""
    mistakes = []
    if _REFERENCE.search(url):
        mistakes.append(
            "write the URL itself in the place of the reference ${{...}}: only the platform fills it in, and only for a service of that name"
        )
    if _PLACEHOLDER.search(url):
        mistakes.append(
            "write what is meant in the place of [...] or <...>: a provider leaves the password out of what it shows"
        )
    return mistakes


def options(pairs: Iterable[tuple[str, str]], knows: Callable[[str], bool]) -> list[str]:
    """Return what is to be taken out of, or changed in, the part behind the question mark; `knows` tells of a key whether libpq does."""
    pairs = list(pairs)
    strange = [key for key, _ in pairs if not knows(key)]
    named = [key for key in strange if key in _WHOSE or key in _SCHEMA]
    mistakes = []
    if named:
        listed = ", ".join(f"{key} ({_WHOSE[key]})" if key in _WHOSE else key for key in dict.fromkeys(named))
        mistakes.append(f"take out {listed}: libpq does not know {'it' if len(named) == 1 else 'them'}")
    if any(key in _SCHEMA for key in named):
        mistakes.append(
            "a schema is set at the role (ALTER ROLE ... SET search_path = ...), or as options=-csearch_path%3D<schema>"
        )
    if "ssl" in named:
        mistakes.append("write sslmode=require in the place of ssl")
    unnamed = len(strange) - len(named)
    if unnamed:
        what = "an option" if unnamed == 1 else f"{unnamed} options"
        mistakes.append(
            f"take out {what} behind the question mark that libpq does not know (a ? in a password is written %3F)"
        )
    mistakes += [_sslmode(value) for key, value in pairs if key == "sslmode" and value not in _KNOWN_SSLMODES]
    return mistakes


def _sslmode(value: str) -> str:
    if value.lower() in _SSLMODES:
        return f"sslmode={value.lower()} is sslmode={_SSLMODES[value.lower()]} here"
    return "sslmode is one of disable, allow, prefer, require, verify-ca, verify-full"
