"""What do we ask of each safe verb? A call, the database before it, and a question that is answered afterwards."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import psycopg2
import sqlalchemy as sa
from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext
from psycopg2.extensions import connection as Connection

from railhead.dsn import Dsn
from railhead.operations import (
    autocommit,
    verbs,  # noqa: F401  registers the verbs
)
from tests.databases import rows_of

Call = Callable[[Operations], object]

TABLES = """
DROP SCHEMA IF EXISTS shop CASCADE;
CREATE SCHEMA shop;
CREATE TABLE shop."Maker" (id int PRIMARY KEY, name text);
INSERT INTO shop."Maker" SELECT i, 'maker ' || i FROM generate_series(1, 10) i;
CREATE TABLE shop."Item" (id int PRIMARY KEY, "Name" text, price int, maker_id int);
INSERT INTO shop."Item" SELECT i, 'it''s 100%: ' || i, i % 7, i % 10 + 1 FROM generate_series(1, 500) i;
"""

INDEXES = """
SELECT replace(pg_get_indexdef(indexrelid), 'CREATE ', '') || CASE WHEN indisvalid THEN '' ELSE ' INVALID' END
FROM pg_index WHERE indrelid = 'shop."Item"'::regclass AND NOT indisprimary
"""
CONSTRAINTS = """
SELECT conname || ': ' || pg_get_constraintdef(oid) FROM pg_constraint
WHERE conrelid = 'shop."Item"'::regclass AND contype NOT IN ('p', 'n') ORDER BY 1
"""
NOT_NULL = """
SELECT attname::text FROM pg_attribute WHERE attrelid = 'shop."Item"'::regclass AND attnum > 1 AND attnotnull
UNION ALL
SELECT conname || ' is left' FROM pg_constraint WHERE conrelid = 'shop."Item"'::regclass AND contype = 'c'
"""


PRIMARY_KEY = """
SELECT conname || ': ' || pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = 'shop."Item"'::regclass AND contype = 'p'
"""

PRICE_INDEX = (
    'UNIQUE INDEX "ix_Item_price" ON shop."Item" USING btree (price, lower("Name")) INCLUDE (id)'
    " WHERE ((\"Name\" ~~ 'it%'::text) AND ((price)::text <> '%'::text))"
)


class Verb(NamedTuple):
    """One call of a verb, what must be there before it, and what a question about the database answers afterwards."""

    call: Call
    question: str
    answer: list[str]
    before: str = "SELECT 1"


PARTITIONED = """
DROP SCHEMA IF EXISTS shop CASCADE;
CREATE SCHEMA shop;
CREATE TABLE shop."Event" (id int, kind int NOT NULL, "Note" text) PARTITION BY LIST (kind);
CREATE TABLE shop."Event 1" PARTITION OF shop."Event" FOR VALUES IN (1);
CREATE TABLE shop."Event 2" PARTITION OF shop."Event" FOR VALUES IN (2, 3) PARTITION BY LIST (kind);
CREATE TABLE shop."Event 2 of a name that is nearly as long as a name may be" PARTITION OF shop."Event 2" FOR VALUES IN (2);
INSERT INTO shop."Event" SELECT i, i % 2 + 1, '100%' FROM generate_series(1, 300) i;
"""
"""A table with partitions, one of which has some itself."""

INDEX_ON_PARTITIONS = Verb(
    lambda op: op.create_index_concurrently(
        "ix_Event_id",
        "Event",
        ["id", "kind", sa.text('lower("Note")')],
        schema="shop",
        postgresql_where=sa.text("\"Note\" LIKE '1%'"),
    ),
    """
    SELECT indrelid::regclass || CASE WHEN indisvalid THEN '' ELSE ' INVALID' END || CASE WHEN relispartition THEN ', part' ELSE '' END
      FROM pg_index JOIN pg_class c ON c.oid = indexrelid WHERE c.relnamespace = 'shop'::regnamespace ORDER BY 1
    """,
    [
        'shop."Event 1", part',
        'shop."Event 2 of a name that is nearly as long as a name may be", part',
        'shop."Event 2", part',
        'shop."Event"',
    ],
    PARTITIONED,
)

VERBS = {
    "create_index_concurrently": Verb(
        lambda op: op.create_index_concurrently(
            "ix_Item_price",
            "Item",
            ["price", sa.text('lower("Name")')],
            schema="shop",
            unique=True,
            postgresql_where=sa.text("\"Name\" LIKE 'it%' AND price::text <> '%'"),
            postgresql_include=["id"],
        ),
        INDEXES,
        [PRICE_INDEX],
    ),
    "drop_index_concurrently": Verb(
        lambda op: op.drop_index_concurrently("ix_old", table_name="Item", schema="shop"),
        INDEXES,
        [],
        'CREATE INDEX ix_old ON shop."Item" (price)',
    ),
    "create_unique_constraint_concurrently": Verb(
        lambda op: op.create_unique_constraint_concurrently(
            "uq_Item_Name", "Item", ["Name"], schema="shop", deferrable=True, initially="DEFERRED"
        ),
        CONSTRAINTS,
        ['uq_Item_Name: UNIQUE ("Name") DEFERRABLE INITIALLY DEFERRED'],
    ),
    "create_primary_key_concurrently": Verb(
        lambda op: op.create_primary_key_concurrently("pk_Item", "Item", ["maker_id", "id"], schema="shop"),
        PRIMARY_KEY,
        ["pk_Item: PRIMARY KEY (maker_id, id)"],
        'ALTER TABLE shop."Item" RENAME CONSTRAINT "Item_pkey" TO "pk_Item"',
    ),
    "create_foreign_key_not_valid": Verb(
        lambda op: op.create_foreign_key_not_valid(
            "fk_Item_Maker",
            "Item",
            "Maker",
            ["maker_id"],
            ["id"],
            source_schema="shop",
            referent_schema="shop",
            ondelete="CASCADE",
        ),
        CONSTRAINTS,
        ['fk_Item_Maker: FOREIGN KEY (maker_id) REFERENCES shop."Maker"(id) ON DELETE CASCADE NOT VALID'],
    ),
    "create_check_constraint_not_valid": Verb(
        lambda op: op.create_check_constraint_not_valid("ck_price", "Item", "price >= 0", schema="shop"),
        CONSTRAINTS,
        ["ck_price: CHECK ((price >= 0)) NOT VALID"],
    ),
    "validate_constraint": Verb(
        lambda op: op.validate_constraint("ck_price", "Item", schema="shop"),
        CONSTRAINTS,
        ["ck_price: CHECK ((price >= 0))"],
        'ALTER TABLE shop."Item" ADD CONSTRAINT ck_price CHECK (price >= 0) NOT VALID',
    ),
    "drop_constraint_if_exists": Verb(
        lambda op: op.drop_constraint_if_exists("ck_price", "Item", schema="shop", type_="check"),
        CONSTRAINTS,
        [],
        'ALTER TABLE shop."Item" ADD CONSTRAINT ck_price CHECK (price >= 0) NOT VALID',
    ),
    "set_not_null": Verb(lambda op: op.set_not_null("Item", "Name", schema="shop"), NOT_NULL, ["Name"]),
    "drop_not_null": Verb(
        lambda op: op.drop_not_null("Item", "Name", schema="shop"),
        NOT_NULL,
        [],
        'ALTER TABLE shop."Item" ALTER "Name" SET NOT NULL',
    ),
    "backfill": Verb(
        lambda op: op.backfill(
            "Item",
            "price = -1, \"Name\" = '100%: ' || id::text",
            "price > 2 AND \"Name\" LIKE '%:%'",
            batch=200,
            schema="shop",
        ),
        'SELECT count(*) || \' of \' || min("Name") FROM shop."Item" WHERE price = -1 AND "Name" = \'100%: \' || id',
        ["285 of 100%: 10"],
    ),
}


REPLACED = {
    "another index": Verb(
        lambda op: op.create_index_concurrently("ix_Item", "Item", ["price", "id"], schema="shop", replace=True),
        INDEXES,
        ['INDEX "ix_Item" ON shop."Item" USING btree (price, id)'],
        'CREATE INDEX "ix_Item" ON shop."Item" (price)',
    ),
    "an index in the place of a constraint": Verb(
        lambda op: op.create_index_concurrently("ix_Item", "Item", ["Name"], schema="shop", replace=True, unique=True),
        INDEXES,
        ['UNIQUE INDEX "ix_Item" ON shop."Item" USING btree ("Name")'],
        'ALTER TABLE shop."Item" ADD CONSTRAINT "ix_Item" UNIQUE ("Name")',
    ),
    "another unique constraint": Verb(
        lambda op: op.create_unique_constraint_concurrently(
            "uq_Item", "Item", ["Name", "id"], schema="shop", replace=True, deferrable=True
        ),
        CONSTRAINTS,
        ['uq_Item: UNIQUE ("Name", id) DEFERRABLE'],
        'ALTER TABLE shop."Item" ADD CONSTRAINT "uq_Item" UNIQUE ("Name")',
    ),
    "a constraint in the place of an index": Verb(
        lambda op: op.create_unique_constraint_concurrently("uq_Item", "Item", ["Name"], schema="shop", replace=True),
        CONSTRAINTS,
        ['uq_Item: UNIQUE ("Name")'],
        'CREATE UNIQUE INDEX "uq_Item" ON shop."Item" ("Name", id)',
    ),
    "nothing": Verb(
        lambda op: op.create_index_concurrently("ix_Item", "Item", ["price"], schema="shop", replace=True),
        INDEXES,
        ['INDEX "ix_Item" ON shop."Item" USING btree (price)'],
    ),
}
"""Verbs that put a new thing in the place of what has its name."""


@contextmanager
def migrating(
    dsn: Dsn, session: str = "", terms: autocommit.Terms | None = None
) -> Iterator[tuple[sa.Engine, Operations]]:
    """Give operations in the transaction of a revision, as Alembic runs it."""

    def connect() -> Connection:
        connection = psycopg2.connect(dsn)
        if session:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(session)
            connection.autocommit = False
        return connection

    engine = sa.create_engine("postgresql+psycopg2://", creator=connect, poolclass=sa.NullPool)
    with engine.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"transaction_per_migration": True, autocommit.OPTION: terms}
        )
        with context.begin_transaction(_per_migration=True):
            yield engine, Operations(context)


def run(dsn: Dsn, call: Call, seen: list[str] | None = None, terms: autocommit.Terms | None = None) -> None:
    """Run one verb as a revision would, and note its statements in `seen`."""
    with migrating(dsn, terms=terms) as (engine, op):
        if seen is not None:
            sa.event.listen(engine, "before_cursor_execute", lambda *event: seen.append(event[2]))
        call(op)


def answer(dsn: Dsn, verb: Verb) -> list[str]:
    """Return what the question about this verb gives now."""
    return [str(row[0]) for row in rows_of(dsn, verb.question)]


def is_ended(dsn: Dsn, call: Call, number: int) -> bool:
    """Run one verb and end its session just before statement `number`; tell whether it came to that."""
    count = 0

    def before(connection: sa.Connection, *_: object) -> None:
        nonlocal count
        count += 1
        if count == number:
            driver = connection.connection.dbapi_connection
            assert driver is not None
            pid = driver.info.backend_pid
            rows_of(dsn, "SELECT pg_terminate_backend(%s, 5000)", [pid])

    try:
        with migrating(dsn) as (engine, op):
            sa.event.listen(engine, "before_cursor_execute", before)
            call(op)
    except sa.exc.OperationalError as error:
        return bool(error.connection_invalidated)
    return False
