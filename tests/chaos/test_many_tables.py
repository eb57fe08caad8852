"""Is drift told quickly where there are many tables?"""

from __future__ import annotations

import time
from contextlib import closing

import psycopg2
import pytest
from psycopg2.extensions import connection as Connection
from sqlalchemy import Column, Integer, MetaData, Table

from railhead.autogenerate import model_diff
from railhead.postgres.engine import engine_over
from railhead.state import drift
from tests.databases import Databases, run
from tests.engine.state.test_drift import keep
from utils.migrate import PROJECT


@pytest.mark.alone
def test_drift_of_five_hundred_tables_takes_less_than_two_seconds(databases: Databases) -> None:
    """Both answers on 500 tables with 5,000 columns and 1,500 indexes come within two seconds."""
    dsn = databases.new()
    metadata = MetaData()
    for number in range(500):
        columns = [Column(f"c{place}", Integer, index=place < 3) for place in range(9)]
        Table(f"t{number}", metadata, Column("id", Integer, primary_key=True), *columns)
    with closing(psycopg2.connect(dsn)) as connection:
        connection.autocommit = True
        metadata.create_all(engine_over(connection))
        run(connection, "ANALYZE")
        keep(connection)

        # the first look pays imports and the server's caches; the machine has other things to do, too
        assert min(_seconds(metadata, connection) for _ in range(5)) < 2


def _seconds(metadata: MetaData, connection: Connection) -> float:
    began = time.monotonic()
    assert drift.outside(connection) == []
    assert model_diff.models_ahead(PROJECT, metadata, connection) == []
    return time.monotonic() - began
