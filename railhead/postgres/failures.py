"""What did a failed connection or statement mean: passing or permanent, lost, or only a lock that was not to be had?"""

from __future__ import annotations

import re

import psycopg2
from psycopg2 import errorcodes

from railhead.dsn import Address
from railhead.errors import NobodyAnswers, Stop
from railhead.postgres.retry_budget import Allowance

_PERMANENT = {
    "password authentication failed": ("wrong-password", "the server refuses the password"),
    "no password supplied": ("wrong-password", "the server wants a password"),
    "no such database": ("no-such-database", "there is no such database"),
    "no such user": ("no-such-role", "there is no such role"),
    "no pg_hba.conf entry": ("not-allowed", "the server does not let us in"),
    "is not permitted to log in": ("not-allowed", "the role may not log in"),
    "permission denied for database": ("not-allowed", "the role may not connect to this database"),
    "server does not support SSL": ("no-ssl", "the server does not speak TLS"),
    "certificate": ("certificate", "the server's certificate is not accepted"),
    "invalid sslmode": ("settings", "a connection parameter is wrong"),
    "invalid value": ("settings", "a connection parameter is wrong"),
}
"""What libpq says when waiting would not help. A failed connection carries no SQLSTATE, so the text must do."""

_QUOTED = re.compile(r'"[^"]*"')
"""A name in what libpq says: a host may be called `certificate-db`."""

_NO_ROOM = ("too many clients", "remaining connection slots", "too many connections for", "no more connections allowed")
"""What PostgreSQL and PgBouncer say when every connection is taken; it passes, so it is waited for."""

_ADVICE = {
    "too-many-connections": "see who has them, lower WEB_CONCURRENCY or the number of replicas, or raise max_connections:\n"
    "SELECT usename, application_name, count(*) FROM pg_stat_activity GROUP BY 1, 2 ORDER BY 3 DESC;",
    "wrong-password": "correct the password in {variable}",
    "no-such-database": "create it (createdb {dbname}) or correct the name in {variable}",
    "no-such-role": "create the role or correct the user in {variable}",
    "not-allowed": "give this role access (GRANT CONNECT, pg_hba.conf) or use another one in {variable}",
    "no-ssl": "use sslmode=prefer in {variable}, or switch TLS on at the server",
    "certificate": "correct sslmode, sslrootcert or the host name in {variable}",
    "settings": "correct {variable}; what libpq knows: https://www.postgresql.org/docs/current/libpq-connect.html",
    "unreachable": "see that the server runs and that {variable} names it, then start again",
}

_LOST = {
    errorcodes.ADMIN_SHUTDOWN,
    errorcodes.CRASH_SHUTDOWN,
    errorcodes.CANNOT_CONNECT_NOW,
    errorcodes.DATABASE_DROPPED,
    errorcodes.TOO_MANY_CONNECTIONS,
    "25P03",  # idle_in_transaction_session_timeout
    "25P04",  # transaction_timeout
    "57P05",  # idle_session_timeout
}
_SERVERS_OWN = ("53", "57", "58", "F0", "XX")
"""Classes of SQLSTATE by which a server says that it is itself in trouble: resources, operators, system, configuration, internal."""

_LOCK_MISSED = {errorcodes.LOCK_NOT_AVAILABLE, errorcodes.DEADLOCK_DETECTED}


def permanent(error: psycopg2.Error) -> str | None:
    """Return the slug of a failed connection that waiting cannot mend, else None."""
    found = _permanent(error)
    return found[0] if found else None


def cannot_connect(error: psycopg2.Error, address: Address, allowance: Allowance | None = None) -> Stop:
    """Return what a person needs to know about a connection that failed, after all of `allowance` was waited."""
    slug, headline = _permanent(error) or _passing(error)
    facts = [("server", str(address)), ("PostgreSQL", server_words(error))]
    if not _permanent(error) and allowance:
        facts.append(("waited", str(allowance)))
    advice = _ADVICE[slug].format(variable=address.variable, dbname=address.dsn.parameters().get("dbname", ""))
    kind = Stop if permanent(error) else NobodyAnswers
    return kind(slug, headline, facts=facts, database="not touched", next_step=advice)


def server_words(error: BaseException) -> str:
    """Return the driver's or the server's own words, on as many lines as it used, without the SQL that it adds."""
    diagnosis = getattr(error, "diag", None)
    primary = getattr(diagnosis, "message_primary", None)
    if primary:
        details = [diagnosis.message_detail, diagnosis.message_hint] if diagnosis else []
        return "\n".join([primary, *(detail for detail in details if detail)])
    return "\n".join(line.strip() for line in str(error).strip().splitlines()) or type(error).__name__


def is_lock_miss(error: BaseException) -> bool:
    """Tell whether the server gave up waiting for a table lock, or chose us to break a deadlock."""
    return getattr(error, "pgcode", None) in _LOCK_MISSED


def is_servers_own(error: BaseException) -> bool:
    """Tell whether the server failed, and not what it was asked for: no file is to blame for that."""
    code = getattr(error, "pgcode", None) or ""
    return code.startswith(_SERVERS_OWN) and code != errorcodes.QUERY_CANCELED


def is_lost(error: BaseException) -> bool:
    """Tell whether the connection is gone, or the server is going away or has become a standby."""
    if not isinstance(error, psycopg2.Error):
        return False
    code = error.pgcode
    if code is None:
        # libpq without a word of its own makes psycopg2 raise the plain class
        wordless = type(error) is psycopg2.DatabaseError
        known = isinstance(error, psycopg2.OperationalError | psycopg2.InterfaceError)
        return (known or wordless) and not permanent(error)
    return code in _LOST or code.startswith("08")


def _permanent(error: psycopg2.Error) -> tuple[str, str] | None:
    text = str(error)
    unnamed = _QUOTED.sub("", text)
    for words, answer in _PERMANENT.items():
        if words in unnamed:
            return answer
    if 'role "' in text and "does not exist" in text:
        return "no-such-role", "there is no such role"
    if 'database "' in text and "does not exist" in text:
        return "no-such-database", "there is no such database"
    return None


def _passing(error: psycopg2.Error) -> tuple[str, str]:
    if any(words in str(error) for words in _NO_ROOM):
        return "too-many-connections", "the server has no connection left for us"
    return "unreachable", "the database does not answer"
