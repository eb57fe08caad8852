"""How often is the server asked? On a network each time costs what the network costs."""

from __future__ import annotations

from contextlib import closing

import psycopg2

from tests.chaos.proxy import Proxy
from tests.ground import Databases, Tree
from utils.settings import Dsn

MANY = 40


def test_start_with_nothing_to_do_asks_once(project: Tree, proxy: Proxy, databases: Databases, head: str) -> None:
    """It connects and asks, like the shortest program that there could be."""
    database = proxy.dsn(databases.new(head))
    with closing(psycopg2.connect(database)) as connection, connection.cursor() as cursor:
        connection.autocommit = True
        cursor.execute("SELECT 1")
    shortest, proxy.asked = proxy.asked, 0
    project.database = database
    assert project.migrate().returncode == 0
    assert proxy.asked == shortest


def test_revision_costs_its_statements_and_one_trip_more(tree: Tree, proxy: Proxy, database: Dsn) -> None:
    """What commits a revision also writes its version and its row in the ledger, and begins the next one's transaction."""
    tree.database = proxy.dsn(database)
    for number in range(1, MANY + 3):
        tree.write(f"{number:04}_thing", f'op.execute("CREATE TABLE thing_{number} (id int)")')

    def asked(revision: str) -> int:
        proxy.asked = 0
        ended = tree.migrate("upgrade", revision)
        assert ended.returncode == 0, ended.stderr
        return proxy.asked

    asked("0001_thing")
    one = asked("0002_thing")
    several = asked(f"{MANY + 2:04}_thing")
    slack = MANY / 4  # who watches for locks in the way asks now and then too, on a connection of its own
    assert 2 * MANY - 2 <= several - one <= 2 * MANY + slack
