"""No secret that we know leaves: not in a log, a message, the ledger, JSON or a page."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest
from psycopg2.extensions import connection as Connection

from railhead import logs, masking
from railhead.dsn import Dsn
from railhead.errors import Stop
from railhead.project import Project
from railhead.settings import Settings
from railhead.state import ledger
from tests.databases import rows_of, url_of
from tests.forked_tree import Workshop
from tests.processes import eventually
from tests.project_tree import MIGRATE

ESCAPED, PASSWORD = "Hun%40ter2%2Fx", "Hun@ter2/x"
ENVIRON = {
    "DATABASE_URL": f"postgresql://app:{ESCAPED}@db.example.com/shop",
    "MIGRATE_DATABASE_URL": "postgresql://owner:0wn3r:with@colon@db.example.com/shop?sslmode=require",
    "REDIS_URL": "redis://:c4chep4ss@cache.example.com:6379/0",
    "PGPASSWORD": "fr0m-the-environment",
    "ADMIN_PASSWORD": "Swordfish 99",
    "SECRET_KEY": "a-long-random-text",
    "APP_ENV": "development",
}
SECRETS = (
    ESCAPED,
    PASSWORD,
    "0wn3r:with@colon",
    "c4chep4ss",
    "fr0m-the-environment",
    "Swordfish 99",
    "a-long-random-text",
)


@pytest.fixture(autouse=True)
def environment() -> Iterator[Settings]:
    """Know the secrets of ENVIRON, and none afterwards."""
    yield Settings.from_env(ENVIRON)
    masking.know({})


@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize("text", ["cannot use {}", "x={}, y", "'{}'", "redis:{}@", "{} and {}"])
def test_what_the_environment_holds_is_masked(secret: str, text: str) -> None:
    """Raw as in the URL, decoded, or beside anything."""
    assert secret not in masking.masked(text.format(secret, secret))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql://u:whatever@h/d and amqp://x:y@z", "postgresql://u:***@h/d and amqp://x:***@z"),
        ("CREATE ROLE zz LOGIN PASSWORD $$Hunter2pw$$; SELECT 1", "CREATE ROLE zz LOGIN PASSWORD '***'; SELECT 1"),
        (
            "alter role zz encrypted password 'it''s me' valid until 'x'",
            "alter role zz encrypted password '***' valid until 'x'",
        ),
        ("create role zz login password $a$half of i", "create role zz login password '***'"),
        ("create role zz login password 'half of i", "create role zz login password '***'"),
        ("OPTIONS (user 'bob', password 'sesame!')", "OPTIONS (user 'bob', password '***')"),
        ("dblink('host=h password=sesame! dbname=d')", "dblink('host=h password=*** dbname=d')"),
        ("{'user': 'bob', 'password': 'sesame!'}", "{'user': 'bob', 'password': ***}"),
        ("postgresql://h/d?user=u&password=sesame!", "postgresql://h/d?user=u&password=***"),
        ("the server refuses the password", "the server refuses the password"),
        ("correct the password in DATABASE_URL", "correct the password in DATABASE_URL"),
        (
            "postgresql://app:***@db.example.com/shop (DATABASE_URL)",
            "postgresql://app:***@db.example.com/shop (DATABASE_URL)",
        ),
        (
            "https://www.postgresql.org/docs/current/libpq-connect.html",
            "https://www.postgresql.org/docs/current/libpq-connect.html",
        ),
        ("the column password of user is missing", "the column password of user is missing"),
    ],
)
def test_what_stands_where_passwords_stand_is_masked(text: str, shown: str) -> None:
    """Whoever's they are; what only speaks of passwords stays."""
    assert masking.masked(text) == shown


def test_a_statement_s_password_is_remembered() -> None:
    """An error may quote it without the word before it."""
    masking.learn("ALTER ROLE app PASSWORD 'R3membered'")
    assert masking.masked('syntax error at or near "R3membered"') == 'syntax error at or near "***"'


@pytest.mark.parametrize(
    "url", ["postgresql://app:app@app/app", "postgresql://postgres:postgres@localhost/postgres", "postgresql://u:x@h/d"]
)
def test_a_password_that_is_a_name_hides_no_sentence(url: str) -> None:
    """Such a password is masked in its URL, and the messages can still be read."""
    Settings.from_env({"DATABASE_URL": url, "APP_ENV": "development"})
    sentence = "app: PostgreSQL has no table postgres.x for the user app"
    assert masking.masked(sentence) == sentence
    assert masking.masked(url).endswith(f":***@{url.rpartition('@')[2]}")


@pytest.mark.parametrize("form", ["text", "json"])
def test_the_log_shows_none(form: str) -> None:
    """Neither the message, nor its facts, nor a traceback."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logs.formatter(Settings(log_format=form)))
    logger = logging.getLogger("masked")
    logger.handlers, logger.propagate = [handler], False
    error = RuntimeError(f"cannot use {ENVIRON['DATABASE_URL']}")
    logger.error("with %s", PASSWORD, exc_info=error, extra={"facts": {"url": ENVIRON["MIGRATE_DATABASE_URL"]}})
    written = stream.getvalue()
    assert "RuntimeError: cannot use postgresql://app:***@db.example.com/shop" in written
    assert not [secret for secret in SECRETS if secret in written]


def test_a_message_shows_none_in_text_and_json() -> None:
    """Whatever it was made of."""
    stop = Stop(
        "x", f"with {PASSWORD}", facts=[("Python", ESCAPED)], database="Swordfish 99", next_step="a-long-random-text"
    )
    for told in (stop.render(), json.dumps(stop.record()), Project().spoken(PASSWORD)):
        assert not [secret for secret in SECRETS if secret in told]


def test_the_ledger_takes_none_and_shows_none_of_an_older_release(
    settings: Settings, connection: Connection, database: Dsn
) -> None:
    """What is written is masked; what another release has written is masked when it is read."""
    run = ledger.new_run("upgrade", settings)
    Settings.from_env(ENVIRON)
    ledger.create(connection)
    ledger.note(connection, run, "failed", error=f"cannot use {ENVIRON['DATABASE_URL']}")
    assert rows_of(database, "SELECT error FROM migration_ledger") == [
        ("cannot use postgresql://app:***@db.example.com/shop",)
    ]
    rows_of(database, "UPDATE migration_ledger SET error = 'with fr0m-the-environment'")
    assert [row.error for row in ledger.entries(connection)] == ["with ***"]


def test_a_revision_that_quotes_its_url_gives_nothing_away(bare: Workshop, database: Dsn) -> None:
    """Not on standard error, not in the ledger, not in `log` and `status`, and not in any JSON."""
    bare.write("0001_first", "import os\nraise RuntimeError('cannot use ' + os.environ['DATABASE_URL'])")
    url = url_of(database.with_(password="T0psecret!"))
    failed = bare.migrate("upgrade", DATABASE_URL=url)
    assert failed.returncode == 5
    assert "RuntimeError: cannot use postgresql://" in failed.stderr
    told = [failed.stdout, failed.stderr]
    for command in (["log"], ["log", "--json"], ["status"], ["status", "--json"], ["doctor"]):
        ended = bare.migrate(*command, DATABASE_URL=url)
        told += [ended.stdout, ended.stderr]
    told += [str(rows_of(database, "SELECT error FROM migration_ledger"))]
    assert not [text for text in told if "T0psecret" in text]


def test_what_others_do_is_shown_without_passwords(at_head: Workshop, other_session: Connection) -> None:
    """A statement that sets one is in the way, and is told without it; so is an error that quotes one of our own."""
    with other_session.cursor() as cursor:
        cursor.execute("LOCK TABLE task; SELECT $$ ALTER ROLE x PASSWORD 'Hunter2pw' $$")
    quoting = "LOCK TABLE task; DO $$BEGIN RAISE EXCEPTION 'no %', 'S3samstrasse'; END$$; ALTER ROLE x PASSWORD 'S3samstrasse'"
    at_head.write("0009_x", f"op.execute({quoting!r})", after="0002_add_task_due_on")
    migrator = at_head.start(*MIGRATE, "upgrade", MIGRATE_WAIT_LOCK="30s")
    eventually(lambda: "PASSWORD '***'" in migrator.stderr, within=20)
    other_session.rollback()
    assert migrator.wait() == 5
    assert "no ***" in migrator.stderr
    assert not [secret for secret in ("Hunter2pw", "S3samstrasse") if secret in migrator.stderr]
