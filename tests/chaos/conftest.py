"""What only the long tests need."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from railhead.devserver.server import Server
from railhead.dsn import Dsn
from tests.chaos.pooler import Pooler
from tests.chaos.proxy import Proxy
from tests.chaos.servers import QUICK
from tests.forked_tree import Workshop


@pytest.fixture
def pooler(server: Dsn, tmp_path: Path) -> Iterator[Pooler]:
    """A PgBouncer in transaction mode in front of the server of the tests."""
    made = Pooler(server, tmp_path)
    yield made
    made.end()


@pytest.fixture
def proxy(server: Dsn) -> Iterator[Proxy]:
    """A network between a client and the server of the tests."""
    made = Proxy(server)
    yield made
    made.end()


@pytest.fixture
def own_server(room: Path) -> Iterator[Server]:
    """A server that a test may stop."""
    server = Server(room / "primary", QUICK)
    server.start()
    yield server
    server.stop("immediate")


@pytest.fixture
def at_first(bare: Workshop) -> Workshop:
    """A project whose first revision is applied."""
    bare.write("0001_thing", "op.create_table('thing', sa.Column('id', sa.Integer, primary_key=True))")
    assert bare.migrate().returncode == 0
    return bare
