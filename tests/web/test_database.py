from __future__ import annotations

import sys
import time

import psycopg2
import pytest
from psycopg2.extensions import connection as Connection
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from app import database as ours
from railhead.postgres import interrupts
from railhead.settings import Settings
from tests.forked_tree import Workshop

LONG = "SET client_connection_check_interval = 50; SELECT pg_sleep(30)"

IN_A_CHILD = """
import os, psycopg2, sys
from railhead.postgres import interrupts as watchdog

def cut():
    connection = psycopg2.connect(sys.argv[1])
    with watchdog.guard(connection, 0.2), connection.cursor() as cursor:
        cursor.execute("SET client_connection_check_interval = 50; SELECT pg_sleep(30)")

try:
    cut()
except psycopg2.OperationalError:
    child = os.fork()
    if child:
        sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    try:
        cut()
    except psycopg2.OperationalError:
        os._exit(7)
"""
"""Ends with 7 when both, the process and its child, have lost patience."""


def test_guard_needs_nobody_who_watches(connection: Connection) -> None:
    """In a worker, which keeps gunicorn's signal handlers, an answer that does not come is a lost connection."""
    began = time.monotonic()
    with (
        pytest.raises(psycopg2.OperationalError),
        interrupts.guard(connection, 0.2),
        connection.cursor() as cursor,
    ):
        cursor.execute(LONG)
    assert 0.2 <= time.monotonic() - began < 10


def test_guard_ends_with_its_block(connection: Connection) -> None:
    """Who waits between two questions, as in `flask shell`, loses nothing."""
    with connection.cursor() as cursor:
        with interrupts.guard(connection, 0.1):
            cursor.execute("SELECT 1")
        cursor.execute("SELECT pg_sleep(0.3)")


def test_guard_holds_after_a_fork(workshop: Workshop) -> None:
    """A worker that gunicorn forks has a guard of its own, though the master had one too."""
    assert workshop.database is not None
    ended = workshop.run(sys.executable, "-c", IN_A_CHILD, workshop.database[:])
    assert ended.returncode == 7, ended.stderr


def test_our_connections_are_impatient(migrated: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """A statement that outlives our patience fails as a lost connection, and the next one has a new connection."""
    monkeypatch.setattr(ours, "PATIENCE", 0.3)
    engine = ours.make_engine(migrated)
    with engine.connect() as connection, pytest.raises(OperationalError) as caught:
        connection.execute(text(LONG))
    assert caught.value.connection_invalidated
    assert ours.is_trouble(caught.value)
    with engine.connect() as connection:
        assert connection.execute(text("SELECT 1")).scalar() == 1
    engine.dispose()
