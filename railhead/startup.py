"""What happens before an application serves?

The pieces of a start, which the front door puts together: `utils/migrate.py` here. Changes the schema.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path

import psycopg2

from railhead import errors, logs, nesting, platforms
from railhead.careful_models import careful
from railhead.dsn import Dsn
from railhead.errors import Stop
from railhead.fast_path import at_head, can_serve
from railhead.logs import log
from railhead.postgres import interrupts
from railhead.project import TEMPLATE_COMMAND, work_on
from railhead.settings import Settings, load


def say_where(settings: Settings) -> None:
    """Log whether this is production or development, and why: much follows from it."""
    log.info("start: %s, because %s", "production" if settings.production else "development", settings.why)


def migrate_on_startup(settings: Settings | None = None) -> Settings:
    """Return the settings, completed, when the application may serve. Changes the schema, writes the ledger.

    Without settings they are those of the environment, for the project around the current folder.

    Waits for the database, for another migrator and for table locks, as the settings say. Ends the process with status 3
    after one message when the schema is not one that this code can serve; with 143 or 130 when it is told to stop.
    Under flask's commands no requests follow, so nothing is done there, but for `flask run`.
    """
    settings = settings or _settings_here()
    if nesting.is_in_flask_command():
        return settings
    with (
        ending_the_process("start"),
        interrupts.watching(),
        refusals_told(f"{settings.project.command} status"),
    ):
        if nesting.is_nested():
            return _as_called(with_database(settings))
        settings = with_database(settings)
        settings = settings._replace(project=settings.project._replace(models=careful(settings.project.models)))
        if nesting.is_started_by_revision(settings.migrations.dsn.name):
            return _as_called(settings)
        say_where(settings)
        try:
            with nesting.at_work(), meanwhile():
                bring_to_head(settings)
        except Stop as stop:
            if not may_create_tables(settings, stop):
                raise _with_shell(stop, settings) from stop
            log.error("%s", stop.render("start"))
            create_tables(settings)
    return settings


def _with_shell(stop: Stop, settings: Settings) -> Stop:
    """Return the same, with where to type what it says: where a deploy has failed there is no shell."""
    commands = [line for line in stop.next_step.splitlines() if line.startswith((TEMPLATE_COMMAND, "alembic "))]
    if not settings.platform or not commands:
        return stop
    return stop.replaced(next_step=f"{stop.next_step}\n{platforms.where_to_type(settings.platform, commands[-1])}")


def _settings_here() -> Settings:
    """Return what the environment says of the project in which somebody stands, and let the engine be heard on standard error."""
    from railhead import here

    with ending_the_process("start"):
        settings = load(here.project())
    if not log.handlers:
        logs.configure(settings)
    return settings


def _as_called(settings: Settings) -> Settings:
    """Return the settings for an application that a revision makes, or env.py does: nothing is migrated for it, nobody waits. Read-only.

    In a replay it finds the database on which the revision is tried.
    """
    place = nesting.caller(settings.project.versions) or "a revision"
    log.info("start: called by %s while the engine is at work, so nothing is migrated here", place)
    tried_on = nesting.tried_on()
    if not isinstance(tried_on, Dsn):
        return settings
    return settings._replace(database=tried_on, migrate_database=tried_on)


def bring_to_head(settings: Settings) -> None:
    """Return when the application may serve, by what MIGRATE_ON_START says. Changes the schema, writes the ledger. Raises Stop."""
    if settings.migrate_on_start == "off":
        log.info("start: MIGRATE_ON_START=off, the schema is not looked at")
    elif settings.migrate_on_start == "check":
        check(settings)
    elif leaves_post_deploy_work(settings):
        bring_to_serve(settings)
    elif (heads := at_head(settings)) is not None:
        log.info("start: the database is at head, %s", ", ".join(heads))
    else:
        from railhead.execution import entry

        outcome = entry.migrate("upgrade", "head", settings)
        if not outcome.applied:
            _assert_served(settings)
        log.info("%s", outcome)


def bring_to_serve(settings: Settings) -> None:
    """Return when this release can serve; post-deploy work that it does not need is left for `finish`. Changes the schema. Raises Stop."""
    global unfinished
    if (glimpse := can_serve(settings)) is not None:
        versions, unfinished = glimpse
        where = "can be served, with post-deploy work left" if unfinished else "is at head"
        log.info("start: the database %s, %s", where, ", ".join(versions))
        return
    from railhead.execution import entry
    from railhead.state import status

    outcome = entry.migrate("upgrade", "head", settings, before_serving=True)
    log.info("%s", outcome)
    if outcome.applied and at_head(settings) is not None:
        return  # nothing is left, which takes no second reading of the revisions
    place = status.read(settings, models=settings.project.models, closely=False)
    waiting = ", ".join(revision.revision for revision in place.pending)
    unfinished = place.state == "settling"
    if unfinished:
        log.info("start: behind the open port: %s", waiting)
    elif place.state == "behind":
        log.warning(
            "start: %s is post-deploy work, and this release needs what it makes: %s",
            waiting,
            "; ".join(place.unmet or ()),
        )
        log.info("%s", entry.migrate("upgrade", "head", settings))
    elif place.state == "current" and not outcome.applied:
        _assert_served(settings)


def leaves_post_deploy_work(settings: Settings) -> bool:
    """Tell whether somebody does post-deploy work once this process serves: always with `later`, in production beside a server that says so."""
    if settings.post_deploy == "auto":
        return settings.production and has_finisher
    return settings.post_deploy == "later"


has_finisher = False
"""Whether the server around this process starts `finish` once its port is open: see `contrib.gunicorn`."""

meanwhile: Callable[[], AbstractContextManager[object]] = nullcontext
"""What goes on around the work of a start: see `contrib.gunicorn.listen_first`."""

unfinished = False
"""Whether the start of this process has left post-deploy work."""


def check(settings: Settings) -> None:
    """Raise Stop unless the database is where this code can serve. Read-only. Waits up to MIGRATE_WAIT_DATABASE for it to answer."""
    if can_serve(settings) is not None:
        return
    from railhead.postgres.retry_budget import Allowance
    from railhead.state import status

    allowance = Allowance(settings.wait_database, "MIGRATE_WAIT_DATABASE")
    place = status.read(settings, models=settings.project.models, closely=False, allowance=allowance)
    if not place.can_serve:
        from railhead.commands.wait import not_served

        raise not_served(settings.project, place, ("setting", "MIGRATE_ON_START=check: this process does not migrate"))
    if place.state == "current":
        _assert_served(settings)


def _assert_served(settings: Settings) -> None:
    """Raise Stop when a database at head lacks what the models need, because it was changed by hand or a revision was edited. Read-only.

    Asked only where one glance did not show that the database is at head. A table that somebody has for himself keeps nobody from starting.
    """
    from railhead.state import status

    with suppress(errors.TableBusy):
        place = status.read(settings, models=settings.project.models)
        if place.state == "current" and not place.can_serve:
            from railhead.commands.wait import not_served

            raise not_served(settings.project, place, ("state", "current"))


def may_create_tables(settings: Settings, stop: Stop) -> bool:
    """Tell whether DEV_CREATE_TABLES is asked for, and heeded, after a failure that it may help against."""
    if not settings.dev_create_tables or isinstance(stop, errors.TwoDatabases):
        return False
    if settings.production:
        log.warning("DEV_CREATE_TABLES is ignored: this is production, because %s", settings.why)
    return not settings.production


def create_tables(settings: Settings) -> None:
    """Make the tables that are missing from the models, and say how to get back. Changes the schema, writes the ledger."""
    from railhead.commands import create_tables as entry

    entry.create_tables(settings, settings.project.models())
    log.warning(
        "DEV_CREATE_TABLES: migrating failed, so the tables that were missing were made from models.py; correct the migration, then: "
        "%s reset",
        settings.project.command,
    )


def with_database(settings: Settings) -> Settings:
    """Return the settings with a database: the embedded server when none is named, which development only has."""
    work_on(settings.project)
    if settings.database is not None:
        return settings
    from railhead.devserver import shared

    return shared.fill(settings)


@contextmanager
def ending_the_process(doing: str) -> Iterator[None]:
    """End the process after one message when something stops us. Status 3 also halts gunicorn's master."""
    try:
        yield
    except Stop as stop:
        log.error("%s", stop.render(doing))
        sys.exit(errors.IMPOSSIBLE)
    except interrupts.Interrupted as interrupted:
        log.warning("%s stopped: %s", doing, interrupted)
        sys.exit(interrupted.exit_code)
    except Exception:  # a bug of ours must end the process just as surely
        log.exception("%s stopped by an error of our own", doing)
        sys.exit(errors.IMPOSSIBLE)


def unexpected(error: Exception) -> Stop:
    """Return what is said of an error that nobody has foreseen: where it was raised, and how to see all of it."""
    import traceback

    frames = traceback.extract_tb(error.__traceback__)
    place = f"{Path(frames[-1].filename).name}, line {frames[-1].lineno}" if frames else "unknown"
    return Stop(
        "unexpected",
        "an error that nobody has foreseen",
        facts=[("Python", f"{type(error).__name__}: {error}"), ("raised in", place)],
        database="what was committed is committed, the rest was rolled back",
        next_step="see all of it with LOG_LEVEL=debug, and where the database is:\npython utils/migrate.py status",
    )


@contextmanager
def refusals_told(again: str) -> Iterator[None]:
    """Turn what PostgreSQL refuses outside of any migration into a Stop that ends with the command to repeat."""
    try:
        yield
    except Exception as error:
        if not isinstance(getattr(error, "orig", error), psycopg2.Error):  # SQLAlchemy's has the driver's in it
            raise
        from railhead.diagnosis import messages

        raise messages.refused(error, "unchanged", again=again) from error


@contextmanager
def told_as_changed(done: str, again: str) -> Iterator[None]:
    """Inside, no message says that the database is unchanged: what was `done` to it comes first."""
    try:
        with refusals_told(again):
            yield
    except Stop as stop:
        raise stop.after(done) from stop
    except interrupts.Interrupted as interrupted:
        interrupted.done = done
        raise
