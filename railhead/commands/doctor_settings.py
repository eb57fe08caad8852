"""What about the settings could bite? Looks at nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from railhead.settings import Settings

HEALTH_CHECK = 300.0
"""Seconds that Railway gives a new deployment until it answers: https://docs.railway.com/guides/healthchecks"""

PRIVATE_NETWORK = 60.0
"""Seconds in which the names of a private network may not resolve yet."""


class CheckMessage(NamedTuple):
    """Something that could bite, and what to do about it."""

    slug: str
    what: str
    next: str
    is_remark: bool = False
    """Whether it only says what is so, and nothing is to be done."""


def of_settings(settings: Settings) -> Iterator[CheckMessage]:
    """Yield what settings say that works today and bites some day."""
    if settings.wait_lock >= HEALTH_CHECK:
        yield CheckMessage(
            "wait-lock-long",
            f"MIGRATE_WAIT_LOCK is {settings.wait_lock:.0f} s, and Railway gives up on a start after {HEALTH_CHECK:.0f} s",
            "leave MIGRATE_WAIT_LOCK out (240 s), or below what your platform's health check allows",
        )
    if not settings.production:
        return
    if settings.wait_database < PRIVATE_NETWORK:
        yield CheckMessage(
            "wait-database-short",
            f"MIGRATE_WAIT_DATABASE is {settings.wait_database:.0f} s, and private names may not resolve for {PRIVATE_NETWORK:.0f} s",
            "leave MIGRATE_WAIT_DATABASE out (60 s)",
        )
    if settings.dev_create_tables:
        yield CheckMessage(
            "dev-create-tables",
            "DEV_CREATE_TABLES is set in production, where it is ignored",
            "leave it out: in production a failed migration stops the start",
        )
    if not settings.secret_key:
        yield CheckMessage(
            "no-secret-key",
            "SECRET_KEY is not set: each start makes up its own, and every session and open form ends with it",
            'python -c "import secrets; print(secrets.token_hex(32))"',
        )
    if settings.hazards == "ignore":
        yield CheckMessage(
            "hazards-ignored",
            "MIGRATE_HAZARDS=ignore: a migration may freeze a large table without a word",
            "leave MIGRATE_HAZARDS out, and accept single hazards in the migration (accepted_hazards)",
        )
