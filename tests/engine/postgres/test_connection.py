"""Reaching PostgreSQL, telling passing failures from permanent ones."""

from __future__ import annotations

import socket
import time
from pathlib import Path

import psycopg2
import pytest
from psycopg2.extensions import connection as Connection

from railhead.dsn import Address, Dsn
from railhead.errors import Stop
from railhead.postgres import failures
from railhead.postgres.connection import (
    connect,
    database_identity,
    fetch_value,
    is_pooled,
    reach,
    server_version,
)
from railhead.postgres.question import Question
from railhead.postgres.retry_budget import Allowance
from tests.databases import rows_of
from tests.processes import eventually


def said_by(connection: Connection, statement: str) -> psycopg2.Error:
    """Return the error that a statement ends with."""
    with pytest.raises(psycopg2.Error) as caught, connection.cursor() as cursor:
        cursor.execute(statement)
    return caught.value


def refusal(dsn: Dsn) -> psycopg2.OperationalError:
    """Return the error that connecting ends with."""
    with pytest.raises(psycopg2.OperationalError) as caught:
        connect(dsn, "refused")
    return caught.value


def test_connection_has_a_name_and_commits_each_statement(database: Dsn) -> None:
    """pg_stat_activity shows who it is, and nothing stays open by accident."""
    connection = connect(database, "railhead test @ here")
    try:
        assert fetch_value(connection, "SHOW application_name") == "railhead test @ here"
        assert connection.autocommit
        assert not is_pooled(connection)
        assert fetch_value(connection, "SELECT 1 WHERE false") is None
        assert server_version(connection).startswith("PostgreSQL 1")
        signs = {
            "keepalives_idle": "10",
            "keepalives_interval": "5",
            "keepalives_count": "3",
            "tcp_user_timeout": "20000",
        }  # so that libpq notices a server that has vanished
        assert connection.get_dsn_parameters().items() >= signs.items()
    finally:
        connection.close()


@pytest.mark.parametrize("hosts", [1, 2], ids=["one host", "the second of two"])
def test_a_question_is_answered_beside_other_work(database: Dsn, hosts: int) -> None:
    """The connection is made while we do something else, and is gone after the answer."""
    parameters = database.parameters()
    several = database.with_(host=f"/nowhere,{parameters['host']}") if hosts == 2 else database
    question = Question(Address(several, "DATABASE_URL"), "asking", "SELECT n FROM generate_series(1, 3) n", timeout=3)
    assert question.answer() == [(1,), (2,), (3,)]
    others = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'railhead asking @ localhost'"
    eventually(lambda: not rows_of(database, others))


def test_a_question_to_a_server_that_says_nothing_ends(tmp_path: Path) -> None:
    """Who listens and never speaks is waited for as long as was asked for, and no longer."""
    with socket.socket(socket.AF_UNIX) as mute:
        mute.bind(str(tmp_path / ".s.PGSQL.5432"))
        mute.listen()
        question = Question(
            Address(Dsn.of(host=str(tmp_path), dbname="x", user="x"), "DATABASE_URL"), "asking", "SELECT 1", timeout=1
        )
        with pytest.raises(psycopg2.OperationalError, match="did not answer in time"):
            question.answer()


def test_a_question_taken_back_leaves_nobody_behind(database: Dsn, other_session: Connection) -> None:
    """Whether it was still on its way or waits for an answer, its session ends."""
    with other_session.cursor() as cursor:
        cursor.execute("CREATE TABLE thing (id int)")
        other_session.commit()
        cursor.execute("LOCK TABLE thing")
    asking = "SELECT wait_event_type FROM pg_stat_activity WHERE application_name = 'railhead asking @ localhost' AND datname = current_database()"
    waiting = Question(Address(database, "DATABASE_URL"), "asking", "SELECT * FROM thing", timeout=60)
    eventually(lambda: rows_of(database, asking) == [("Lock",)], what="it waits")
    Question(Address(database, "DATABASE_URL"), "asking", "SELECT * FROM thing", timeout=60).close()
    waiting.close()
    with pytest.raises(psycopg2.Error):
        waiting.answer()
    other_session.rollback()
    eventually(lambda: not rows_of(database, asking))


def test_a_question_that_postgresql_refuses_raises(database: Dsn) -> None:
    """A database, a role or a table that is not there is an error of the driver's, as on any connection."""
    with pytest.raises(psycopg2.errors.UndefinedTable):
        Question(Address(database, "DATABASE_URL"), "asking", "SELECT * FROM absent", timeout=3).answer()
    with pytest.raises(psycopg2.OperationalError, match="does not exist"):
        Question(Address(database.with_(dbname="absent"), "DATABASE_URL"), "asking", "SELECT 1", timeout=3).answer()


@pytest.mark.parametrize(
    ("change", "slug"),
    [
        ({"dbname": "nobody_made"}, "no-such-database"),
        ({"user": "nobody_knows"}, "no-such-role"),
        ({"sslmode": "sideways"}, "settings"),
    ],
)
def test_what_waiting_cannot_mend_is_told_at_once(database: Dsn, change: dict[str, str], slug: str) -> None:
    """With a minute to wait, a missing database, a missing role and a wrong parameter end the wait before it begins."""
    began = time.monotonic()
    with pytest.raises(Stop) as caught:
        reach(Address(database.with_(**change), "DATABASE_URL"), "test", Allowance(60, "MIGRATE_WAIT_DATABASE"))
    assert caught.value.slug == slug
    assert "waited" not in dict(caught.value.facts)
    assert time.monotonic() - began < 10


def test_server_that_is_not_there_is_waited_for_as_long_as_allowed(tmp_path: Path) -> None:
    """No socket there is a passing failure; the message says how long was waited and which setting said so."""
    nowhere = Dsn.of(host=str(tmp_path), user="u", password="secret", dbname="d")
    began = time.monotonic()
    with pytest.raises(Stop) as caught:
        reach(Address(nowhere, "DATABASE_URL"), "test", Allowance(0.5, "MIGRATE_WAIT_DATABASE"))
    assert time.monotonic() - began >= 0.5
    assert caught.value.slug == "unreachable"
    assert dict(caught.value.facts)["waited"] == "0 s (MIGRATE_WAIT_DATABASE)"
    assert "secret" not in caught.value.render()


def test_ended_session_is_a_lost_connection(database: Dsn, connection: Connection) -> None:
    """Whether the server says so or the socket does: what was not committed may be tried again."""
    rows_of(database, "SELECT pg_terminate_backend(%s, 5000)", [connection.info.backend_pid])
    first = said_by(connection, "SELECT 1")
    second = said_by(connection, "SELECT 1")
    assert failures.is_lost(first)
    assert failures.is_lost(second)


@pytest.mark.parametrize("name", ["certificate", "server does not support SSL", "no such user"])
def test_name_with_the_words_of_a_permanent_failure_is_none(tmp_path: Path, name: str) -> None:
    """What a host or a folder is called says nothing about whether waiting would help."""
    error = refusal(Dsn.of(host=str(tmp_path / name), user="u", dbname="d"))
    assert name in str(error)
    assert failures.is_lost(error)


def test_refused_socket_is_lost_and_wrong_name_is_not(database: Dsn, tmp_path: Path) -> None:
    """A failed connection carries no SQLSTATE, so its words decide."""
    assert failures.is_lost(refusal(database.with_(host=str(tmp_path))))
    assert not failures.is_lost(refusal(database.with_(dbname="nobody_made")))


@pytest.mark.parametrize("statement", ["SELECT 1 / 0", "SELECT * FROM nothing", "SYNTAX"])
def test_mistakes_in_sql_are_never_tried_again(connection: Connection, statement: str) -> None:
    """They are neither a lost connection nor a missed lock."""
    error = said_by(connection, statement)
    assert not failures.is_lost(error)
    assert not failures.is_lock_miss(error)


def test_lock_timeout_is_a_missed_lock(connection: Connection, other_session: Connection) -> None:
    """It may be tried again, as it is nobody's mistake."""
    with other_session.cursor() as cursor:
        cursor.execute("CREATE TABLE thing (id int)")
        other_session.commit()
        cursor.execute("SELECT FROM thing")
    with connection.cursor() as impatient:
        impatient.execute("SET lock_timeout = 20")
    assert failures.is_lock_miss(said_by(connection, "ALTER TABLE thing ADD COLUMN b int"))


def test_two_connections_know_whether_they_are_in_the_same_database(database: Dsn, server: Dsn) -> None:
    """The same database of the same server is one place, another database is not."""
    here, again, there = (connect(dsn, "test") for dsn in (database, database, server))
    try:
        assert database_identity(here) == database_identity(again)
        assert database_identity(here) != database_identity(there)
    finally:
        for one in (here, again, there):
            one.close()
