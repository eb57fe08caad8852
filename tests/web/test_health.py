from __future__ import annotations

from collections.abc import Callable

from flask import Flask

from app import create_app
from models import Base
from railhead.commands import create_tables
from railhead.dsn import Dsn
from railhead.settings import Settings
from tests.databases import rows_of


def test_healthz_touches_nothing(migrated: Settings) -> None:
    """The process is alive even when there is no database."""
    assert migrated.database is not None
    app = create_app(migrated._replace(database=migrated.database.with_(host="127.0.0.1", port="9")))
    response = app.test_client().get("/healthz")
    assert (response.status_code, response.json) == (200, {"status": "ok"})


def test_readyz_is_200_at_head(app: Flask) -> None:
    """A database at head is ready, and the record says where it is."""
    response = app.test_client().get("/readyz")
    assert response.status_code == 200
    assert response.json is not None
    assert response.json["state"] == "current"
    assert response.json["current"] == response.json["heads"]


def test_readyz_is_503_on_an_empty_database(database: Dsn, migrated: Settings) -> None:
    """A database that is behind is not ready, and the record says what is pending."""
    response = create_app(migrated._replace(database=database)).test_client().get("/readyz")
    assert response.status_code == 503
    assert response.json is not None
    assert response.json["state"] == "behind"
    assert response.json["pending"][0]["revision"] == "0001_baseline"


def test_readyz_is_503_without_a_server(migrated: Settings) -> None:
    """A server that does not answer is said in one word."""
    assert migrated.database is not None
    app = create_app(migrated._replace(database=migrated.database.with_(host="127.0.0.1", port="9")))
    response = app.test_client().get("/readyz")
    assert (response.status_code, response.json) == (503, {"state": "unreachable"})


def test_readyz_is_200_when_dev_create_tables_made_every_table(database: Dsn, migrated: Settings) -> None:
    """What DEV_CREATE_TABLES made is ready while it is asked for, in development, and as long as nothing is missing."""
    settings = migrated._replace(database=database, migrate_database=database, dev_create_tables=True)
    create_tables.create_tables(settings, Base.metadata)

    def answer(**changes: object) -> tuple[int, str]:
        response = create_app(settings._replace(**changes)).test_client().get("/readyz")
        assert response.json is not None
        return response.status_code, response.json["state"]

    assert answer() == (200, "fallback")
    assert answer(dev_create_tables=False) == (503, "fallback")
    assert answer(production=True) == (503, "fallback")
    rows_of(database, "DROP TABLE task")
    assert answer() == (503, "fallback")


def test_strangers_do_not_learn_where_the_database_is(make_app: Callable[..., Flask]) -> None:
    """In production /readyz tells a visitor the state, not the server and who migrated it."""
    response = make_app(production=True).test_client().get("/readyz")
    assert response.json is not None
    assert response.json.keys() == {"state", "flags", "current", "heads", "pending", "unknown"}
