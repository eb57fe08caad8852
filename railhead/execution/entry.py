"""How does one get in?

`migrations/env.py` calls `enter`, whether the start-up hook, the command line or somebody's hand typed the command, so that all
of them are the same story. The other functions are what the front door asks for. Nothing here retries or decides.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import psycopg2
import sqlalchemy
from sqlalchemy.exc import DBAPIError

from railhead import logs, nesting
from railhead.autogenerate import options as autogenerate
from railhead.devserver import shared
from railhead.diagnosis import messages
from railhead.errors import Stop
from railhead.execution.migration_run import MigrationRun, Outcome
from railhead.history import env_file, loader, offline_sql, planner
from railhead.history.planner import EnvironmentContext, MigrationPlan, MigrationStep
from railhead.logs import log
from railhead.postgres.connection import open_now
from railhead.postgres.interrupts import Interrupted
from railhead.project import TEMPLATE_COMMAND, Project, root_of, work_on
from railhead.settings import Settings, load
from railhead.state import inspection
from railhead.state.status import Models


def enter(
    environment: EnvironmentContext,
    models: Models,
    *,
    configuration: Callable[[], Mapping[str, object]] = dict,
    **said: Any,
) -> None:
    """Carry out what was typed at Alembic, or called through `run`. Changes the schema, if that is what was asked.

    `said` is what else the project has to say, in the words of Alembic's `context.configure`: see `EnvArguments`. Typed by hand, a
    failure is printed in the usual form and ends the process with the usual code; called, it is raised. `configuration` is what the
    application says of settings, its database before all: see `Project`.
    """
    called = "settings" in environment.config.attributes or env_file.is_only_asked(environment)
    settings: Settings | None = environment.config.attributes.get("settings")
    project = settings.project if settings else _project(environment, models, configuration)
    doing = _typed(environment)
    try:
        arguments = env_file.arguments_of(project, said)
        if not env_file.take(environment, models, arguments):
            return
        work_on(project)
        settings = None if environment.is_offline_mode() else settings or _settings_of_hand(project)
        with nesting.at_work(), arguments.around():
            _carry_out(environment, project, settings, models)
        if not called and isinstance(outcome := environment.config.attributes.get("outcome"), Outcome):
            log.info("%s", outcome)
    except (Stop, Interrupted, psycopg2.Error, DBAPIError) as error:
        if called or nesting.is_migrating():
            raise
        stop = error if isinstance(error, Stop | Interrupted) else messages.refused(error, "unchanged", again=doing)
        told = stop.render(doing) if isinstance(stop, Stop) else f"{doing} stopped: {stop}"
        print(project.spoken(told), file=sys.stderr)
        sys.exit(stop.exit_code)


def _carry_out(environment: EnvironmentContext, project: Project, settings: Settings | None, models: Models) -> None:
    if settings is None:
        offline_sql.offline(environment)
        return
    with loader.no_garbage_collection():
        way = MigrationPlan(environment, project)
    if way.moves and environment.config.attributes.get("only_plan"):
        environment.config.attributes["outcome"] = _plan(way, settings)
    elif way.moves:
        environment.config.attributes["outcome"] = MigrationRun(way, settings, models).tell()
    elif way.obstacle:
        raise way.obstacle
    else:
        _only_read(environment, settings, models)


def migrate(action: str, target: str, settings: Settings, *, before_serving: bool = False) -> Outcome:
    """Move the database to `target` and return what was done. Changes the schema, writes the ledger.

    `before_serving`: post-deploy work at the end of the way is left for later. Waits for the database, for other migrators and for table locks, as the settings say. Raises Stop or Interrupted.
    """
    attributes: dict[str, object] = {"settings": settings, "before_serving": before_serving}
    outcome = planner.call(settings.project, action, target, attributes).attributes.get("outcome")
    if not isinstance(outcome, Outcome):
        raise messages.not_entered()
    return outcome


def plan(action: str, target: str, settings: Settings) -> list[MigrationStep]:
    """Return the steps that `run` would take from where the database is now. Read-only. Raises Stop."""
    steps = planner.call(settings.project, action, target, {"settings": settings, "only_plan": True}).attributes.get(
        "outcome"
    )
    if not isinstance(steps, list):
        raise messages.not_entered()
    return steps


def _only_read(environment: EnvironmentContext, settings: Settings, models: Models) -> None:
    """Run a command that does not move the database (`current`, `check`, `revision` ...). Leaves nothing behind."""
    driver = open_now(settings.migrations, "read")
    driver.autocommit = False
    engine = sqlalchemy.create_engine("postgresql+psycopg2://", creator=lambda: driver, poolclass=sqlalchemy.NullPool)
    options: dict[str, Any] = autogenerate.options(environment, models())
    with engine.connect() as connection, planner.translated(lambda: inspection.snapshot(driver).versions):
        environment.configure(connection=connection, dont_mutate=True, **env_file.kept_in(), **options)
        environment.run_migrations()


def _plan(way: MigrationPlan, settings: Settings) -> list[MigrationStep]:
    connection = open_now(settings.migrations, "plan")
    try:
        return way.steps(inspection.snapshot(connection).versions)
    finally:
        connection.close()


def _typed(environment: EnvironmentContext) -> str:
    """Return the command that somebody typed, without its arguments."""
    run, *_ = getattr(environment.config.cmd_opts, "cmd", None) or (None,)
    return f"alembic {run.__name__}" if run else "alembic"


def _project(
    environment: EnvironmentContext, models: Models, configuration: Callable[[], Mapping[str, object]]
) -> Project:
    """Return the project whose alembic.ini was named, or found where somebody stood."""
    root = root_of(Path(environment.config.config_file_name or "alembic.ini"))
    command = TEMPLATE_COMMAND if _is_template(root / "utils" / "migrate.py") else "railhead"
    return Project(root, models, command, configuration)


def _is_template(front_door: Path) -> bool:
    """Tell whether this is the front door of the template: an application may have a file of that name, too."""
    return front_door.is_file() and "railhead" in front_door.read_text(encoding="utf-8", errors="replace")


def _settings_of_hand(project: Project) -> Settings:
    """Return the settings for a command that somebody typed at Alembic, and let us be heard on standard error."""
    settings = shared.fill(load(project))
    logs.configure(settings)
    return settings
