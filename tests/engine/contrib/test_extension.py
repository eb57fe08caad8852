"""`Railhead(app, db)`: what it adds to an application that is not ours, and when it leaves the database alone."""

from __future__ import annotations

import base64
import logging
from collections.abc import Callable
from pathlib import Path

import pytest
from flask import Flask, redirect
from sqlalchemy import Column, Integer, MetaData, Table

from railhead import named_models
from railhead.contrib.flask import Railhead
from railhead.project import Project
from railhead.settings import Secret, Settings
from tests.project_tree import ROOT


@pytest.fixture
def ready(settings: Settings) -> Settings:
    """The settings of the sample's history, whose database nobody migrates."""
    return settings._replace(project=Project(ROOT, MetaData), migrate_on_start="off")


def address(ready: Settings, path: str = "/schema", **options: object) -> tuple[int, str | None]:
    """Return how a bare application answers that has the extension."""
    app = Flask("shop")
    Railhead(app, MetaData(), settings=ready, **options)
    answer = app.test_client().get(path)
    return answer.status_code, answer.headers.get("Location")


def test_application_decides_who_sees_the_console(ready: Settings) -> None:
    """True shows it, False says that there is none, an answer is given as it is; elsewhere it may be called otherwise."""
    assert address(ready)[0] == 200
    assert address(ready, allowed=lambda: False) == (404, None)
    assert address(ready, allowed=lambda: redirect("/login")) == (302, "/login")
    assert address(ready, path="/admin/schema.json", console="/admin/schema")[0] == 200
    assert address(ready, console=None)[0] == 404
    assert address(ready, path="/ready", readyz="/ready")[0] == 503


def test_console_asks_for_the_password(ready: Settings) -> None:
    """Without a check of the application's own ADMIN_PASSWORD opens it; production without one has none."""
    assert address(ready._replace(production=True))[0] == 404
    app = Flask("shop")
    Railhead(app, MetaData(), settings=ready._replace(production=True, admin_password=Secret("x y:z")))
    client = app.test_client()
    assert client.get("/schema").status_code == 401
    for password, code in (("x y:z", 200), ("x", 401)):
        proof = base64.b64encode(f"me:{password}".encode()).decode()
        assert client.get("/schema", headers={"Authorization": f"Basic {proof}"}).status_code == code
    assert set(client.get("/readyz").json) == {"state", "flags", "current", "heads", "pending", "unknown"}


def test_nothing_is_migrated_while_the_application_is_tested() -> None:
    """TESTING with a database that the engine does not know is no reason to end the process."""
    app = Flask("shop")
    app.config.update(TESTING=True, SQLALCHEMY_DATABASE_URI="sqlite://")
    settings = Railhead().init_app(app, MetaData())
    assert settings.database is None
    assert "railhead" in app.cli.commands


def test_other_databases_are_named_and_left_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of SQLALCHEMY_BINDS a line says that the default database alone is migrated."""
    for name, value in (("handlers", []), ("propagate", True), ("level", logging.NOTSET)):
        monkeypatch.setattr(logging.getLogger("railhead"), name, value)  # as in a process that has just begun
    monkeypatch.chdir(tmp_path)
    app = Flask("shop", root_path=str(tmp_path))
    app.config.update(SQLALCHEMY_BINDS={"users": "x", "audit": "y"}, SQLALCHEMY_DATABASE_URI="postgresql:///shop")
    migrated: list[Settings] = []
    keep: Callable[[Settings], Settings] = lambda settings: migrated.append(settings) or settings  # noqa: E731
    Railhead(app, MetaData(), migrate=keep)
    told = capsys.readouterr().err
    assert "the default database is migrated; audit, users, of SQLALCHEMY_BINDS, is left alone" in told
    assert migrated[0].application.dsn.name == "shop"


def test_models_of_several_modules_are_one(tmp_path: Path) -> None:
    """`[railhead] models` may name several, and things that have metadata as well as metadata."""
    first, second = MetaData(naming_convention={"pk": "pk_%(table_name)s"}), MetaData()
    Table("a", first, Column("id", Integer, primary_key=True))
    Table("b", second, Column("id", Integer, primary_key=True), schema="x")
    whole = named_models.metadata_of([first, type("Base", (), {"metadata": second})])
    assert whole is not None
    assert sorted(whole.tables) == ["a", "x.b"]
    assert whole.naming_convention["pk"] == "pk_%(table_name)s"
    assert named_models.metadata_of(lambda: None) is None
    assert Project(tmp_path).options == {}
