"""Why did a revision stand still, holding what others wait for?

Knows what was seen of it; never connects.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from railhead.diagnosis.refusals import UNCHANGED
from railhead.errors import ROLLED_BACK, Fact, Refusal
from railhead.postgres.standoff import Standoff, Waiter

if TYPE_CHECKING:
    from railhead.history.planner import MigrationStep

_OWN_CONNECTION = (
    "let {file} speak to this database through the connection that migrates, and open none of its own:\n"
    "connection = op.get_bind()              for SQLAlchemy\n"
    "session = Session(bind=op.get_bind())   for the ORM, in the place of db.session"
)


def waits_for_itself(step: MigrationStep | None, standoff: Standoff) -> Refusal:
    """Return the story of a revision that waited, on another connection, for its own locks."""
    return Refusal(
        "waits-for-itself",
        f"{_name(step)} waited for its own locks on another connection, and would have for ever",
        facts=[
            *_where(step, standoff.line_in(step.path if step else None)),
            *(("waiting", str(waiter)) for waiter in standoff.waiters),
        ],
        database=UNCHANGED,
        next_step=_OWN_CONNECTION.format(file=step.file if step else "the migration"),
        exit_code=ROLLED_BACK,
    )


def sat_idle(step: MigrationStep | None, idle: float, limit: float, waiters: Sequence[Waiter]) -> Refusal:
    """Return the story of a revision that kept its transaction open without asking anything, until PostgreSQL ended it."""
    return Refusal(
        "idle-in-transaction",
        f"{_name(step)} asked PostgreSQL nothing for too long, so its transaction was ended and its locks are free",
        facts=[
            *_where(step, None),
            ("idle", f"{idle:.0f} s; allowed are {limit:g} s (MIGRATE_IDLE_TIMEOUT)"),
            *(("waiting", str(waiter)) for waiter in waiters),
        ],
        database=UNCHANGED,
        next_step="compute, download and wait before the first statement, or allow more (MIGRATE_IDLE_TIMEOUT);\n"
        "what it waits for must not use this database: a request to this application, a job in a queue",
        exit_code=ROLLED_BACK,
    )


def _name(step: MigrationStep | None) -> str:
    return step.revision if step else "the migration"


def _where(step: MigrationStep | None, line: int | None) -> list[Fact]:
    if step is None:
        return []
    place = f"migrations/versions/{step.file}{f', line {line}' if line else ''}"
    return [("revision", step.revision), ("file", place)]
