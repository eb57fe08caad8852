"""On schemas that nobody thought of, one change is told as exactly that change; once migrated, as exactly that drift."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import closing

import psycopg2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg2.extensions import connection as Connection

from railhead.dsn import Dsn
from railhead.schema import catalog, diff
from railhead.schema.catalog import Catalog
from railhead.state import drift
from tests.databases import Databases
from tests.forked_tree import Workshop
from tests.schemas import schemas


@pytest.fixture(scope="module")
def blank(server: Dsn) -> Iterator[Connection]:
    """A connection to an empty database; each example rolls back."""
    databases = Databases(server, f"railhead_test_random_{uuid.uuid4().hex[:8]}")
    connection = psycopg2.connect(databases.new())
    yield connection
    connection.close()
    databases.drop()


@settings(max_examples=50, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_one_random_change_is_exactly_that_change(blank: Connection, data: st.DataObject) -> None:
    """A random schema with hostile names: one change gives that Change alone, and undoing it gives none."""
    schema = data.draw(schemas())
    alteration = data.draw(st.sampled_from(schema.alterations))
    try:
        with blank.cursor() as cursor:
            cursor.execute(schema.sql)
            before = catalog.read(blank)
            cursor.execute(alteration.do)
            after = catalog.read(blank)
            changes = diff.difference(before, after)
            assert [(change.kind, change.object) for change in changes] == [(alteration.kind, alteration.object)]
            if not alteration.object.startswith("view "):  # of a view's text the fingerprint knows what it uses
                assert before.fingerprint != after.fingerprint
            if alteration.undo:
                cursor.execute(alteration.undo)
                assert diff.difference(before, catalog.read(blank)) == []
        assert Catalog.from_text(after.text) == after
    finally:
        blank.rollback()


@settings(max_examples=50, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_one_random_change_by_hand_is_exactly_that_drift(
    bare: Workshop, databases: Databases, data: st.DataObject
) -> None:
    """A random schema, written as a revision and migrated: no drift; one change by hand is that one alone, undone it is none."""
    schema = data.draw(schemas())
    alteration = data.draw(st.sampled_from(schema.alterations))
    bare.database = databases.new()
    if not (bare.versions / "0001_nothing.py").exists():
        bare.write("0001_nothing")
    bare.write("0002_random", f"op.execute({schema.sql!r})", after="0001_nothing")
    ended = bare.migrate()
    assert ended.returncode == 0, ended.stderr
    with closing(psycopg2.connect(bare.database)) as connection:
        connection.autocommit = True
        assert drift.outside(connection) == []
        with connection.cursor() as cursor:
            cursor.execute(alteration.do)
            found = drift.outside(connection)
            assert found is not None
            assert [(one.object, one.kind) for one in found] == [(alteration.object, alteration.kind)]
            if alteration.undo:
                cursor.execute(alteration.undo)
                assert drift.outside(connection) == []
