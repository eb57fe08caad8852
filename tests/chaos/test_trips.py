"""How often is the server asked? On a network each time costs what the network costs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import psycopg2
import pytest

from tests.chaos.proxy import Proxy
from tests.ground import Databases, Tree
from utils.settings import Dsn

MANY = 40


@pytest.fixture
def network(server: Dsn) -> Iterator[Proxy]:
    """What counts the trips."""
    network = Proxy(server)
    yield network
    network.end()


def test_start_with_nothing_to_do_asks_once(project: Tree, network: Proxy, databases: Databases, head: str) -> None:
    """It connects and asks, like the shortest program that there could be."""
    database = network.dsn(databases.new(head))
    with closing(psycopg2.connect(database)) as connection, connection.cursor() as cursor:
        connection.autocommit = True
        cursor.execute("SELECT 1")
    shortest, network.asked = network.asked, 0
    project.database = database
    assert project.migrate().returncode == 0
    assert network.asked == shortest


def test_revision_costs_its_statements_and_one_trip_more(tree: Tree, network: Proxy, database: Dsn) -> None:
    """What commits a revision also writes its version and its row in the ledger, and begins the next one's transaction."""
    tree.database = network.dsn(database)
    for number in range(1, 2 * MANY + 1):
        tree.write(f"{number:04}_thing", f'op.execute("CREATE TABLE thing_{number} (id int)")')

    def asked(revision: str) -> int:
        network.asked = 0
        ended = tree.migrate("upgrade", revision)
        assert ended.returncode == 0, ended.stderr
        return network.asked

    asked("0001_thing")
    one = asked("0002_thing")
    several = asked(f"{MANY + 2:04}_thing")
    slack = MANY / 4  # who watches for locks in the way asks now and then too, on a connection of its own
    assert 2 * MANY - 2 <= several - one <= 2 * MANY + slack
