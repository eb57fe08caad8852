"""What does a signal say of work that may be committed?"""

from __future__ import annotations

import signal
from pathlib import Path
from typing import NamedTuple, cast

import pytest

from railhead.dsn import Address, Dsn
from railhead.execution import confirmation
from railhead.execution.headway import Headway
from railhead.execution.retry_policy import Mode
from railhead.history.planner import MigrationStep
from railhead.postgres.interrupts import Interrupted
from railhead.project import VersionTable
from tests.databases import rows_of

TABLE = VersionTable("told_versions")


class Step(NamedTuple):
    """A step, as far as anybody asks for it here."""

    revision: str


@pytest.fixture
def headway() -> Headway:
    """A run that has done one revision and is in the middle of the next."""
    first, second = (cast("MigrationStep", Step(name)) for name in ("0001", "0002"))
    headway = Headway()
    headway.steps = [first, second]
    headway.begin_attempt(Mode.EACH)
    headway.commit([first], frozenset({"0001"}))
    headway.begin(second)
    return headway


@pytest.mark.parametrize(("version", "unconfirmed"), [("0001", ("0001",)), ("0002", ("0001", "0002"))])
def test_the_server_tells_what_is_committed(
    database: Dsn, headway: Headway, version: str, unconfirmed: tuple[str, ...]
) -> None:
    """What its version table holds is committed, whether somebody has heard so or not."""
    rows_of(database, f"CREATE TABLE {TABLE.sql} AS SELECT '{version}'::text AS version_num")
    interrupted = Interrupted(signal.SIGTERM)
    confirmation.tell(interrupted, headway, Address(database, "DATABASE_URL"), TABLE)
    assert (interrupted.unconfirmed, interrupted.doubtful) == (unconfirmed, ())


def test_of_what_no_server_tells_nothing_is_claimed(database: Dsn, headway: Headway, tmp_path: Path) -> None:
    """A server that is away may have committed it or not."""
    interrupted = Interrupted(signal.SIGTERM)
    away = Address(database.with_(host=str(tmp_path)), "DATABASE_URL")
    confirmation.tell(interrupted, headway, away, TABLE)
    assert (interrupted.unconfirmed, interrupted.doubtful) == (("0001",), ("0002",))
