"""How does one get in?

`migrations/env.py` calls `enter`, whether the start-up hook, the command line or somebody's hand typed the command, so that all
of them are the same story. The other functions are what the front door asks for. Nothing here retries or decides.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any

import psycopg2
import sqlalchemy
from psycopg2.extensions import connection as Connection
from sqlalchemy import MetaData
from sqlalchemy.exc import DBAPIError

from railhead import logs
from railhead.autogenerate import options as autogenerate
from railhead.commands import data_loss as losses
from railhead.devserver import shared as embedded
from railhead.diagnosis import messages as diagnosis
from railhead.errors import Stop, TableBusy
from railhead.execution import adoption
from railhead.execution.migration_run import Outcome, Story
from railhead.history import planner as revisions
from railhead.history.planner import EnvironmentContext, Step, Way
from railhead.logs import log
from railhead.postgres import advisory_lock as locks
from railhead.postgres import blockers
from railhead.postgres import connection as database
from railhead.postgres.advisory_lock import Lock
from railhead.postgres.connection import Allowance
from railhead.postgres.interrupts import Interrupted
from railhead.schema import catalog
from railhead.settings import Settings, load
from railhead.state import drift, ledger, status
from railhead.state.status import Look, Models, Status


def enter(environment: EnvironmentContext, models: Models) -> None:
    """Carry out what was typed at Alembic, or called through `run`. Changes the schema, if that is what was asked.

    Typed by hand, a failure is printed in the usual form and ends the process with the usual code; called, it is raised.
    """
    called = "settings" in environment.config.attributes
    doing = _typed(environment)
    try:
        if environment.is_offline_mode():
            revisions.offline(environment)
            return
        with revisions.no_garbage_collection():
            way = Way(environment)
        settings = environment.config.attributes.get("settings") or _settings_of_hand()
        if way.moves and environment.config.attributes.get("only_plan"):
            environment.config.attributes["outcome"] = _plan(way, settings)
        elif way.moves:
            outcome = environment.config.attributes["outcome"] = Story(way, settings, models).tell()
            if not called:
                log.info("%s", outcome)
        elif way.obstacle:
            raise way.obstacle
        else:
            _only_read(environment, settings, models)
    except (Stop, Interrupted, psycopg2.Error, DBAPIError) as error:
        if called:
            raise
        stop = error if isinstance(error, Stop | Interrupted) else diagnosis.refused(error, "unchanged", again=doing)
        print(stop.render(doing) if isinstance(stop, Stop) else f"{doing} stopped: {stop}", file=sys.stderr)
        sys.exit(stop.exit_code)


def run(action: str, target: str, settings: Settings) -> Outcome:
    """Move the database to `target` and return what was done. Changes the schema, writes the ledger.

    Waits for the database, for other migrators and for table locks, as the settings say. Raises Stop or Interrupted.
    """
    outcome = revisions.call(action, target, {"settings": settings}).attributes.get("outcome")
    if not isinstance(outcome, Outcome):
        raise diagnosis.not_entered()
    return outcome


def plan(action: str, target: str, settings: Settings) -> list[Step]:
    """Return the steps that `run` would take from where the database is now. Read-only. Raises Stop."""
    steps = revisions.call(action, target, {"settings": settings, "only_plan": True}).attributes.get("outcome")
    if not isinstance(steps, list):
        raise diagnosis.not_entered()
    return steps


def wait(settings: Settings, models: Models) -> Status:
    """Return where the database is once this code can serve it, once waiting would not help, or after MIGRATE_WAIT_LOCK. Read-only.

    Never migrates it. Tells what it waits for, and again when that changes. Waits up to MIGRATE_WAIT_DATABASE for a server that does not answer, and raises Stop when none does.
    """
    history = revisions.history()
    deadline = time.monotonic() + settings.wait_lock
    allowance = Allowance(settings.wait_database, "MIGRATE_WAIT_DATABASE")
    told = None
    for pause in locks.pauses():
        try:
            found = status.read(settings, history, models, closely=False, allowance=allowance)
        except TableBusy:
            if time.monotonic() >= deadline:
                raise
            time.sleep(pause)
            continue
        if found.can_serve or found.state != "behind" or time.monotonic() >= deadline:
            return found
        seen = len(found.pending), found.lock and found.lock.pid
        if seen != told:
            told, lock = seen, f"held by {found.lock}" if found.lock else "free"
            log.info("wait: pending revisions: %d; the migration lock is %s", len(found.pending), lock)
        time.sleep(pause)
    raise AssertionError  # pauses never end


def create_tables(settings: Settings, metadata: MetaData) -> None:
    """Make every table of models.py that is missing, and say so in the ledger. Changes the schema, writes the ledger.

    For development, after a migration has failed. Waits for the lock like any migration. Raises Stop when that fails too.
    """
    status.assert_one_database(settings)
    with (
        _alone("create_all", settings, status.look),
        closing(database.open_now(settings.application, "create_all")) as connection,
    ):
        try:
            metadata.create_all(drift.engine_over(connection))
            ledger.create(connection)
            kept = catalog.read(connection).text
            ledger.note(connection, ledger.new_run("create_all", settings), "applied", catalog=kept)
        except DBAPIError as error:
            raise diagnosis.failed(error, None, "some tables may have been made", left=False) from error


def adopt(settings: Settings, revision: str | None, *, force: bool = False) -> str:
    """Take over an unmanaged database and return the revision that it is at. Writes the ledger.

    Without `revision` it is found by its schema. With one, the schema must be equal, unless `force`. Waits for the lock like
    any migration. Raises Stop when it is managed already or empty, when nothing is equal, or when the lock stays busy.
    """
    history = revisions.history()
    if history.problem:
        raise history.problem
    status.assert_one_database(settings)
    with (
        _alone("adopt", settings, _unmanaged) as (lock, seen),
        closing(database.open_now(settings.migrations, "adopt")) as connection,
    ):
        return adoption.take_over(connection, lock, settings, history, seen.place, revision, force=force)


def drop_everything(settings: Settings) -> None:
    """Empty the database once nobody migrates it any more. Changes the schema. Raises Stop when the lock or a table stays busy."""
    with (
        _alone("reset", settings, status.look) as (_, seen),
        closing(database.open_now(settings.migrations, "reset")) as connection,
    ):
        try:
            losses.drop_everything(connection, settings.wait_lock)
        except psycopg2.errors.LockNotAvailable as error:
            who = blockers.found(connection, _AT_WORK, (settings.migrations.session_name("reset"),))
            waited = Allowance(settings.wait_lock, "MIGRATE_WAIT_LOCK")
            raise diagnosis.table_busy(error, None, f"unchanged, {seen.place}", waited, who) from error


_AT_WORK = f"{blockers.SESSIONS} WHERE datname = current_database() AND application_name <> %s AND xact_start IS NOT NULL ORDER BY 4 DESC"
"""The sessions that are in a transaction, oldest first."""


@contextmanager
def _alone(doing: str, settings: Settings, look: Callable[[Connection], Look]) -> Iterator[tuple[Lock, Look]]:
    """Give the migration lock, and what `look` sees under it. Raises Stop when the lock stays busy for MIGRATE_WAIT_LOCK."""
    lock = Lock(database.open_now(settings.migrations, doing))
    deadline = time.monotonic() + settings.wait_lock
    try:
        for pause in locks.pauses():
            seen = look(lock.connection)
            if lock.try_take():
                break
            if time.monotonic() >= deadline:
                raise diagnosis.lock_busy(seen.holder, seen.place, Allowance(settings.wait_lock, "MIGRATE_WAIT_LOCK"))
            time.sleep(pause)
        with lock.looking() as connection:
            seen = look(connection)  # again, now that nobody else can change it
        yield lock, seen
    finally:
        lock.release()


def _unmanaged(connection: Connection) -> Look:
    """Return what there is to adopt. Read-only. Raises Stop when there is nothing."""
    seen = status.look(connection)
    if seen.versions:
        raise diagnosis.already_managed(seen.versions)
    if not seen.has_tables:
        raise Stop(
            "nothing-to-adopt",
            "the database is empty: there is nothing to adopt",
            database="unchanged, empty",
            next_step=diagnosis.UPGRADE,
        )
    return seen


def _only_read(environment: EnvironmentContext, settings: Settings, models: Models) -> None:
    """Run a command that does not move the database (`current`, `check`, `revision` ...). Leaves nothing behind."""
    driver = database.open_now(settings.migrations, "read")
    driver.autocommit = False
    engine = sqlalchemy.create_engine("postgresql+psycopg2://", creator=lambda: driver, poolclass=sqlalchemy.NullPool)
    options: dict[str, Any] = autogenerate.options(environment, models())
    with engine.connect() as connection, revisions.translated(lambda: status.look(driver).versions):
        environment.configure(connection=connection, dont_mutate=True, **options)
        environment.run_migrations()


def _plan(way: Way, settings: Settings) -> list[Step]:
    connection = database.open_now(settings.migrations, "plan")
    try:
        return way.steps(status.look(connection).versions)
    finally:
        connection.close()


def _typed(environment: EnvironmentContext) -> str:
    """Return the command that somebody typed, without its arguments."""
    run, *_ = getattr(environment.config.cmd_opts, "cmd", None) or (None,)
    return f"alembic {run.__name__}" if run else "alembic"


def _settings_of_hand() -> Settings:
    """Return the settings for a command that somebody typed at Alembic, and let us be heard on standard error."""
    settings = embedded.fill(load())
    logs.configure(settings)
    return settings
