"""What does the first call cost inside an application that is starting?

Run as `python inside.py TOOL` in a tool's tree. It imports what the application has imported by then (Flask, SQLAlchemy and
the driver; Django set up with its driver), then prints the seconds that the tool takes: its own imports and its first call; for
Railhead also the call alone, because the imports are shared with the application.
"""

from __future__ import annotations

import importlib
import os
import sys
import time
from collections.abc import Callable


def limit() -> None:
    """Connect, ask for the version, close: what no tool that looks at all can undercut."""
    psycopg2 = importlib.import_module("psycopg2")
    connection = psycopg2.connect("")
    with connection.cursor() as cursor:
        cursor.execute("SELECT version_num FROM alembic_version")
        cursor.fetchall()
    connection.close()


def railhead() -> float:
    """Read the settings and call the start-up hook; return when the call began."""
    from railhead import settings
    from utils import migrate

    found = settings.load()
    began = time.perf_counter()
    migrate.migrate_on_startup(found)
    return began


def alembic() -> None:
    """Run `upgrade head` as Alembic's own documentation shows for code."""
    command, config = importlib.import_module("alembic.command"), importlib.import_module("alembic.config")
    command.upgrade(config.Config("alembic.ini"), "head")


def django() -> None:
    """Run `migrate` by Django's own way in for code."""
    importlib.import_module("django.core.management").call_command("migrate", verbosity=0)


def flask_migrate() -> Callable[[], float | None]:
    """Return a call for an application whose Flask-SQLAlchemy is there already."""
    flask, flask_sqlalchemy = importlib.import_module("flask"), importlib.import_module("flask_sqlalchemy")
    app = flask.Flask("app")
    app.config["SQLALCHEMY_DATABASE_URI"] = "postgresql+psycopg2://"
    db = flask_sqlalchemy.SQLAlchemy(app)

    def call() -> None:
        extension = importlib.import_module("flask_migrate")
        extension.Migrate(app, db)
        with app.app_context():
            extension.upgrade()

    return call


def prepared(tool: str) -> Callable[[], float | None]:
    """Return the call to measure, with everything imported that the application has by then."""
    if tool == "django":
        os.environ["DJANGO_SETTINGS_MODULE"] = "settings"
        importlib.import_module("django").setup()
        importlib.import_module("django.db").connection.get_connection_params()
        return django
    importlib.import_module("flask")
    importlib.import_module("sqlalchemy").create_engine("postgresql+psycopg2://")
    return (
        flask_migrate() if tool == "flask-migrate" else {"limit": limit, "railhead": railhead, "alembic": alembic}[tool]
    )


def main() -> None:
    """Measure the tool that the command line names."""
    sys.path[0] = os.getcwd()
    call = prepared(sys.argv[1])
    began = time.perf_counter()
    call_began = call()
    ended = time.perf_counter()
    print(ended - began, ended - call_began if call_began else "")


if __name__ == "__main__":
    main()
