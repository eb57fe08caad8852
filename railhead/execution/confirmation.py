"""Has the synchronous replica what this run has committed?

Revisions are committed here without waiting for it: a COMMIT that waits holds every lock, no timeout ends it, and a client that goes away
does not either. The wait comes afterwards, in one commit of nothing that holds no lock: once that is confirmed, all before it is.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

import psycopg2
from psycopg2.extensions import connection as Connection

from railhead.dsn import Address
from railhead.execution.headway import Headway
from railhead.logs import log
from railhead.postgres import interrupts
from railhead.postgres.connection import fetch_value
from railhead.postgres.interrupts import Interrupted
from railhead.postgres.question import Question
from railhead.project import VersionTable

ASKED_WITHIN = 0.4
"""Seconds for an answer to who is about to be ended by a signal."""

WITHIN = 10.0
"""Seconds that a replica gets to confirm: it may have to catch up with a table that was rewritten."""


def wait(connection: Connection, done: Sequence[str], seconds: float) -> None:
    """Return when the synchronous replica has confirmed what was done, or say that it has not in `seconds`. Changes nothing.

    Raises psycopg2.Error, and Interrupted, which says what is committed.
    """
    names = fetch_value(connection, "SELECT current_setting('synchronous_standby_names')")
    if not names:
        return
    given_up = threading.Event()

    def give_up() -> None:
        given_up.set()
        connection.cancel()

    timer = threading.Timer(seconds, give_up)
    timer.start()
    try:
        with interrupts.limit(connection, seconds + interrupts.ANSWER_TIMEOUT), connection.cursor() as cursor:
            cursor.execute("SELECT pg_logical_emit_message(true, 'railhead', 'confirmed?')")
        interrupts.assert_undisturbed()
    except interrupts.Interrupted as interrupted:
        interrupted.unconfirmed = tuple(done)
        raise
    except psycopg2.errors.QueryCanceled:
        given_up.set()  # just before it was committed: nothing is known of the replica
    finally:
        timer.cancel()
        timer.join()
    if given_up.is_set():
        log.warning(
            "committed here, not yet confirmed by the synchronous replica within %g s: %s; every COMMIT of the application waits for it, "
            "too (synchronous_standby_names = %s)",
            seconds,
            ", ".join(done),
            names,
        )


def tell(interrupted: Interrupted, headway: Headway, address: Address, table: VersionTable) -> None:
    """Let a signal say which revisions are committed although it came before their COMMIT was confirmed. Read-only.

    The wait for the replica is over by now: it ends when it is cancelled, and what it waited for is there. Who watches the session may not
    have seen it begin.
    """
    interrupted.unconfirmed = tuple(headway.done)
    if not headway.under_way or headway.source is None:
        return
    sql = f"SELECT version_num FROM {table.sql}"
    try:
        rows = Question(address, "look", sql, timeout=ASKED_WITHIN).answer()
    except psycopg2.Error:
        interrupted.doubtful = headway.under_way
        return
    if {str(version) for (version,) in rows} != headway.source:
        interrupted.unconfirmed = (*headway.done, *headway.under_way)
