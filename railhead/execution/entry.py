"""How does one get in?

`migrations/env.py` calls `enter`, whether the start-up hook, the command line or somebody's hand typed the command, so that all
of them are the same story. The other functions are what the front door asks for. Nothing here retries or decides.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import psycopg2
import sqlalchemy
from sqlalchemy.exc import DBAPIError

from railhead import logs, nesting
from railhead.autogenerate import options as autogenerate
from railhead.careful_models import careful
from railhead.devserver import shared
from railhead.diagnosis import comparing, messages
from railhead.errors import Stop
from railhead.execution.migration_run import MigrationRun, Outcome
from railhead.history import env_file, loader, offline_sql, planner
from railhead.history.config_attributes import Attribute
from railhead.history.planner import EnvironmentContext, Errand, MigrationPlan, MigrationStep
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
    **options: Any,
) -> None:
    """Carry out what was typed at Alembic, or called through `run`. Changes the schema, if that is what was asked.

    `said` is what else the project has to say, in the words of Alembic's `context.configure`: see `EnvArguments`. Typed by hand, a
    failure is printed in the usual form and ends the process with the usual code; called, it is raised. `configuration` is what the
    application says of settings, its database before all: see `Project`.
    """
    errand = planner.ERRAND.get(environment.config)
    called = errand is not None or env_file.is_only_asked(environment)
    settings = errand.settings if errand else None
    project = settings.project if settings else _project(environment, models, configuration)
    doing = _typed(environment)
    try:
        arguments = env_file.arguments_of(project, options)
        if not env_file.take(environment, models, arguments):
            return
        work_on(project)
        settings = None if environment.is_offline_mode() else settings or _settings_of_hand(project)
        with nesting.at_work(), arguments.around():
            answer = _carry_out(environment, project, Errand(settings, bool(errand and errand.only_plan)), models)
        _ANSWER.put(environment.config, answer)
        if not called and answer.outcome:
            log.info("%s", answer.outcome)
    except (Stop, Interrupted, psycopg2.Error, DBAPIError) as error:
        if called or nesting.is_migrating():
            raise
        stop = error if isinstance(error, Stop | Interrupted) else messages.refused(error, "unchanged", again=doing)
        text = stop.render(doing) if isinstance(stop, Stop) else f"{doing} stopped: {stop}"
        print(project.spoken(text), file=sys.stderr)
        sys.exit(stop.exit_code)


class Answer(NamedTuple):
    """What an errand has brought; nothing when the command does not move the database."""

    outcome: Outcome | None = None
    steps: Sequence[MigrationStep] | None = None


_ANSWER: Attribute[Answer] = Attribute("answer")


def _carry_out(environment: EnvironmentContext, project: Project, errand: Errand, models: Models) -> Answer:
    settings = errand.settings
    if settings is None:
        offline_sql.offline(environment, project.version_table)
        return Answer()
    with loader.no_garbage_collection():
        plan = MigrationPlan(environment, project)
    if plan.moves and errand.only_plan:
        return Answer(steps=_plan(plan, settings))
    if plan.moves:
        return Answer(MigrationRun(plan, settings, models).tell())
    if plan.obstacle:
        raise plan.obstacle
    _only_read(environment, settings, models)
    return Answer()


def migrate(action: str, target: str, settings: Settings, *, before_serving: bool = False) -> Outcome:
    """Move the database to `target` and return what was done. Changes the schema, writes the ledger.

    `before_serving`: post-deploy work at the end of the way is left for later. Waits for the database, for other migrators and for
    table locks, as the settings say. Raises Stop or Interrupted.
    """
    outcome = _answer(action, target, Errand(settings, before_serving=before_serving)).outcome
    if outcome is None:
        raise messages.not_entered()
    return outcome


def plan(action: str, target: str, settings: Settings) -> Sequence[MigrationStep]:
    """Return the steps that `run` would take from where the database is now. Read-only. Raises Stop."""
    steps = _answer(action, target, Errand(settings, only_plan=True)).steps
    if steps is None:
        raise messages.not_entered()
    return steps


def _answer(action: str, target: str, errand: Errand) -> Answer:
    assert errand.settings is not None
    return _ANSWER.get(planner.call(errand.settings.project, action, target, errand)) or Answer()


def _only_read(environment: EnvironmentContext, settings: Settings, models: Models) -> None:
    """Run a command that does not move the database (`current`, `check`, `revision` ...). Leaves nothing behind."""
    driver = open_now(settings.migrations, "read")
    driver.autocommit = False
    table = settings.project.version_table
    engine = sqlalchemy.create_engine("postgresql+psycopg2://", creator=lambda: driver, poolclass=sqlalchemy.NullPool)
    with (
        comparing.told(_typed(environment)),
        engine.connect() as connection,
        planner.translated(lambda: inspection.snapshot(driver, table).versions),
    ):
        options: dict[str, Any] = autogenerate.options(environment, careful(models)())
        environment.configure(connection=connection, dont_mutate=True, **env_file.kept_in(table), **options)
        environment.run_migrations()


def _plan(plan: MigrationPlan, settings: Settings) -> list[MigrationStep]:
    connection = open_now(settings.migrations, "plan")
    try:
        return plan.steps(inspection.snapshot(connection, settings.project.version_table).versions)
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
