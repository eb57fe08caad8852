"""A server that says no has answered: it is told at once what that means, with what its makers advise."""

from __future__ import annotations

import logging
import time
from typing import NamedTuple

import psycopg2
import pytest

from railhead.dsn import Address, Dsn
from railhead.errors import NobodyAnswers, Stop
from railhead.postgres import answers, failures
from railhead.postgres.connection import reach
from railhead.postgres.retry_budget import Allowance
from tests.forked_tree import Workshop
from tests.refusing import error_response, refusing


class Refusal(NamedTuple):
    """What somebody says, and what is told of it."""

    who: str
    words: str
    slug: str
    advice: str
    severity: str = "FATAL"


FINAL = [
    Refusal(
        "Neon", "connection is insecure (try using `sslmode=require`)", "tls-required", ".../d?sslmode=require", "ERROR"
    ),
    Refusal(
        "Neon, an old libpq",
        "Endpoint ID is not specified. Either please upgrade the postgres client library (libpq) for SNI support or pass the endpoint ID"
        " (first part of the domain name) as a parameter: '?options=endpoint%3D<endpoint-id>'. See more at https://neon.tech/sni",
        "endpoint-unknown",
        "options=endpoint%3D127",
        "ERROR",
    ),
    Refusal(
        "Neon, a deleted branch",
        "The requested endpoint could not be found, or you don't have access to it. Please check the provided ID and try again.",
        "endpoint-unknown",
        "copy the URL anew",
        "ERROR",
    ),
    Refusal(
        "Neon, the end of the month",
        "Your account or project has exceeded the compute time quota. Upgrade your plan to increase limits.",
        "quota-exceeded",
        "raise the plan",
        "ERROR",
    ),
    Refusal(
        "Neon, IP Allow",
        "This IP address 1.2.3.4 is not allowed to connect to this endpoint.",
        "not-allowed",
        "IP Allow",
        "ERROR",
    ),
    Refusal(
        "Neon, its pooler",
        "unsupported startup parameter in options: search_path. Please use unpooled connection or remove this parameter",
        "startup-parameter",
        "the host without -pooler",
        "ERROR",
    ),
    Refusal("Supabase, a paused project", "Tenant or user not found", "endpoint-unknown", "postgres.<project ref>"),
    Refusal(
        "Supabase",
        "(EADDRNOTALLOWED) address not in tenant allow_list: {152, 55, 176, 218}",
        "not-allowed",
        "Network Restrictions",
    ),
    Refusal("Supabase, TLS enforced", "SSL connection is required", "tls-required", "sslmode=require"),
    Refusal(
        "PgBouncer",
        "unsupported startup parameter: extra_float_digits",
        "startup-parameter",
        "ignore_startup_parameters",
    ),
    Refusal(
        "PgBouncer, a database it does not list",
        "no such database: shop",
        "no-such-database",
        "a pooler knows only those",
    ),
    Refusal("PgBouncer, its own login", "bouncer config error", "pooler-sign-in", "auth_query"),
    Refusal(
        "RDS, Heroku, Cloud SQL",
        'no pg_hba.conf entry for host "10.0.0.1", user "u", database "quota", no encryption',
        "tls-required",
        "sslmode=require",
    ),
    Refusal("RDS, IAM", 'PAM authentication failed for user "u"', "cloud-sign-in", "aws rds generate-db-auth-token"),
    Refusal(
        "RDS Proxy",
        "This RDS proxy has no credentials for the role u. Check the credentials for this role and try again.",
        "cloud-sign-in",
        "Secrets Manager",
    ),
    Refusal("RDS Proxy, TLS", "This RDS Proxy requires TLS connections", "tls-required", "sslmode=require"),
    Refusal(
        "Cloud SQL, IAM",
        'Cloud SQL IAM service account authentication failed for user "u"',
        "cloud-sign-in",
        "roles/cloudsql.instanceUser",
    ),
    Refusal("Cloud SQL, mutual TLS", "connection requires a valid client certificate", "certificate", "sslcert="),
    Refusal(
        "Azure, Single Server",
        "Invalid Username specified. Please check the Username and retry connection. The Username should be in <username@hostname> format.",
        "no-such-role",
        "name%40server",
    ),
    Refusal(
        "Azure", "SSL connection is required. Please specify SSL options and retry.", "tls-required", "sslmode=require"
    ),
    Refusal(
        "CockroachDB",
        "codeParamsRoutingFailed: missing cluster identifier",
        "endpoint-unknown",
        "options=--cluster%3D",
    ),
    Refusal(
        "CockroachDB, its own server",
        "node is running secure mode, SSL connection required",
        "tls-required",
        "sslmode=require",
        "ERROR",
    ),
    Refusal("Render", "SSL/TLS required", "tls-required", "sslmode=require"),
    Refusal(
        "DigitalOcean, Aiven",
        'pg_hba.conf rejects connection for host "10.0.0.1", user "u", database "d", SSL encryption',
        "not-allowed",
        "trusted sources",
    ),
    Refusal(
        "PostgreSQL, a closed database",
        'database "d" is not currently accepting connections',
        "not-accepting",
        "ALTER DATABASE d ALLOW_CONNECTIONS true;",
    ),
    Refusal(
        "PostgreSQL, a broken database",
        'cannot connect to invalid database "d"',
        "not-accepting",
        "restore it under another name",
    ),
    Refusal(
        "PostgreSQL",
        'password authentication failed for user "u"',
        "wrong-password",
        "correct the password in DATABASE_URL",
    ),
    Refusal("PostgreSQL, a socket", 'Peer authentication failed for user "u"', "wrong-password", "pg_hba.conf"),
    Refusal(
        "Heroku, replaced credentials", 'role "u" is not permitted to log in', "not-allowed", "ALTER ROLE u LOGIN;"
    ),
    Refusal(
        "PostgreSQL, a parameter",
        'unrecognized configuration parameter "statment_timeout"',
        "startup-parameter",
        "PGOPTIONS",
    ),
    Refusal(
        "PgCat",
        "No pool configured for database: shop, user: u",
        "no-such-database",
        "correct the name in DATABASE_URL",
    ),
    Refusal("somebody", "the moon is in the wrong phase", "server-refuses", "what it says stands above"),
    Refusal("somebody who speaks Spanish", "la autentificación falló", "server-refuses", "what it says stands above"),
]

PASSING = [
    Refusal("PostgreSQL", "the database system is starting up", "unreachable", "see that the server runs"),
    Refusal("PostgreSQL in German", "das Datenbanksystem startet", "unreachable", "see that the server runs"),
    Refusal("PostgreSQL", "the database system is shutting down", "unreachable", "see that the server runs"),
    Refusal("PostgreSQL", "sorry, too many clients already", "too-many-connections", "raise max_connections"),
    Refusal(
        "PostgreSQL in French",
        "désolé, trop de clients sont déjà connectés",
        "too-many-connections",
        "raise max_connections",
        "FATAL",
    ),
    Refusal("Heroku", 'too many connections for role "u"', "too-many-connections", "raise max_connections"),
    Refusal("PgBouncer", "no more connections allowed (max_client_conn)", "too-many-connections", "max_client_conn"),
    Refusal(
        "PgBouncer",
        "server login has been failing, cached error: connect failed (server_login_retry)",
        "unreachable",
        "the pooler may sign in",
    ),
    Refusal(
        "Supabase",
        "MaxClientsInSessionMode: max clients reached - in Session mode max clients are limited to pool_size",
        "too-many-connections",
        "port 6543",
    ),
    Refusal(
        "Supabase",
        "(ECHECKOUTTIMEOUT) unable to check out connection from the pool after 15000ms",
        "too-many-connections",
        "raise the limit of the proxy",
    ),
    Refusal("Neon", "Couldn't connect to compute node", "unreachable", "provider's console", "ERROR"),
]


def address(port: int) -> Address:
    """Return where the refusing server is."""
    return Address(Dsn.of(host="127.0.0.1", port=str(port), user="u", password="hush", dbname="d"), "DATABASE_URL")


def stopped(refusal: Refusal, wait: float) -> Stop:
    """Return what a command is told that may wait so many seconds for this server."""
    answer = error_response(refusal.words, severity=refusal.severity)
    with refusing(answer) as port, pytest.raises(Stop) as caught:
        reach(address(port), "test", Allowance(wait, "MIGRATE_WAIT_DATABASE"))
    return caught.value


def named(refusal: Refusal) -> str:
    """Return how a refusal is called among the tests."""
    return f"{refusal.who}: {refusal.words[:30]}"


@pytest.mark.parametrize("refusal", FINAL, ids=named)
def test_who_says_no_is_heard_at_once_and_his_advice_told(refusal: Refusal) -> None:
    """With a minute to wait, each answer ends the wait within a second, with the words, and with what its vendor advises."""
    began = time.monotonic()
    stop = stopped(refusal, wait=60)
    assert time.monotonic() - began < 1
    assert (stop.slug, isinstance(stop, NobodyAnswers)) == (refusal.slug, False)
    assert refusal.words in dict(stop.facts)["PostgreSQL"]
    assert refusal.advice in stop.next_step
    assert "waited" not in dict(stop.facts)
    assert "hush" not in stop.render()


@pytest.mark.parametrize("refusal", PASSING, ids=named)
def test_who_starts_or_is_full_is_waited_for_and_said_to_be_so(
    refusal: Refusal, caplog: pytest.LogCaptureFixture
) -> None:
    """It may let us in later; what it says stands in the log from the first attempt on, under its own headline."""
    logging.getLogger("railhead").propagate = True
    stop = stopped(refusal, wait=0.2)
    assert (stop.slug, isinstance(stop, NobodyAnswers)) == (refusal.slug, True)
    assert refusal.advice in stop.next_step
    assert caplog.messages[0].startswith(f"{stop.headline}, for 0 s now:")
    assert refusal.words in caplog.messages[0]


@pytest.mark.parametrize(
    ("attempts", "slug"),
    [
        (
            [
                'FATAL:  password authentication failed for user "u"',
                'FATAL:  no pg_hba.conf entry for host "h", user "u", database "d", no encryption',
            ],
            "wrong-password",
        ),
        (
            [
                "FATAL:  no pg_hba.conf entry for host, SSL encryption",
                "FATAL:  no pg_hba.conf entry for host, no encryption",
            ],
            "not-allowed",
        ),
        (["FATAL:  sorry, too many clients already", "FATAL:  no pg_hba.conf entry for host, no encryption"], None),
        (["FATAL:  the database system is starting up", 'FATAL:  database "d" does not exist'], None),
        (
            [
                "Network is unreachable\n\tIs the server running there?",
                "ERROR:  Your project has exceeded the data transfer quota.",
            ],
            "quota-exceeded",
        ),
        (["Connection refused\n\tIs the server running there?", "timeout expired"], None),
        (
            ["FATAL:  the database system is not accepting connections\nDETAIL:  Hot standby mode is disabled."],
            None,
        ),
        (["expected authentication request from server, but received H"], "not-postgresql"),
        (["server closed the connection unexpectedly\n\tThis probably means the server terminated abnormally"], None),
        (["ВАЖНО:  система баз данных запускается"], None),
    ],
)
def test_of_several_attempts_the_telling_one_counts(attempts: list[str], slug: str | None) -> None:
    """Of what libpq tries, each address, and without encryption where it may: who may let us in later goes first, who wants encryption last."""
    text = "\n".join(
        f'connection to server at "h" (10.0.0.{n}), port 5432 failed: {words}' for n, words in enumerate(attempts)
    )
    assert failures.permanent(psycopg2.OperationalError(text + "\n")) == slug


def test_a_connection_that_was_ended_is_no_refusal() -> None:
    """What an open connection is told when it ends carries FATAL, too, and is a lost connection."""
    for words in (
        "FATAL:  terminating connection due to administrator command\nSSL connection has been closed unexpectedly\n",
        "terminating connection due to idle-session timeout\nserver closed the connection unexpectedly\n",
        "server closed the connection unexpectedly\n\tThis probably means the server terminated abnormally\n",
    ):
        assert failures.is_lost(psycopg2.OperationalError(words))


def test_every_word_in_braces_is_a_name_of_the_address() -> None:
    """No advice is told with a name that nobody fills in, and each is one that a person can act on."""
    for _, answer in answers._KNOWN:
        advice = failures.advised(answer.advice, address(5432))
        assert "{" not in advice, answer.slug


@pytest.mark.parametrize("command", ["upgrade", "status", "doctor", "drift", "wait", "log"])
def test_every_command_ends_with_the_answer(command: str, workshop: Workshop) -> None:
    """None waits, none says that the database does not answer, and none ends in a traceback."""
    with refusing(error_response("connection is insecure (try using `sslmode=require`)", severity="ERROR")) as port:
        ended = workshop.migrate(
            command, DATABASE_URL=f"postgresql://u:hush@127.0.0.1:{port}/d", MIGRATE_WAIT_DATABASE="60s"
        )
    assert ended.returncode in {1, 3}  # the doctor tells it among the other things that it has seen
    assert "encrypted connections only" in ended.stdout + ended.stderr
    assert "?sslmode=require" in ended.stdout + ended.stderr
    assert "Traceback" not in ended.stdout + ended.stderr
    assert "hush" not in ended.stdout + ended.stderr
