"""One database for all tests of the pages, brought up by our own migrations; each test in a transaction that is rolled back."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator

import pytest
from flask import Flask
from sqlalchemy import Connection, Engine
from sqlalchemy.orm import Session, sessionmaker

from app import create_app
from app.database import make_engine
from railhead.dsn import Dsn
from railhead.settings import Secret, Settings
from tests.databases import Databases
from tests.web.sample import _sample, _sample_workshop, head, project, workshop  # noqa: F401
from tests.web.visitor import Visitor

PASSWORD = "correct horse battery staple"


@pytest.fixture(scope="session")
def migrated(server: Dsn, head: str) -> Iterator[Settings]:  # noqa: F811  pytest finds it by its name
    """The settings of a development machine, with a database at head."""
    databases = Databases(server, f"railhead_web_{uuid.uuid4().hex[:8]}")
    dsn = databases.new(head)
    yield Settings(database=dsn, migrate_database=dsn, migrate_on_start="off")
    databases.drop()


@pytest.fixture(scope="session")
def engine(migrated: Settings) -> Iterator[Engine]:
    """An engine for that database."""
    engine = make_engine(migrated)
    yield engine
    engine.dispose()


@pytest.fixture
def transaction(engine: Engine) -> Iterator[Connection]:
    """A connection whose transaction is rolled back after the test, whatever the application commits."""
    with engine.connect() as connection, connection.begin() as transaction:
        yield connection
        transaction.rollback()


@pytest.fixture
def session(transaction: Connection) -> Iterator[Session]:
    """A session that sees what the application wrote."""
    with Session(transaction, join_transaction_mode="create_savepoint", expire_on_commit=False) as session:
        yield session


@pytest.fixture
def make_app(migrated: Settings, transaction: Connection) -> Callable[..., Flask]:
    """Build the application with other settings, inside this test's transaction."""

    def make(**changes: object) -> Flask:
        app = create_app(migrated._replace(**changes))
        app.extensions["sessions"] = sessionmaker(
            transaction, join_transaction_mode="create_savepoint", expire_on_commit=False
        )
        return app

    return make


@pytest.fixture
def app(make_app: Callable[..., Flask]) -> Flask:
    """The application as it is in development: open to everybody."""
    return make_app()


@pytest.fixture
def visitor(app: Flask) -> Visitor:
    """Somebody who may write."""
    return Visitor(app.test_client())


@pytest.fixture
def locked(make_app: Callable[..., Flask]) -> Flask:
    """The application as it is in production, with a password."""
    return make_app(production=True, admin_password=Secret(PASSWORD), secret_key=Secret("k" * 32))
