from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from psycopg2 import sql
from psycopg2.extensions import connection as Connection

from railhead.contrib.flask import tables
from railhead.dsn import Dsn
from tests.databases import rows_of
from tests.processes import eventually

MADE = """
    CREATE TABLE pier (id int PRIMARY KEY, length int CHECK (length > 0));
    CREATE INDEX pier_length ON pier (length);
    CREATE TABLE boat (pier int CONSTRAINT boat_pier REFERENCES pier);
    CREATE TABLE log (id int) PARTITION BY RANGE (id);
    CREATE TABLE log_0 PARTITION OF log FOR VALUES FROM (0) TO (10)
"""
THERE = {"pier", "pier.pier_pkey", "pier.pier_length", "pier.pier_length_check", "boat", "boat.boat_pier", "log"}


@pytest.mark.parametrize(
    ("statement", "gone"),
    [
        ("DROP TABLE pier CASCADE", {one for one in THERE if one.startswith("pier")} | {"boat.boat_pier"}),
        ("DROP TABLE log", {"log"}),
        ("DROP TABLE log_0", set()),
        ("DROP INDEX pier_length", {"pier.pier_length"}),
        ("ALTER TABLE pier DROP COLUMN length", {"pier.pier_length", "pier.pier_length_check"}),
        ("ALTER TABLE boat DROP CONSTRAINT boat_pier", {"boat.boat_pier"}),
    ],
)
def test_what_a_migration_drops_meanwhile_is_left_out(
    database: Dsn, connection: Connection, other_session: Connection, statement: str, gone: set[str]
) -> None:
    """Who waits for a table that is then dropped gets all the others."""
    rows_of(database, MADE)
    with ThreadPoolExecutor() as pool, other_session.cursor() as cursor:
        cursor.execute(statement)
        asked = pool.submit(tables.read, connection)
        eventually(lambda: rows_of(database, "SELECT 1 FROM pg_locks WHERE NOT granted"), what="the reader waits")
        other_session.commit()
        found = asked.result()
    parts = {f"{table.name}.{part.name}" for table in found for part in (*table.indexes, *table.constraints)}
    assert {table.name for table in found} | parts == THERE - gone


def test_every_table_has_its_own_place_on_the_page(database: Dsn, connection: Connection) -> None:
    """Whatever a name is made of, the link in the picture leads to its table, not to one of a similar name."""
    names = ["a_b", "a-b", "a b", "a$b", 'a"b', "a.b", "A_B", "größe"]
    for name in names:
        rows_of(database, sql.SQL("CREATE TABLE {} ()").format(sql.Identifier(name)))
    rows_of(database, "CREATE SCHEMA a; CREATE TABLE a.b ()")
    anchors = [one.anchor for one in tables.read(connection)]
    assert len(set(anchors)) == len(names) + 1
    assert "table-a_b" in anchors
    assert not [one for one in anchors if set(one) & set(" \"'#%")]
