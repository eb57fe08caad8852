"""One migrator at a time, and it knows when it is no longer the one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice

import pytest
from psycopg2.extensions import connection as Connection

from railhead.dsn import Address, Dsn
from railhead.postgres import advisory_lock
from railhead.postgres.advisory_lock import Lock, LockLost
from railhead.postgres.connection import connect
from tests.databases import Databases, rows_of
from tests.processes import eventually

Make = Callable[..., Lock]


@pytest.fixture
def make(database: Dsn) -> Iterator[Make]:
    """Make a lock on a connection of its own, on `database` unless another is named."""
    made: list[Lock] = []

    def make(dsn: Dsn = database, name: str = "railhead upgrade @ here") -> Lock:
        made.append(Lock(connect(dsn, name)))
        return made[-1]

    yield make
    for one in made:
        one.release()


def terminate(dsn: Dsn, lock: Lock) -> None:
    """End the session of a lock, as an administrator or a pooler might."""
    rows_of(dsn, "SELECT pg_terminate_backend(%s, 5000)", [lock.pid])
    eventually(lambda: not rows_of(dsn, "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND pid = %s", [lock.pid]))


def test_second_one_does_not_get_it_and_does_not_wait(make: Make) -> None:
    """While one holds the lock another is told so at once; released, it is free."""
    first, second = make(), make()
    assert first.try_take()
    assert not second.try_take()
    first.release()
    assert second.try_take()


def test_each_database_has_a_lock_of_its_own(make: Make, databases: Databases) -> None:
    """Two deploys to two databases of one server do not wait for each other."""
    assert make().try_take()
    assert make(databases.new()).try_take()


def test_lock_is_free_when_its_session_has_ended(make: Make, database: Dsn) -> None:
    """Nobody has to tidy up after a holder that died."""
    first, second = make(), make()
    assert first.try_take()
    terminate(database, first)
    assert second.try_take()


def test_who_did_not_get_it_leaves_no_transaction_open(make: Make, database: Dsn) -> None:
    """A waiter between two polls holds back neither vacuum nor an index that is built concurrently."""
    first, second = make(), make()
    assert first.try_take()
    assert not second.try_take()
    assert rows_of(database, "SELECT state FROM pg_stat_activity WHERE pid = %s", [second.pid]) == [("idle",)]


def test_holder_does_not_hold_up_an_index_that_is_built_concurrently(make: Make, connection: Connection) -> None:
    """Its open transaction keeps no snapshot, which such a build would wait for."""
    holder = make()
    assert holder.try_take()
    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE thing (id int)")
        cursor.execute("SET statement_timeout = '5s'")
        cursor.execute("CREATE INDEX CONCURRENTLY ON thing (id)")
        cursor.execute("SELECT backend_xmin FROM pg_stat_activity WHERE pid = %s", (holder.pid,))
        assert cursor.fetchone() == (None,)


def test_holder_is_known_by_pid_name_and_age(make: Make, connection: Connection) -> None:
    """Waiters say whom they wait for; when nobody holds the lock there is nobody to name."""
    assert advisory_lock.holder(connection) is None
    held = make(name="railhead upgrade @ web-2")
    assert held.try_take()
    found = advisory_lock.holder(connection)
    assert found is not None
    assert (found.pid, found.application) == (held.pid, "railhead upgrade @ web-2")
    assert 0 <= found.age < 60
    assert str(found) == f"pid {held.pid}, railhead upgrade @ web-2, for {found.age:.0f} s"


def test_timeouts_of_role_and_database_do_not_end_the_lock(make: Make, database: Dsn) -> None:
    """Whoever may be idle for 50 ms only keeps the lock for longer than that."""
    name = database.parameters()["dbname"]
    rows_of(database, f'ALTER DATABASE "{name}" SET idle_in_transaction_session_timeout = 50')
    rows_of(database, f'ALTER DATABASE "{name}" SET statement_timeout = 500')
    held = make()
    assert held.try_take()
    question = "SELECT clock_timestamp() - state_change > interval '200 ms' FROM pg_stat_activity WHERE pid = %s"
    eventually(lambda: rows_of(database, question, [held.pid]) == [(True,)])
    with held.connection.cursor() as cursor:
        cursor.execute("SHOW statement_timeout")
        assert cursor.fetchone() == ("0",)


def test_direct_connection_is_not_taken_for_a_pooled_one(make: Make) -> None:
    """Where libpq's backend answers there is no pooler."""
    held = make()
    assert held.try_take()
    assert not held.pooled


def test_fence_holds_only_while_the_lock_does(make: Make, database: Dsn, connection: Connection) -> None:
    """Seen from the connection that is about to commit, a lock whose session ended is lost, even when another has it now."""
    first, second = make(), make()
    assert first.try_take()
    first.assert_held(connection)
    terminate(database, first)
    assert second.try_take()
    with pytest.raises(LockLost):
        first.assert_held(connection)
    second.assert_held(connection)


def test_brand_is_of_one_transaction_only(make: Make, other_session: Connection) -> None:
    """A transaction that somebody put in the place of ours does not have the mark."""
    held = make()
    assert held.try_take()
    assert not _passes(held, other_session)
    with other_session.cursor() as cursor:
        cursor.execute(held.brand())
        assert _passes(held, other_session)
        cursor.execute("ROLLBACK; BEGIN")
        assert not _passes(held, other_session)


def test_released_twice_or_after_its_end_is_no_error(make: Make, database: Dsn) -> None:
    """Whoever tidies up need not know what happened before."""
    held = make()
    assert held.try_take()
    terminate(database, held)
    held.release()
    held.release()
    assert held.connection.closed


def test_polls_start_often_and_become_rare_out_of_step() -> None:
    """25 ms doubling to a second, each with a jitter that keeps waiters apart."""
    first, second = list(islice(advisory_lock.pauses(), 12)), list(islice(advisory_lock.pauses(), 12))
    assert first != second
    for number, pause in enumerate(first):
        longest = min(0.025 * 2**number, 1.0)
        assert 0.6 * longest <= pause <= longest


def test_name_tells_command_and_replica_and_fits() -> None:
    """PostgreSQL keeps 63 bytes of an application's name."""
    assert Address(Dsn(), "DATABASE_URL", "web-2").session_name("upgrade") == "railhead upgrade @ web-2"
    assert len(Address(Dsn(), "DATABASE_URL", "r" * 100).session_name("upgrade")) == 63


def _passes(lock: Lock, connection: Connection) -> bool:
    condition, values = lock.branded()
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {condition}", values)
        row = cursor.fetchone()
    assert row is not None
    return bool(row[0])
