"""What could bite?

Looks at the settings, the files and the database for what works today and stops a deploy tomorrow. Read-only, a handful of
queries, and no lock: it can be run against production at any time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import NamedTuple

import psycopg2
from psycopg2.extensions import connection as Connection

from railhead.autogenerate import model_diff
from railhead.autogenerate.model_diff import Difference
from railhead.commands import seal
from railhead.commands.doctor_questions import (
    DEADLOCK_TIMEOUT,
    INVALID_INDEXES,
    IS_SUPERUSER,
    LONG_TRANSACTIONS,
    NOT_OURS,
    NOT_VALIDATED,
    PREPARED,
    UNUSABLE,
    WIDER,
    WIDTH,
)
from railhead.commands.doctor_settings import CheckMessage, of_settings
from railhead.diagnosis import comparing, messages
from railhead.dsn import Address
from railhead.errors import Stop
from railhead.history import loader
from railhead.history.errors import OTHERS, apart
from railhead.history.graph import History
from railhead.history.made_by_sql import RELATION
from railhead.postgres import failures
from railhead.postgres.connection import database_identity, fetch_all, fetch_value, is_pooled, open_now, server_version
from railhead.project import own_tables
from railhead.schema import catalog
from railhead.schema.ownership import Ownership, few
from railhead.settings import Settings
from railhead.state import drift, inspection, ledger, owners, status
from railhead.state.inspection import Snapshot
from railhead.state.owners import in_database
from railhead.state.status import Models

LONG = 30.0
"""Seconds from which a transaction is long: a migration that waits behind it gives up and tries again."""

OLDEST_SERVER = 140000

MOST_NAMES = 8
"""How many names one finding lists; the rest is counted."""


def examine(settings: Settings, models: Models, *, long: float = LONG) -> list[CheckMessage]:
    """Return everything that was found, settings first. Read-only. `long` is in seconds.

    A database that cannot be reached is a finding too, and a history that cannot be read.
    """
    remarks = list(of_settings(settings))
    history = loader.history(settings.project)
    remarks += _files(history)
    try:
        remarks += _reached(settings, history, models, long)
    except Stop as stop:
        remarks.append(_of_stop(stop))
    except psycopg2.Error as error:
        if failures.is_lost(error):
            words = failures.server_words(error)
            remarks.append(CheckMessage("unreachable", f"the database went away: {words}", "look again"))
        else:
            remarks.append(_of_stop(messages.refused(error, "unchanged", again="python utils/migrate.py doctor")))
    return remarks


def _files(history: History) -> Iterator[CheckMessage]:
    if history.problem:
        yield _of_stop(history.problem)
        return
    stale = seal.differences(history.project)
    if stale:
        yield CheckMessage("stale-manifest", "; ".join(_few(stale)), "python utils/migrate.py seal")


def _reached(settings: Settings, history: History, models: Models, long: float) -> Iterator[CheckMessage]:
    """Look through both URLs, once each; the application's first."""
    places = [(settings.application, _as_application), (settings.migrations, _as_migrator)]
    identities = []
    for address, look in places:
        connection = open_now(address, "doctor")
        try:
            identities.append(database_identity(connection))
            yield from look(connection, _Case(settings, history, models, long, address))
        except psycopg2.Error as error:
            if failures.is_lost(error):
                raise
            ask = partial(fetch_value, connection)
            yield _of_stop(messages.refused(error, "unchanged", ask=ask, again="python utils/migrate.py doctor"))
        finally:
            connection.close()
    if len(set(identities)) > 1:
        yield CheckMessage(
            "two-databases",
            f"{settings.database_variable} and {settings.migrate_variable} name two different databases",
            f"make them name the same one: {settings.application.dsn} and {settings.migrations.dsn}",
        )


class _Case(NamedTuple):
    """What the questions are asked about."""

    settings: Settings
    history: History
    models: Models
    long: float
    address: Address


def _as_application(connection: Connection, case: _Case) -> Iterator[CheckMessage]:
    """Look at what does not depend on the role, and at what the application's role may."""
    if connection.server_version < OLDEST_SERVER:
        yield CheckMessage(
            "old-server",
            f"{server_version(connection)} is older than 14, the oldest that Railhead is tested with",
            "upgrade the server: https://www.postgresql.org/docs/current/upgrading.html",
        )
    place = inspection.snapshot(connection, case.history.project.version_table, closely=True)
    whose = in_database(connection, case.history, place.versions, case.models)
    yield from _place(connection, place, case, whose)
    yield from _schema(connection, whose)
    yield from _sessions(connection, case.long)
    if case.settings.production and fetch_value(connection, IS_SUPERUSER):
        yield CheckMessage(
            "superuser",
            f"the application serves as a superuser ({case.address.variable}): what gets into it owns the server",
            "give the application a role of its own, and migrations the owner's (MIGRATE_DATABASE_URL)",
        )
    missing = [str(row[0]) for row in _of_ours(fetch_all(connection, UNUSABLE), case)]
    if missing:
        yield CheckMessage(
            "missing-privilege",
            f"the application's role may not read and write {', '.join(_few(missing))}",
            f"GRANT SELECT, INSERT, UPDATE, DELETE ON {', '.join(missing)} TO {_role(connection)};",
        )


def _as_migrator(connection: Connection, case: _Case) -> Iterator[CheckMessage]:
    """Look at the way that migrations take: a pooler, limits, and what their role may."""
    if is_pooled(connection):
        yield CheckMessage(
            "pooler",
            f"a pooler stands between migrations and the database ({case.address.variable})",
            "set MIGRATE_DATABASE_URL to a direct connection; Railway has it in DATABASE_UNPOOLED_URL",
        )
    if fetch_value(
        connection, "SELECT pg_is_in_recovery() OR current_setting('default_transaction_read_only')::boolean"
    ):
        yield CheckMessage(
            "read-only",
            f"migrations cannot write there ({case.address.variable}): a standby, or default_transaction_read_only",
            "name the primary; with several hosts, add ?target_session_attrs=read-write",
        )
    deadlock = float(str(fetch_value(connection, DEADLOCK_TIMEOUT))) / 1000
    if case.settings.lock_timeout >= deadlock:
        yield CheckMessage(
            "lock-timeout-long",
            f"MIGRATE_LOCK_TIMEOUT is {case.settings.lock_timeout * 1000:.0f} ms, and deadlock_timeout {deadlock * 1000:.0f} ms:"
            " in a deadlock the server may end traffic instead of the migration",
            "leave MIGRATE_LOCK_TIMEOUT out (900 ms), or below deadlock_timeout",
        )
    role = _role(connection)
    try:
        ledger.assert_home(connection)
    except Stop as stop:
        yield _of_stop(stop)
        return
    if not fetch_value(connection, "SELECT has_schema_privilege(current_schema(), 'CREATE')"):
        schema = fetch_value(connection, "SELECT quote_ident(current_schema())") or "public"
        yield CheckMessage(
            "missing-privilege",
            f"the role of migrations may not create anything in {schema} ({case.address.variable})",
            f"GRANT USAGE, CREATE ON SCHEMA {schema} TO {role};",
        )
    not_owned = _of_ours(fetch_all(connection, NOT_OURS), case)
    foreign = [str(row[0]) for row in not_owned]
    if foreign:
        roles = sorted({str(row[2]) for row in not_owned})
        yield CheckMessage(
            "not-owner",
            f"the role of migrations does not own {', '.join(_few(foreign))}, so it cannot alter them ({case.address.variable})",
            "\n".join(f"GRANT {owner} TO {role};" for owner in roles),
        )


def _of_ours(rows: list[tuple[object, ...]], case: _Case) -> list[tuple[object, ...]]:
    """Return the rows of tables, whose bare names stand second, that are the engine's or that our history or a model names."""
    names = [str(row[1]) for row in rows]
    looked_at = {*owners.ours(names, case.history), *own_tables()} if names else set()
    return [row for row, name in zip(rows, names, strict=True) if name in looked_at]


def _place(connection: Connection, snapshot: Snapshot, case: _Case, whose: Ownership) -> Iterator[CheckMessage]:
    """Look at where the database is, and at what is not as the migrations left it."""
    history = case.history
    where = inspection.state(snapshot, history, inspection.on_top(connection, snapshot, history))
    if where not in {"current", "settling", "forked"}:
        yield _of_place(where, snapshot, history)
    table = history.project.version_table
    width = fetch_value(connection, WIDTH.format(table.regclass))
    long = [revision_id for revision_id in history.by_id if isinstance(width, int) and len(revision_id) > width]
    if long:
        yield CheckMessage(
            "long-id",
            f"{table.name} holds {width} characters, too few for {', '.join(_few(long))}",
            WIDER.format(table.sql),
        )
    edited = status.edited(snapshot, history)
    if edited:
        yield CheckMessage(
            "edited",
            f"{', '.join(_few(edited))} was applied and means something else now",
            "take the change back (git log -p), and write a new revision for it",
        )
    if status.is_unfinished(snapshot, history) and snapshot.last:
        yield CheckMessage(
            "unfinished",
            f"post-deploy work has failed: {snapshot.last.revision}: {' '.join((snapshot.last.error or '').split())}",
            "mend it in a new release; then, or to try it once more:  python utils/migrate.py finish",
        )
    if snapshot.last and snapshot.last.outcome == "started" and not snapshot.holder:
        yield CheckMessage(
            "half-done",
            f"{snapshot.last.revision} was begun outside a transaction and never finished",
            "python utils/migrate.py upgrade",
        )
    try:
        with catalog.told_who(connection):
            yield from _drift(connection, case, snapshot, whose, at_head=where == "current")
    except Stop as stop:
        yield _of_stop(stop)


def _drift(
    connection: Connection, case: _Case, snapshot: Snapshot, whose: Ownership, *, at_head: bool
) -> Iterator[CheckMessage]:
    outside, others = drift.sort_out(drift.since(snapshot.kept, connection), whose)
    if others:
        yield CheckMessage(
            "left-alone",
            f"no revision and no model names {few(others)}",
            "nothing: they are left alone",
            is_remark=True,
        )
    if outside:
        yield CheckMessage(
            "drifted", f"changed outside the migrations: {_listed(outside)}", "python utils/migrate.py drift"
        )
    if not at_head:
        return
    try:
        with comparing.told("python utils/migrate.py doctor"):
            yield from list(_models(connection, case, outside))
    except Stop as stop:
        yield _of_stop(stop)


def _models(connection: Connection, case: _Case, outside: Sequence[Difference] | None) -> Iterator[CheckMessage]:
    """Look at where models.py and the database differ."""
    metadata = case.models()
    differing = model_diff.enums(metadata, connection)
    if differing:
        differences = "; ".join(
            f"{difference.object} is {difference.expected} in models.py and {difference.found} in the database"
            for difference in differing
        )
        yield CheckMessage("enum-differs", differences, model_diff.AUTOGENERATE)
    told_already = {difference.object for difference in (*differing, *(outside or ()))}
    ahead = [
        difference
        for difference in model_diff.models_ahead(case.settings.project, metadata, connection)
        if difference.object not in told_already
    ]
    if ahead:
        names = "; ".join(_few([f"{difference.object} {_BESIDE_MODELS[difference.kind]}" for difference in ahead]))
        yield CheckMessage("models-ahead", f"models.py and the migrations differ: {names}", model_diff.AUTOGENERATE)


def _of_place(where: str, snapshot: Snapshot, history: History) -> CheckMessage:
    """Return what is said of a database that is not at head."""
    ours = [version for version in snapshot.versions if version in history.by_id]
    if where == "unknown" and ours and not history.redundant(snapshot.versions):
        others = [version for version in snapshot.versions if version not in ours]
        return CheckMessage(where, f"{OTHERS}: {', '.join(others)}", apart(ours, others))
    return CheckMessage(where, f"the database is {where}: {snapshot.place}", "python utils/migrate.py status")


def _is_ours(whose: Ownership, table: Sequence[object]) -> bool:
    """Tell whether a table is for us to look at: ours, or our own."""
    schema, name = map(str, table)
    return name in own_tables() or not whose.is_certain or whose.is_ours(RELATION, schema, name)


def _schema(connection: Connection, whose: Ownership) -> Iterator[CheckMessage]:
    for name, table, *place in fetch_all(connection, INVALID_INDEXES):
        if not _is_ours(whose, place):
            continue
        yield CheckMessage(
            "invalid-index",
            f"the index {name} on {table} is INVALID: it is written and never read",
            f"REINDEX INDEX CONCURRENTLY {name};",
        )
    for name, table, plain, bare, schema in fetch_all(connection, NOT_VALIDATED):
        if not _is_ours(whose, (schema, bare)):
            continue
        in_schema = f', schema="{schema}"' if schema != "public" else ""
        yield CheckMessage(
            "not-validated",
            f"the constraint {name} of {table} is NOT VALID: older rows were never looked at",
            f'op.validate_constraint("{plain}", "{bare}"{in_schema})',
        )


def _sessions(connection: Connection, long: float) -> Iterator[CheckMessage]:
    for pid, application, state, age, query in fetch_all(connection, LONG_TRANSACTIONS, (long,)):
        idle = str(state).startswith("idle in transaction")
        yield CheckMessage(
            "idle-in-transaction" if idle else "long-transaction",
            f"pid {pid}, {application}, {state} for {float(str(age)):.0f} s: a migration of the same tables would wait: {query}",
            f"SELECT pg_terminate_backend({pid});",
        )
    for name, owner, age, tables in fetch_all(connection, PREPARED):
        held = f", and holds locks on {tables}" if tables else ""
        yield CheckMessage(
            "prepared-transaction",
            f"{owner} prepared the transaction {name} {float(str(age)):.0f} s ago{held}",
            f"COMMIT PREPARED '{name}';   or   ROLLBACK PREPARED '{name}';",
        )


def _of_stop(stop: Stop) -> CheckMessage:
    facts = "".join(f"\n{label:<11}{text}" for label, text in stop.facts)
    return CheckMessage(stop.slug, f"{stop.headline}{facts}", stop.next_step)


def _role(connection: Connection) -> str:
    return str(fetch_value(connection, "SELECT quote_ident(current_user)"))


def _listed(differences: list[Difference]) -> str:
    return "; ".join(_few([f"{difference.object} {difference.kind}" for difference in differences]))


_BESIDE_MODELS = {
    "added": "is not in models.py",
    "removed": "is in models.py only",
    "changed": "is another one in models.py",
}


def _few(names: list[str]) -> list[str]:
    return names if len(names) <= MOST_NAMES else [*names[:MOST_NAMES], f"{len(names) - MOST_NAMES} more"]
