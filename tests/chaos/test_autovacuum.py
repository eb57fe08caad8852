"""Autovacuum gives way to the safe verbs, also where it would work for hours."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from railhead.devserver.server import Server
from railhead.dsn import Dsn
from railhead.operations.autocommit import Terms
from railhead.postgres.retry_budget import RetryBudget
from tests.chaos.servers import QUICK
from tests.databases import rows_of
from tests.processes import eventually
from tests.verbs import TABLES, VERBS, answer, run

OFTEN = {"autovacuum_naptime": "1s"}

SLOWLY = """
ALTER TABLE shop."{0}" SET (autovacuum_vacuum_insert_threshold = 100, autovacuum_vacuum_insert_scale_factor = 0,
    autovacuum_vacuum_cost_delay = 100, autovacuum_vacuum_cost_limit = 1);
INSERT INTO shop."{0}" (id) SELECT generate_series(1000, 30000);
"""
"""Autovacuum comes at once, and sleeps after each page: it keeps such a table for half a minute."""

WORKERS = "SELECT query FROM pg_stat_activity WHERE backend_type = 'autovacuum worker' AND query LIKE %s"


@pytest.fixture
def vacuumed(room: Path) -> Iterator[Dsn]:
    """A database on a server with such an autovacuum."""
    server = Server(room / "primary", {**QUICK, **OFTEN})
    server.start()
    yield server.dsn.with_(dbname="postgres")
    server.stop("immediate")


def test_verbs_make_autovacuum_give_way(vacuumed: Dsn) -> None:
    """A verb on a table that autovacuum works on, or that refers to one, is through after PostgreSQL's `deadlock_timeout`."""
    for name, table in (
        ("validate_constraint", "Item"),
        ("drop_constraint_if_exists", "Item"),
        ("create_foreign_key_not_valid", "Maker"),
    ):
        verb = VERBS[name]
        rows_of(vacuumed, TABLES + verb.before)
        rows_of(vacuumed, SLOWLY.format(table))
        eventually(
            lambda table=table: rows_of(vacuumed, WORKERS, [f"autovacuum: VACUUM%shop.{table}%"]),
            within=60,
            what=f"autovacuum works on {table}",
        )
        budget = RetryBudget(30, 0.9)
        run(vacuumed, verb.call, terms=Terms(budget))
        assert (name, budget.misses) == (name, 0)
        assert answer(vacuumed, verb) == verb.answer
