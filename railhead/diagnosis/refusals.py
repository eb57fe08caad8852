"""Why may a revision not go on?"""

from __future__ import annotations

from collections.abc import Iterable

from railhead.errors import ROLLED_BACK, Refusal
from railhead.history.graph import Revision
from railhead.project import version_table

UNCHANGED = "unchanged by this revision"
"""What a refusal says of the database until somebody looks."""


def out_of_reach(file: str) -> str:
    """Return what to do about a revision after which one of the engine's own tables is not found by its bare name."""
    return (
        f"take the line that sets search_path out of {file} (the output of pg_dump has one),\n"
        'or let upgrade() end with:\nop.execute("RESET search_path")'
    )


def mixed(revision: Revision) -> Refusal:
    """Return the refusal of a revision that could not be mended after a crash."""
    return Refusal(
        "not-repeatable",
        f"{revision.id} mixes transactional work with work outside the transaction",
        facts=[
            ("file", f"migrations/versions/{revision.file}"),
            ("danger", "a crash half way leaves part of it behind, and running it again fails on that part"),
        ],
        database=UNCHANGED,
        next_step="split it: what needs no transaction (op.create_index_concurrently, op.backfill, ...) goes into a\n"
        'revision of its own:  alembic revision -m "..."\n'
        'or accept it in the file:  accepted_hazards = {"not-repeatable": "why it is safe"}',
    )


def unrepeatable(revision: Revision) -> Refusal:
    """Return the refusal of a revision that works outside its transaction only, with what would fail if it were run again."""
    return Refusal(
        "not-repeatable",
        f"{revision.id} leaves its transaction with work that cannot be run again from the top",
        facts=[
            ("file", f"migrations/versions/{revision.file}"),
            (
                "danger",
                "a crash before its version is written leaves the work behind, and running it again fails on that",
            ),
        ],
        database=UNCHANGED,
        next_step="write it with what may be run again (op.create_index_concurrently, ... IF NOT EXISTS),\n"
        'or accept it in the file:  accepted_hazards = {"not-repeatable": "why it is safe"}',
    )


def nested(caller: str | None, action: str) -> Refusal:
    """Return the refusal of a run that a revision starts while it runs itself: it would wait for its own lock."""
    return Refusal(
        "nested-run",
        f"a revision that runs starts another {action} of the same database",
        facts=[
            ("called by", caller or "a program that the revision has started"),
            ("danger", "the lock is taken by the run that it is part of: it would wait for itself"),
        ],
        database=UNCHANGED,
        next_step="take the call out; what comes first is what `down_revision` names",
        exit_code=ROLLED_BACK,
    )


def stolen(revision: Revision | None) -> Refusal:
    """Return the refusal of a migration that ended the transaction which the engine had begun for it."""
    return Refusal(
        "stolen-transaction",
        f"{revision.id if revision else 'the migration'} ended the transaction that was begun for it",
        facts=[
            *([("file", f"migrations/versions/{revision.file}")] if revision else []),
            ("danger", "what came before is committed or gone, whatever happens to the rest"),
        ],
        database=UNCHANGED,
        next_step="take COMMIT, ROLLBACK, .commit() and .rollback() out of it; what needs no transaction:\n"
        "with op.get_context().autocommit_block(): op.execute(...)",
    )


def undone(revision: Revision | None) -> Refusal:
    """Return the refusal of a migration that takes back its own work, and would be written down as applied."""
    return Refusal(
        "stolen-transaction",
        f"{revision.id if revision else 'the migration'} rolls back what it has done itself",
        facts=[
            *([("file", f"migrations/versions/{revision.file}")] if revision else []),
            ("danger", "the version would say that it is applied, and its work would be gone"),
        ],
        database=UNCHANGED,
        next_step="take ROLLBACK, .rollback() and .close() out of it; what may fail:\nwith op.get_bind().begin_nested(): ...",
        exit_code=ROLLED_BACK,
    )


def moved(expected: Iterable[str]) -> Refusal:
    """Return the refusal to go on where somebody else has moved the version under us."""
    return Refusal(
        "version-moved",
        f"something else than Railhead has changed {version_table().name} meanwhile",
        facts=[("expected", ", ".join(sorted(expected)))],
        database=UNCHANGED,
        next_step="let nothing else move it, the revisions included; where the database is now:\npython utils/migrate.py status",
        exit_code=ROLLED_BACK,
    )


def not_recorded() -> Refusal:
    """Return the refusal to commit what the ledger does not take."""
    return Refusal(
        "not-recorded",
        "migration_ledger does not take the row of a revision",
        facts=[("because", "a trigger on the table leaves it out")],
        database=UNCHANGED,
        next_step="see what is on the table (psql: \\d migration_ledger), and take it away",
        exit_code=ROLLED_BACK,
    )


def not_ours() -> Refusal:
    """Return the refusal of a connection on which somebody has begun a transaction: Alembic would not commit it."""
    return Refusal(
        "not-our-transaction",
        "something has begun a transaction on the connection of the migrations",
        facts=[
            ("danger", "Alembic leaves the commit to whoever began, so that everything would silently be rolled back")
        ],
        database=UNCHANGED,
        next_step="execute nothing on the connection in migrations/env.py, nor in listeners that it registers",
    )
