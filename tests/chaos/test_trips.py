"""How often is the server asked? On a network each time costs what the network costs."""

from __future__ import annotations

from contextlib import closing

import psycopg2

from railhead.dsn import Dsn
from tests.chaos.proxy import Proxy
from tests.databases import Databases
from tests.project_tree import Tree

MANY = 40


def test_start_with_nothing_to_do_asks_once(project: Tree, proxy: Proxy, databases: Databases, head: str) -> None:
    """It connects and asks, like the shortest program that there could be."""
    database = proxy.dsn(databases.new(head))
    with closing(psycopg2.connect(database)) as connection, connection.cursor() as cursor:
        connection.autocommit = True
        cursor.execute("SELECT 1")
    shortest = proxy.trips()
    project.database = database
    assert project.migrate().returncode == 0
    assert proxy.trips() == shortest


def test_revision_costs_its_statements_and_one_trip_more(tree: Tree, proxy: Proxy, database: Dsn) -> None:
    """What commits a revision also writes its version and its row in the ledger, and begins the next one's transaction."""
    tree.database = proxy.dsn(database)
    for number in range(1, MANY + 4):
        tree.write(f"{number:04}_thing", f'op.execute("CREATE TABLE thing_{number} (id int)")')

    def trips(revision: str) -> int:
        """Return the trips of the one who migrates; who watches for locks in its way asks as often as time passes."""
        proxy.trips()
        ended = tree.migrate("upgrade", revision)
        assert ended.returncode == 0, ended.stderr
        return proxy.trips()[0]

    trips("0001_thing")
    one = trips("0002_thing")
    several = trips(f"{MANY + 3:04}_thing")  # 1 revision, and MANY more
    assert several - one == 2 * MANY
