"""Do the safe verbs keep their promise: no stopped traffic, and right when run again after a crash at any point?"""

from __future__ import annotations

import io
import logging
import re
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import sqlalchemy as sa
from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext
from psycopg2.extensions import connection as Connection

from railhead.dsn import Dsn
from railhead.errors import Stop
from railhead.operations.autocommit import Table, Terms, autocommit
from railhead.operations.backfill import Backfill
from railhead.operations.names import REPEATABLE
from railhead.postgres.retry_budget import RetryBudget
from tests.databases import rows_of
from tests.processes import eventually
from tests.verbs import (
    INDEX_ON_PARTITIONS,
    INDEXES,
    NOT_NULL,
    PARTITIONED,
    REPLACED,
    TABLES,
    VERBS,
    Call,
    answer,
    is_ended,
    migrating,
    run,
)


@pytest.mark.parametrize("name", [*VERBS, *REPLACED])
def test_verb_does_what_it_says_and_does_it_again(database: Dsn, name: str) -> None:
    """A verb that runs a second time finds its work done and changes nothing."""
    verb = {**VERBS, **REPLACED}[name]
    rows_of(database, TABLES + verb.before)
    for _ in range(2):
        run(database, verb.call)
        assert answer(database, verb) == verb.answer


@pytest.mark.parametrize("name", [*VERBS, *REPLACED])
def test_verb_writes_sql_that_can_be_run_twice(connection: Connection, database: Dsn, name: str) -> None:
    """`--sql` gives a script that does the same, and does no harm when it is run again."""
    verb = {**VERBS, **REPLACED}[name]
    rows_of(database, TABLES + verb.before)
    for _ in range(2):
        for statement in script(verb.call):
            with connection.cursor() as cursor:
                cursor.execute(statement)
        assert answer(database, verb) == verb.answer


def test_every_verb_is_tried_here() -> None:
    """No verb is promised to be repeatable without being repeated above."""
    assert set(VERBS) == REPEATABLE


def test_invalid_index_left_by_a_crash_is_built_again(database: Dsn, other_session: Connection) -> None:
    """A session that dies in the middle of CREATE INDEX CONCURRENTLY leaves an INVALID index; the next run replaces it."""
    verb = VERBS["create_index_concurrently"]
    rows_of(database, TABLES)
    with other_session.cursor() as cursor:
        cursor.execute('INSERT INTO shop."Item" VALUES (0)')  # CONCURRENTLY waits for this transaction to end
        with in_background(database, verb.call) as failure:
            pid = eventually_waits(database, "CREATE UNIQUE INDEX CONCURRENTLY%")
            rows_of(database, "SELECT pg_terminate_backend(%s, 5000)", [pid])
        other_session.rollback()
    assert isinstance(failure[0], sa.exc.OperationalError)
    assert [row.endswith("INVALID") for row in answer(database, verb)] == [True]

    run(database, verb.call)

    assert answer(database, verb) == verb.answer


def test_index_that_cannot_be_unique_leaves_nothing_behind(database: Dsn) -> None:
    """Duplicates fail the verb with PostgreSQL's error, and the INVALID index, which would refuse writes, is dropped."""
    rows_of(database, TABLES)
    with pytest.raises(sa.exc.IntegrityError, match="could not create unique index"):
        run(database, lambda op: op.create_unique_constraint_concurrently("uq_price", "Item", ["price"], schema="shop"))
    assert rows_of(database, INDEXES) == []


@pytest.mark.parametrize(
    ("definition", "is_equal"),
    [
        ('INDEX "ix_Item_price" ON shop."Item" (price, lower("Name")) WHERE price > 1', True),
        ('INDEX "ix_Item_price" ON shop."Item" (price, lower("Name")) WHERE price > 2', False),
        ('INDEX "ix_Item_price" ON shop."Item" (price)', False),
        ('UNIQUE INDEX "ix_Item_price" ON shop."Item" (price, lower("Name")) WHERE price > 1', False),
        ('INDEX "ix_Item_price" ON shop."Item" (price DESC, lower("Name")) WHERE price > 1', False),
    ],
)
def test_index_of_the_same_name_is_kept_only_when_it_is_equal(database: Dsn, definition: str, is_equal: bool) -> None:
    """An equal index is what was wanted; another one of that name stops the run and says what is there."""
    rows_of(database, TABLES + 'CREATE UNIQUE INDEX other ON shop."Item" (id, price); CREATE ' + definition)

    def call(op: Operations) -> None:
        op.create_index_concurrently(
            "ix_Item_price", "Item", ["price", sa.text('lower("Name")')], schema="shop", postgresql_where="price > 1"
        )

    if is_equal:
        run(database, call)
    else:
        with pytest.raises(Stop, match="there is another index named ix_Item_price") as stopped:
            run(database, call)
        assert stopped.value.slug == "index-differs"
    assert len(rows_of(database, INDEXES)) == 2


def test_index_of_another_table_with_the_same_name_is_never_dropped(database: Dsn) -> None:
    """When the name is taken by another table's index, the verb fails and that index stays."""
    rows_of(database, TABLES + 'CREATE INDEX taken ON shop."Maker" (name)')
    with pytest.raises(sa.exc.ProgrammingError, match='relation "taken" already exists'):
        run(database, lambda op: op.create_index_concurrently("taken", "Item", ["price"], schema="shop"))
    assert rows_of(database, "SELECT indisvalid FROM pg_index WHERE indexrelid = 'shop.taken'::regclass") == [(True,)]


def test_null_in_a_row_fails_set_not_null_and_leaves_nothing_behind(database: Dsn) -> None:
    """A check that stayed behind would refuse the writes of the release that still runs."""
    rows_of(database, TABLES + 'UPDATE shop."Item" SET "Name" = NULL WHERE id = 7')
    with pytest.raises(sa.exc.IntegrityError, match='"Name_is_not_null" of relation "Item" is violated by some row'):
        run(database, lambda op: op.set_not_null("Item", "Name", schema="shop"))
    assert rows_of(database, NOT_NULL) == []


def test_set_not_null_leaves_a_rule_of_the_same_name_alone(database: Dsn) -> None:
    """A constraint of somebody's own that happens to be called as the verb's check stays; the verb's own leftover goes."""
    theirs = 'ALTER TABLE shop."Item" ADD CONSTRAINT "Name_is_not_null" CHECK ("Name" IS NOT NULL AND price > -1)'
    left = 'ALTER TABLE shop."Item" ADD CONSTRAINT "Name_is_not_null2" CHECK ("Name" IS NOT NULL) NOT VALID'
    rows_of(database, f"{TABLES}{theirs}; {left}")
    for _ in range(2):
        run(database, VERBS["set_not_null"].call)
        assert [str(name) for (name,) in rows_of(database, NOT_NULL)] == ["Name", "Name_is_not_null is left"]


def test_backfill_as_sql_takes_any_name(connection: Connection, database: Dsn) -> None:
    """A percent sign in a table's name means nothing to the script."""
    rows_of(database, 'CREATE TABLE "100%" (n int); INSERT INTO "100%" VALUES (1), (2)')
    with connection.cursor() as cursor:
        for statement in script(lambda op: op.backfill("100%", "n = 7", '"100%".n <> 7')):
            cursor.execute(statement)
    assert rows_of(database, 'SELECT n FROM "100%"') == [(7,), (7,)]


def test_blocking_statement_gives_way_and_tries_again(database: Dsn, other_session: Connection) -> None:
    """A verb that cannot have its lock at once steps back, lets the queue behind it go, and succeeds later."""
    rows_of(database, TABLES)
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 3:
            other_session.rollback()

    with other_session.cursor() as cursor:
        cursor.execute('LOCK TABLE shop."Item" IN ACCESS SHARE MODE')
    run(database, VERBS["set_not_null"].call, terms=Terms(RetryBudget(30, 0.9, sleep=sleep)))
    assert len(slept) == 3
    assert answer(database, VERBS["set_not_null"]) == ["Name"]


@pytest.mark.parametrize("name", ["validate_constraint", "set_not_null", "drop_constraint_if_exists"])
def test_verb_stands_in_line_behind_maintenance(database: Dsn, other_session: Connection, name: str) -> None:
    """For who maintains the table a verb waits beyond its short lock timeout: traffic goes on meanwhile, nothing is missed."""
    verb = VERBS[name]
    rows_of(database, TABLES + verb.before)
    budget = RetryBudget(30, 0.05)
    with other_session.cursor() as cursor:
        cursor.execute('LOCK TABLE shop."Item" IN SHARE UPDATE EXCLUSIVE MODE')
    with in_background(database, verb.call, terms=Terms(budget)) as failure:
        eventually_waits(database, "LOCK TABLE%", milliseconds=200)
        rows_of(database, 'UPDATE shop."Item" SET price = 1 WHERE id = 1')
        other_session.rollback()
    assert (failure, budget.misses) == ([], 0)
    assert answer(database, verb) == verb.answer


def test_who_may_only_refer_to_a_table_need_not_lock_it(database: Dsn) -> None:
    """A foreign key to a table of another role takes the right to refer to it, and no more."""
    role = f"railhead_test_{secrets.token_hex(4)}"
    rows_of(
        database,
        TABLES + f"CREATE ROLE {role}; GRANT USAGE, CREATE ON SCHEMA shop TO {role};"
        f' ALTER TABLE shop."Item" OWNER TO {role}; GRANT REFERENCES ON shop."Maker" TO {role}',
    )
    verb = VERBS["create_foreign_key_not_valid"]
    try:
        with in_background(database, verb.call, session=f"SET ROLE {role}") as failure:
            pass
        assert failure == []
        assert answer(database, verb) == verb.answer
    finally:
        rows_of(database, f"DROP OWNED BY {role} CASCADE; DROP ROLE {role}")


def test_patience_ends_and_nothing_is_left(database: Dsn, other_session: Connection) -> None:
    """When the budget of waiting is spent PostgreSQL's lock timeout is raised, and the table is as it was."""
    rows_of(database, TABLES)
    with other_session.cursor() as cursor:
        cursor.execute('LOCK TABLE shop."Item" IN ACCESS SHARE MODE')
    with pytest.raises(sa.exc.OperationalError, match="lock timeout"):
        run(database, VERBS["set_not_null"].call, terms=Terms(RetryBudget(0.3, 0.9)))
    other_session.rollback()
    assert rows_of(database, NOT_NULL) == []


def test_concurrent_build_waits_without_lock_timeout_and_gives_the_setting_back(
    database: Dsn, other_session: Connection
) -> None:
    """CREATE INDEX CONCURRENTLY outlives any lock timeout, and the next statement has the session's own again."""
    rows_of(database, TABLES)
    seen: list[str] = []

    def call(op: Operations) -> None:
        VERBS["create_index_concurrently"].call(op)
        seen.append(str(op.get_bind().scalar(sa.text("SHOW lock_timeout"))))

    with other_session.cursor() as cursor:
        cursor.execute('INSERT INTO shop."Item" VALUES (0)')
        with in_background(database, call, session="SET lock_timeout = '70ms'") as failure:
            eventually_waits(database, "CREATE UNIQUE INDEX CONCURRENTLY%", milliseconds=150)
            other_session.rollback()
    assert failure == []
    assert seen == ["70ms"]


def test_behind_a_pooler_no_setting_reaches_other_clients(database: Dsn) -> None:
    """With `pooled` the verbs set nothing for the session, only within their own transactions."""
    rows_of(database, TABLES)
    statements: list[str] = []
    for verb in VERBS.values():
        rows_of(database, TABLES + verb.before)
        run(database, verb.call, terms=Terms(pooled=True), seen=statements)
    assert len(statements) > 50
    assert [one for one in statements if one.startswith("SET ") and not one.startswith("SET LOCAL")] == []


@pytest.mark.parametrize("name", VERBS)
def test_nothing_is_committed_when_the_migration_lock_is_lost(database: Dsn, name: str) -> None:
    """The fence is asked before anything is kept: when it raises, the database is as it was."""
    verb = VERBS[name]
    rows_of(database, TABLES + verb.before)
    before = answer(database, verb)

    class LockLost(Exception):
        pass

    def fence() -> None:
        raise LockLost

    with pytest.raises(LockLost):
        run(database, verb.call, terms=Terms(fence=fence))
    assert answer(database, verb) == before


@pytest.mark.parametrize("options", [{"batch": 0}, {"batch": -5}, {"throttle": -1.0}])
def test_backfill_that_would_write_nothing_is_refused(database: Dsn, options: dict[str, float]) -> None:
    """It would go on for ever."""
    with pytest.raises(ValueError, match="at least 1 row"):
        run(database, lambda op: op.backfill("Item", "price = 9", "price < 9", schema="shop", **options))


def test_backfill_of_an_empty_table_finds_what_postgresql_refuses(database: Dsn) -> None:
    """Else the first row would find it, on the first database that has one."""
    rows_of(database, "CREATE TABLE event (note text)")
    with pytest.raises(sa.exc.ProgrammingError, match='column "missing" does not exist'):
        run(database, lambda op: op.backfill("event", "note = missing", "note IS NULL"))


def test_backfill_locks_one_batch_at_a_time_and_says_how_far_it_is(
    database: Dsn, caplog: pytest.LogCaptureFixture
) -> None:
    """Every transaction of a backfill writes at most `batch` rows; in the end the log has the number and the rate."""
    rows_of(database, TABLES)
    caplog.set_level(logging.INFO, "railhead")
    run(database, lambda op: op.backfill("Item", "price = 9", "price < 9", batch=60, schema="shop"))
    sizes = rows_of(database, 'SELECT count(*) FROM shop."Item" GROUP BY xmin::text')
    assert sorted(int(str(size)) for (size,) in sizes) == [20, *[60] * 8]
    assert "backfill of Item: 500 rows in" in caplog.text


def test_backfill_rests_after_each_batch(database: Dsn, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nobody waits for its end, it rests for as long as its terms say beside the time of the batch; else not at all."""
    rests: list[float] = []
    monkeypatch.setattr("railhead.operations.backfill.time.sleep", rests.append)
    for rest in (0.0, 3.0):
        rows_of(database, TABLES)
        rests.clear()
        call = lambda op: op.backfill("Item", "price = 9", "price < 9", batch=100, schema="shop")  # noqa: E731
        run(database, call, terms=Terms(rest=rest))
        assert len(rests) >= 5
        assert (min(rests) > 0) == (rest > 0)


class Screen(io.StringIO):
    """A terminal that keeps what it is shown."""

    def isatty(self) -> bool:
        """Return True."""
        return True


@pytest.mark.parametrize("screen", [None, Screen()], ids=["log", "terminal"])
def test_backfill_says_how_long_it_will_take(
    database: Dsn, caplog: pytest.LogCaptureFixture, screen: Screen | None
) -> None:
    """On its way it tells rate, share of all partitions and time left: line by line in a log, in one line on a terminal."""
    caplog.set_level(logging.INFO, "railhead")
    rows_of(
        database,
        "CREATE TABLE event (id int, note text) PARTITION BY HASH (id);"
        "CREATE TABLE event_1 PARTITION OF event FOR VALUES WITH (MODULUS 2, REMAINDER 0);"
        "CREATE TABLE event_2 PARTITION OF event FOR VALUES WITH (MODULUS 2, REMAINDER 1);"
        "INSERT INTO event SELECT i, repeat('x', 500) FROM generate_series(1, 4000) i",
    )

    def call(op: Operations) -> None:
        with autocommit(op) as session:
            table = Table("event", None)
            work = Backfill(session, table, "note = 'y'", "note <> 'y'", 500, 0.0, tell_every=0, screen=screen)
            work.run()

    run(database, call)
    told = re.findall(
        r"backfill of event: \d+ rows in [\d.]+ s, \d+ rows/s, (\d+) %, \d+ s left",
        screen.getvalue() if screen else caplog.text,
    )
    shares = [int(share) for share in told]
    assert len(shares) > 5
    assert shares == sorted(shares)
    assert shares[-1] == 100
    assert "s left" not in caplog.text or screen is None
    assert screen is None or screen.getvalue().endswith("\r\033[K")


def test_backfill_goes_on_where_it_was_killed(database: Dsn) -> None:
    """Rows that were done before the crash are not written again."""
    rows_of(database, TABLES)
    call = lambda op: op.backfill("Item", "price = 9", "price < 9", batch=100, schema="shop")  # noqa: E731
    assert is_ended(database, call, 14)
    done = set(rows_of(database, 'SELECT id, xmin::text FROM shop."Item" WHERE price = 9'))
    assert 0 < len(done) < 500
    run(database, call)
    assert done < set(rows_of(database, 'SELECT id, xmin::text FROM shop."Item" WHERE price = 9'))


def test_partitions_are_indexed_one_by_one(database: Dsn) -> None:
    """Each concurrently; together they are the table's index, which the verb finds when it runs again, and drops."""
    verb = INDEX_ON_PARTITIONS
    rows_of(database, PARTITIONED)
    seen: list[str] = []
    run(database, verb.call, seen)
    assert answer(database, verb) == verb.answer
    built = [one for one in seen if one.startswith("CREATE INDEX")]
    assert [one for one in built if "CONCURRENTLY" not in one and " ON ONLY " not in one] == []
    run(database, verb.call)
    rows_of(database, """CREATE TABLE shop."Event 3" PARTITION OF shop."Event 2" FOR VALUES IN (3)""")
    assert answer(database, verb) == [*verb.answer[:3], 'shop."Event 3", part', verb.answer[3]]
    with pytest.raises(Stop, match="there is another index named ix_Event_id"):
        run(database, lambda op: op.create_index_concurrently("ix_Event_id", "Event", ["id"], schema="shop"))
    for _ in range(2):
        run(database, lambda op: op.drop_index_concurrently("ix_Event_id", "Event", schema="shop"))
    assert answer(database, verb) == []


def test_partitions_are_indexed_or_nothing_is(database: Dsn) -> None:
    """Where rows of one partition are in the way, no part of the index stays."""
    rows_of(database, f"{PARTITIONED} INSERT INTO shop.\"Event\" VALUES (2, 1, 'twice')")
    with pytest.raises(sa.exc.IntegrityError, match="could not create unique index"):
        run(
            database,
            lambda op: op.create_index_concurrently("ix_e", "Event", ["kind", "id"], schema="shop", unique=True),
        )
    assert answer(database, INDEX_ON_PARTITIONS) == []


def test_backfill_reaches_every_partition(database: Dsn) -> None:
    """A partitioned table is walked partition by partition."""
    rows_of(
        database,
        "CREATE TABLE event (id int, kind int NOT NULL, note text) PARTITION BY LIST (kind);"
        "CREATE TABLE event_1 PARTITION OF event FOR VALUES IN (1);"
        "CREATE TABLE event_2 PARTITION OF event FOR VALUES IN (2);"
        "INSERT INTO event SELECT i, i % 2 + 1 FROM generate_series(1, 300) i",
    )
    run(database, lambda op: op.backfill("event", "note = 'x'", "event.note IS NULL", batch=40))
    assert rows_of(database, "SELECT tableoid::regclass::text, note, count(*) FROM event GROUP BY 1, 2 ORDER BY 1") == [
        ("event_1", "x", 150),
        ("event_2", "x", 150),
    ]


def test_backfill_meets_rows_that_change_under_its_hands(database: Dsn, other_session: Connection) -> None:
    """A row that somebody holds is waited for and done on the next pass, in the version that was left there."""
    rows_of(database, TABLES)
    with other_session.cursor() as cursor:
        cursor.execute('UPDATE shop."Item" SET "Name" = \'changed\' WHERE id = 250')

    def sleep(_seconds: float) -> None:
        other_session.commit()

    run(
        database,
        lambda op: op.backfill("Item", "price = 9", "price < 9", batch=100, schema="shop"),
        terms=Terms(RetryBudget(30, 0.9, sleep=sleep)),
    )
    assert rows_of(database, 'SELECT DISTINCT price FROM shop."Item"') == [(9,)]
    assert rows_of(database, 'SELECT "Name" FROM shop."Item" WHERE id = 250') == [("changed",)]


def test_backfill_that_would_never_end_stops_before_it_writes(database: Dsn) -> None:
    """A condition that still holds for rows just written is refused: it could not tell what is done after a crash."""
    rows_of(database, TABLES)
    with pytest.raises(Stop, match="would never end") as stopped:
        run(database, lambda op: op.backfill("Item", "price = price + 1", "price < 100", schema="shop"))
    assert stopped.value.slug == "backfill-endless"
    assert rows_of(database, 'SELECT max(price) FROM shop."Item"') == [(6,)]


@contextmanager
def in_background(dsn: Dsn, call: Call, session: str = "", terms: Terms | None = None) -> Iterator[list[BaseException]]:
    """Run one verb in a thread; what it raised is in the list when the block has ended."""
    failure: list[BaseException] = []

    def work() -> None:
        try:
            with migrating(dsn, session, terms) as (_, op):
                call(op)
        except sa.exc.SQLAlchemyError as error:
            failure.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield failure
    finally:
        thread.join(20)


def eventually_waits(dsn: Dsn, like: str, milliseconds: int = 0) -> int:
    """Return the pid of the session that waits in a statement like that, once it has for so long."""
    found: list[tuple[object, ...]] = []

    def waits() -> bool:
        found[:] = rows_of(
            dsn,
            "SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE %s AND datname ="
            " current_database() AND clock_timestamp() > query_start + make_interval(secs => %s / 1000.0)",
            [like, milliseconds],
        )
        return bool(found)

    eventually(waits)
    return int(str(found[0][0]))


def script(call: Call) -> list[str]:
    """Return the statements that `--sql` writes."""
    buffer = io.StringIO()
    context = MigrationContext.configure(
        dialect_name="postgresql",
        dialect_opts={"paramstyle": "named"},
        opts={"as_sql": True, "output_buffer": buffer, "transaction_per_migration": True},
    )
    with context.begin_transaction(_per_migration=True):
        call(Operations(context))
    return [statement for statement in buffer.getvalue().split(";\n\n") if statement.strip()]
