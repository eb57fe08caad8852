"""Who is in the way has a name."""

from __future__ import annotations

import psycopg2
import pytest
from psycopg2.extensions import connection as Connection

from railhead.dsn import Dsn
from railhead.postgres import blockers
from railhead.postgres.blockers import Blocker
from tests.databases import rows_of
from tests.forked_tree import Workshop
from tests.processes import eventually


def waiter(database: Dsn, connection: Connection) -> tuple[Connection, list[Blocker]]:
    """Return a session that waits for the table `thing`, and who is in its way."""
    waiting = psycopg2.connect(database, async_=True)
    while waiting.poll() != psycopg2.extensions.POLL_OK:
        pass
    waiting.cursor().execute("ALTER TABLE thing ADD COLUMN a int")
    eventually(lambda: blockers.blockers_of(connection, waiting.info.backend_pid))
    return waiting, blockers.blockers_of(connection, waiting.info.backend_pid)


def test_blocker_has_a_name(database: Dsn, connection: Connection, other_session: Connection) -> None:
    """Who waits for a table can be told who is in the way: pid, application, state, age, first words of the query."""
    with other_session.cursor() as cursor:
        cursor.execute("SET application_name = report; CREATE TABLE thing (id int)")
        other_session.commit()
        cursor.execute("SELECT *\n  FROM thing")
    waiting, [who] = waiter(database, connection)
    assert (who.pid, who.application) == (other_session.info.backend_pid, "report")
    assert str(who) == f"pid {who.pid}, report, idle in transaction for {who.age:.0f} s: SELECT * FROM thing"
    waiting.close()


def test_prepared_transaction_in_the_way_has_a_name(
    database: Dsn, connection: Connection, other_session: Connection
) -> None:
    """It has no session and no pid; it is named as it was prepared, with the statement that ends it."""
    if rows_of(database, "SHOW max_prepared_transactions") == [("0",)]:
        pytest.skip("this server allows no prepared transactions")
    name = f"it's {database.parameters()['dbname']}"
    rows_of(database, "CREATE TABLE thing (id int); CREATE TABLE other (id int)")
    with other_session.cursor() as preparing:
        preparing.execute("INSERT INTO thing VALUES (1); PREPARE TRANSACTION %s", (name,))
    waiting, [who] = waiter(database, connection)
    assert str(who) == f"prepared transaction {name}, for {who.age:.0f} s"
    rows_of(database, who.end)
    waiting.close()


@pytest.mark.parametrize("command", ["status", "log", "plan", "upgrade +1"])
def test_who_keeps_the_ledger_for_himself_is_named(at_head: Workshop, other_session: Connection, command: str) -> None:
    """Every command ends within a second or two, says which table lock it did not get, and loses no connection over it."""
    with other_session.cursor() as cursor:
        cursor.execute("LOCK migration_ledger")
    ended = at_head.migrate(*command.split(), MIGRATE_WAIT_LOCK="1s")
    told = ended.stdout + ended.stderr
    assert (ended.returncode, "[table-busy]" in told) == (4, True), told
    assert "(SQLSTATE 55P03)" in told
