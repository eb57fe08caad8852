"""Why did it fail, and what now?

Turns what PostgreSQL or a migration said into a Stop that keeps those words and adds what to do. Never connects.
"""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg2

from railhead.diagnosis import own_needs, sqlstates
from railhead.diagnosis.postgres_error import Ask
from railhead.diagnosis.sqlstates import Cause
from railhead.dsn import Address
from railhead.errors import LEFT_BEHIND, ROLLED_BACK, Fact, Stop, TableBusy, TwoDatabases
from railhead.history.errors import raised_outside
from railhead.postgres import failures
from railhead.postgres.advisory_lock import Holder
from railhead.postgres.blockers import Blocker
from railhead.postgres.observed import FailedStatement, Observed
from railhead.postgres.retry_budget import Allowance
from railhead.project import version_table

if TYPE_CHECKING:
    from railhead.history.planner import MigrationStep

UPGRADE = "python utils/migrate.py upgrade"

NOBODY_ANSWERS = "what was committed is committed, the rest was rolled back; nobody answers to tell more"


def _silent(_question: str, _values: tuple[object, ...]) -> None:
    """Answer nothing."""


def failed(
    error: BaseException,
    step: MigrationStep | None,
    place: str,
    *,
    left: bool,
    foreign: bool = False,
    ask: Ask = _silent,
    again: str = UPGRADE,
) -> Stop:
    """Return the story of a migration that failed at `step`, with the database now at `place`.

    `left`: the step had left its transaction; `foreign`: a connection of its own failed, which may lead anywhere. `ask` answers from a connection of its own; `again` is the command to repeat.
    """
    facts: list[Fact] = []
    name, file = (step.revision, step.file or "") if step else ("the migration", "the migration")
    if step is not None:
        facts.append(("revision", step.revision))
        facts.append(("file", f"migrations/versions/{step.file}{_line(error, step)}"))
    facts += _words(error)
    if foreign:
        outside = raised_outside(cause(error)) or file
        if step is None or f"/{step.file}," not in outside:
            facts.append(("raised by", outside))
        file = file if step else outside.partition(",")[0]
        facts.append(("connection", "another one, that this file has opened or uses; the one that migrates is well"))
    reason = None if foreign else _cause(error, name, file, ask)
    if swallowed(error):
        facts.append(("then", f"{file} caught that and went on, in a transaction that PostgreSQL had aborted"))
        reason = _gone_on(reason, file)
    why = f": {reason.headline}" if reason else ""
    advice = f"{reason.advice}\n" if reason else ""
    if left:
        return Stop(
            "migration-half-done",
            f"{name} failed after it had left its transaction{why}",
            facts=facts,
            database=f"{place.removeprefix('unchanged, ')}; part of {name} stays behind",
            next_step=f"{advice}see that {file} can run again from the top, then:\n{again}",
        )
    return Stop(
        reason.slug if reason else "migration-failed",
        f"{name} failed and was rolled back{why}",
        facts=facts,
        database=place,
        next_step=f"{advice}then:\n{again}" if reason else f"correct {file}, then:\n{again}",
        exit_code=ROLLED_BACK,
    )


def refused(error: BaseException, place: str, *, ask: Ask = _silent, again: str) -> Stop:
    """Return the story of a question, or of a preparation, that PostgreSQL refused while no migration ran."""
    if failures.is_lost(cause(error)) and raised_outside(error):
        return failed(error, None, place, left=False, foreign=True, again=again)
    reason = _cause(error, "the engine", "", ask)
    need = own_needs.find(original, ask) if isinstance(original := cause(error), psycopg2.Error) else None
    if need:
        slug, headline, advice = need.slug, need.headline, f"{need.advice}\nthen:\n{again}"
    elif reason and reason.slug in {"missing-privilege", "read-only", "disk-full", "server-error"}:
        slug, headline, advice = reason.slug, reason.headline, f"{reason.advice}\nthen:\n{again}"
    elif reason and reason.slug == "lock-timeout":
        slug, headline, advice = "table-busy", "a table stayed locked by others", f"{reason.advice}\nthen:\n{again}"
    elif failures.is_lost(cause(error)):
        slug, headline, advice = "connection-lost", "the connection to the database was lost", again
    else:
        slug, headline = "refused", "PostgreSQL refuses what the engine needs"
        advice = f"see that {version_table().name} and migration_ledger are the engine's own tables, then:\n{again}"
    kind = TableBusy if slug == "table-busy" else Stop
    return kind(slug, headline, facts=_words(error), database=place, next_step=advice)


def table_busy(
    error: BaseException, step: MigrationStep | None, place: str, waited: Allowance, who: list[Blocker]
) -> Stop:
    """Return the story of a revision that never got its table locks."""
    facts: list[Fact] = [("revision", step.revision)] if step else []
    facts += [("blocker", str(blocker)) for blocker in who] or [("blocker", "gone when we looked")]
    facts += [*_words(error), ("waited", str(waited))]
    end = who[0].end if who else UPGRADE
    return TableBusy(
        "table-busy",
        "a table stayed locked by others",
        facts=facts,
        database=place,
        next_step=f"wait until they are done and start again, or end the oldest by hand:\n{end}",
    )


def lock_busy(holder: Holder | None, place: str, waited: Allowance) -> Stop:
    """Return the story of a lock that somebody else kept for longer than we may wait."""
    return Stop(
        "lock-busy",
        "another process holds the migration lock",
        facts=[("holder", str(holder) if holder else "gone when we looked"), ("waited", str(waited))],
        database=f"unchanged by us, {place}",
        next_step="wait for the other deploy, or look at it:\npython utils/migrate.py status",
    )


def statement_pooling(address: Address, place: str) -> Stop:
    """Return the story of a pooler that ends every connection on which a transaction begins."""
    return Stop(
        "pooled",
        "the pooler knows no transactions, and a migration is one",
        facts=[("server", str(address)), ("pooler", "hangs up at BEGIN, as PgBouncer does with pool_mode=statement")],
        database=place,
        next_step="let MIGRATE_DATABASE_URL name the server itself, or a pool with pool_mode=session or transaction",
    )


def connection_lost(revision: str | None, words: str, times: int, waited: Allowance) -> Stop:
    """Return the story of a connection that was lost too often or for too long."""
    return Stop(
        "connection-lost",
        "the connection to the database was lost",
        facts=[
            *([("revision", revision)] if revision else []),
            ("PostgreSQL", words),
            ("lost", f"{times} times; at most {waited} are spent on waiting"),
        ],
        database=NOBODY_ANSWERS,
        next_step="see that the server runs, then:\npython utils/migrate.py status",
    )


def not_verified(expected: str, place: str) -> Stop:
    """Return the story of a run that believed it was done, and was not."""
    return Stop(
        "not-verified",
        "the database is not where the migration said it is",
        facts=[("expected", expected), ("found", place)],
        database=f"{place}; what the migration did was not committed, or somebody undid it",
        next_step="see that migrations/env.py begins no transaction of its own, then:\npython utils/migrate.py status",
        exit_code=LEFT_BEHIND,
    )


def not_entered() -> Stop:
    """Return the story of a migrations/env.py that does its own work: nobody knows what it did."""
    return Stop(
        "not-entered",
        "migrations/env.py did not hand over to the engine",
        facts=[("expected", "its last line is  entry.enter(context, models)")],
        database="where that file left it",
        next_step="restore migrations/env.py, then:\npython utils/migrate.py status",
        exit_code=LEFT_BEHIND,
    )


def two_databases(addresses: Sequence[Address], place: str) -> Stop:
    """Return the story of two URLs that lead to different places; `place` is what is at the first, the migrations'."""
    variable, second = (address.variable for address in addresses)
    return TwoDatabases(
        "two-databases",
        f"{variable} and {second} name two different databases",
        facts=[(f"url {index}", str(address)) for index, address in enumerate(addresses, 1)],
        database=f"the one of {variable} is {place}; the application would use the other",
        next_step=f"make {variable} and {second} name the same database, then start again",
    )


def two_schemas(addresses: Sequence[Address], places: dict[str, str]) -> Stop:
    """Return the story of two URLs that lead to one database and see different tables there; `places` is what they see."""
    first, second = places
    return TwoDatabases(
        "two-databases",
        f"{first} and {second} see different tables of one database",
        facts=[
            *((f"url {index}", str(address)) for index, address in enumerate(addresses, 1)),
            ("found", "\n".join(f"{place} through {name}" for name, place in places.items())),
        ],
        database=f"the one of {first} is {places[first]}; the application would not find its tables",
        next_step="give both the same search_path (`options` in the URL, or ALTER ROLE ... SET search_path),\n"
        "then start again",
    )


def not_written(missing: list[str], place: str) -> Stop:
    """Return the story of revisions that were committed, and whose rows in the ledger are gone."""
    return Stop(
        "not-verified",
        "the ledger does not hold what the migration wrote into it",
        facts=[("missing", "\n".join(missing))],
        database=f"{place}; something deletes rows of migration_ledger, a trigger or a rule",
        next_step="see what is on the table (psql: \\d migration_ledger), then:\npython utils/migrate.py status",
        exit_code=LEFT_BEHIND,
    )


def moved(target: str, before: str, place: str) -> Stop:
    """Return the story of a relative target that lost its meaning."""
    return Stop(
        "moved",
        f"the database moved while we waited, so {target} would mean something else now",
        facts=[("was", before), ("is", place)],
        database=f"unchanged by us, {place}",
        next_step="look where it is and decide again:\npython utils/migrate.py status",
    )


def ahead(newer: tuple[str, ...], unmet: list[str], release: str | None, place: str) -> Stop:
    """Return the refusal of an older release on a newer database that lacks what the release needs."""
    deploy = f"deploy release {release} or a newer one" if release else f"deploy a release that has {newer[-1]}"
    return Stop(
        "ahead",
        "this release is older than the database, and what it needs is gone",
        facts=[("newer", "\n".join(newer)), ("missing", "\n".join(unmet))],
        database=f"unchanged, {place}",
        next_step=f"{deploy}; that is the release whose migrations made this schema",
    )


def lacking(headline: str, unmet: Sequence[str], place: str, *, edited: bool) -> Stop:
    """Return the refusal of a database at head that lacks what the models need."""
    facts: list[Fact] = [("missing", "\n".join(unmet))]
    if edited:
        facts.append(
            (
                "edited",
                "a revision was edited after it had run here, and does not run again: its change needs one of its own",
            )
        )
    return Stop(
        "schema-lacks",
        headline,
        facts=facts,
        database=f"unchanged, {place}",
        next_step="see what was changed, and what mends it:\npython utils/migrate.py drift",
    )


def already_managed(versions: tuple[str, ...]) -> Stop:
    """Return the refusal to adopt a database that has a version."""
    return Stop(
        "managed",
        "the database has a version already: there is nothing to adopt",
        facts=[("found", ", ".join(versions))],
        database=f"unchanged, at {', '.join(versions)}",
        next_step="python utils/migrate.py status",
    )


def cause(error: BaseException) -> BaseException:
    """Return the driver's error below SQLAlchemy's, or the error itself.

    On a lost connection Alembic's way out of an `autocommit_block` fails too, and what it raises hides what happened.
    """
    while type(error).__name__ == _HIDES and error.__context__ is not None:
        error = error.__context__
    original = getattr(error, "orig", None)
    original = original if isinstance(original, BaseException) else error
    first = swallowed(original)
    return first.error if first else original


def swallowed(error: BaseException) -> FailedStatement | None:
    """Return what had aborted the transaction that an error complains of, when somebody caught that and went on."""
    error = getattr(error, "orig", None) or error
    if not isinstance(error, psycopg2.errors.InFailedSqlTransaction):
        return None
    connection = getattr(error.cursor, "connection", None)
    first = connection.first_failure if isinstance(connection, Observed) else None
    return None if first is None or isinstance(first.error, psycopg2.errors.InFailedSqlTransaction) else first


def _gone_on(reason: Cause | None, file: str) -> Cause:
    """Return the cause with what keeps a transaction alive in which something may fail."""
    nested = f"or, where it may fail, let {file} keep the transaction alive:\nwith op.get_bind().begin_nested(): ..."
    if reason is None:
        return Cause(
            "migration-failed",
            "a statement failed, and what came after it could not run",
            f"correct the statement; {nested}",
        )
    return reason._replace(advice=f"{reason.advice}\n{nested}")


_HIDES = "PendingRollbackError"
"""SQLAlchemy's, by its name: explaining an error loads nothing that did not raise it."""


def _cause(error: BaseException, revision: str, file: str, ask: Ask) -> Cause | None:
    original = cause(error)
    if not isinstance(original, psycopg2.Error):
        return None
    first = swallowed(error)
    statement = first.statement if first else getattr(error, "statement", None) or ""
    reason = sqlstates.find(original, statement, revision, file, ask)
    return reason or (own_needs.raised(original, ask) if (original.pgcode or "").startswith("P0") else None)


def _words(error: BaseException) -> list[Fact]:
    """Return PostgreSQL's own words, its sentence and SQLSTATE apart from the details, which may hold what people typed."""
    error = cause(error)
    if not isinstance(error, psycopg2.Error):
        return [("Python", f"{type(error).__name__}: {error}")]
    code = f" (SQLSTATE {error.pgcode})" if error.pgcode else ""
    sentence = error.diag.message_primary or failures.server_words(error)
    details = [text for text in (error.diag.message_detail, error.diag.message_hint) if text]
    return [("PostgreSQL", f"{sentence}{code}"), *([("detail", "\n".join(details))] if details else [])]


def _line(error: BaseException, step: MigrationStep) -> str:
    first = swallowed(error)
    stack = (
        first.stack
        if first
        else [(frame.filename, frame.lineno) for frame in traceback.extract_tb(error.__traceback__)]
    )
    lines = [line for name, line in stack if Path(name).name == step.file]
    return f", line {lines[-1]}" if lines else ""
