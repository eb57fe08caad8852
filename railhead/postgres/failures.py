"""What did a failed connection or statement mean: passing or permanent, lost, or only a lock that was not to be had?"""

from __future__ import annotations

import re

import psycopg2
from psycopg2 import errorcodes

from railhead.dsn import Address
from railhead.errors import NobodyAnswers, Stop
from railhead.postgres.answer import Answer
from railhead.postgres.quoting import quoted_name
from railhead.postgres.retry_budget import Allowance

_NOBODY = (
    "unreachable",
    "the database does not answer",
    "see that the server runs and that {variable} names it, then start again",
)

_REFUSES_CONNECTIONS = ("08", "28", "3D", "XX000")
"""SQLSTATEs, or their classes, with which a pooler ends a connection that it has let in, because the server behind it let nobody in."""

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
    answer = _answer(error)
    return answer.slug if answer and not answer.passes else None


def headline(error: psycopg2.Error) -> str:
    """Return in a few words what a failed connection means."""
    answer = _answer(error)
    return answer.headline if answer else _NOBODY[1]


def cannot_connect(error: psycopg2.Error, address: Address, allowance: Allowance | None = None) -> Stop:
    """Return what a person needs to know about a connection that failed, after all of `allowance` was waited."""
    answer = _answer(error)
    slug, headline, advice = answer[:3] if answer else _NOBODY
    facts = [("server", str(address)), ("PostgreSQL", server_words(error))]
    passes = answer is None or answer.passes
    if passes and allowance:
        facts.append(("waited", str(allowance)))
    kind = NobodyAnswers if passes else Stop
    return kind(slug, headline, facts=facts, database="not touched", next_step=advised(advice, address))


def advised(advice: str, address: Address) -> str:
    """Return advice in which the words in braces are names of this address, as people write them."""
    parameters = address.dsn.parameters()
    host = parameters.get("host", "").partition(",")[0]
    name = parameters.get("dbname", "")
    names = {
        "variable": address.variable,
        "dbname": name,
        "database": quoted_name(name or "the_database"),
        "user": quoted_name(parameters.get("user") or "the_role"),
        "host": host or "this machine",
        "port": parameters.get("port", "").partition(",")[0] or "5432",
        "place": f"/{name}",
        "endpoint": host.partition(".")[0].removesuffix("-pooler"),
    }
    return re.sub(r"\{(\w+)\}", lambda match: names[match[1]], advice)


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
        is_of_connection = isinstance(error, psycopg2.OperationalError | psycopg2.InterfaceError)
        return (is_of_connection or wordless) and not permanent(error)
    return code in _LOST or (code.startswith("08") and not permanent(error))


def _answer(error: psycopg2.Error) -> Answer | None:
    """Return what was answered to whoever wanted to connect; None when nobody did, and for an error of anything else."""
    from railhead.postgres import answers  # 60 patterns that only those pay who are not let in

    if error.pgcode is None:
        return answers.meaning(str(error))
    return answers.known(server_words(error)) if error.pgcode.startswith(_REFUSES_CONNECTIONS) else None
