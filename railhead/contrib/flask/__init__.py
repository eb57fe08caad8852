"""Railhead in a Flask application: `Railhead(app, db)` is all that it takes.

It brings the database to head before the application serves, answers `/readyz`, shows the console at `/schema` and adds
`flask railhead ...`. What env.py hands to the engine, `models` and `around`, is here too. Other modules of the package are
imported when a page is asked for: an application that only serves pays for none of them.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from flask import Flask

from railhead import logs, startup
from railhead.contrib.flask.application import around, configuration, enter, models, offered
from railhead.contrib.flask.state import Access, State
from railhead.errors import Stop
from railhead.project import Project
from railhead.project import around as project_around
from railhead.settings import Settings, load

__all__ = ["Access", "Railhead", "State", "around", "configuration", "enter", "models"]


class Railhead:
    """The extension. Put it last in the factory, when the models are imported: what it finds then is what they are."""

    def __init__(self, app: Flask | None = None, db: object = None, **options: object) -> None:
        """Do what `init_app` does when there is an application already."""
        if app is not None:
            self.init_app(app, db, **options)  # type: ignore[arg-type]  # the names are checked there

    def init_app(
        self,
        app: Flask,
        db: object = None,
        *,
        settings: Settings | None = None,
        allowed: Callable[[], Access] | None = None,
        migrate: Callable[[Settings], Settings] = startup.migrate_on_startup,
        console: str | None = "/schema",
        readyz: str | None = "/readyz",
        layout: str = "railhead/base.html",
    ) -> Settings:
        """Return the settings, completed, when the application may serve. Changes the schema, writes the ledger.

        `db` is Flask-SQLAlchemy's extension, a declarative base or a MetaData. `allowed` says who sees the console; without it whoever
        knows ADMIN_PASSWORD does, and in development without one everybody. `console` and `readyz` are addresses, None leaves them out.
        Nothing is migrated while the application is tested (`TESTING`), nor under flask's commands but `run`. Ends the process with
        status 3 after one message when a setting is wrong or the database is not one that this code can serve.
        """
        offered[app] = db
        settings = settings or _settings(app)
        if not app.testing:
            settings = migrate(settings)
        app.extensions["railhead"] = State(settings, allowed or _by_password(settings), layout)
        from railhead.contrib.flask import commands, pages

        app.register_blueprint(pages.blueprint(console, readyz))
        app.cli.add_command(commands.railhead)
        return settings


def _settings(app: Flask) -> Settings:
    """Return what environment and configuration say, and let the engine be heard. Ends the process when a setting is wrong."""
    project = project_of(app)
    if app.testing:
        return Settings(project=project)
    try:
        settings = load(project)
    except Stop as stop:
        sys.stderr.write(f"{project.spoken(stop.render())}\n")
        raise SystemExit(stop.exit_code) from None
    if not logs.log.handlers:
        logs.configure(settings)
    _tell_of_others(app)
    return settings


def project_of(app: Flask) -> Project:
    """Return the project around an application: where Flask-Migrate has its files, else from the application's folder upwards."""
    place = Path(app.root_path).resolve()
    root = project_around(place)
    if not Project(root).alembic_ini.is_file():
        root = project_around(Path.cwd())
    return Project(root=root, models=models, command="flask railhead", configuration=lambda: app.config)


def _tell_of_others(app: Flask) -> None:
    binds: Sequence[str] = sorted(key for key in app.config.get("SQLALCHEMY_BINDS") or {} if key)
    if binds:
        logs.log.info("the default database is migrated; %s, of SQLALCHEMY_BINDS, is left alone", ", ".join(binds))


def _by_password(settings: Settings) -> Callable[[], Access]:
    def allowed() -> Access:
        from railhead.contrib.flask import pages

        return pages.knows_password(settings)

    return allowed
