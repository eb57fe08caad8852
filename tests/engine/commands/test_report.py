"""How records are told to a tired person."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from railhead.commands import report
from railhead.postgres.advisory_lock import Holder
from railhead.state import ledger
from railhead.state.status import Pending, Status

STATES = ("current", "behind", "ahead", "unknown", "unmanaged", "fallback", "forked")

PENDING = Pending("0003_c", "migrations/versions/0003_c.py", "Third\n\nWhy: because.", breaking=False, hazards=())

ENTRY = ledger.LedgerRow(
    id=1,
    run="r",
    revision="0002_b",
    parent="0001_a",
    action="upgrade",
    outcome="applied",
    breaking=None,
    checksum="c",
    started_at=datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC),
    duration_ms=12,
    waited_ms=0,
    attempts=1,
    release="0123456789abcdef",
    actor="owner @ web-2",
    error=None,
)

STATUS = Status(
    state="behind",
    flags=("drifted", "unsealed"),
    current=("0002_b",),
    heads=("0003_c",),
    pending=(PENDING,),
    unknown=(),
    database="postgresql://owner:***@db:5432/board",
    server="PostgreSQL 18.1",
    lock=Holder(4121, "railhead upgrade @ web-2", 93.4),
    last=ENTRY,
)


def test_a_status_is_told_from_the_state_to_the_next_step() -> None:
    """The state with its flags, the facts in a column, what to do: the whole text."""
    assert report.status_text(STATUS) == (
        """\
behind  (drifted, unsealed): the database lacks 1 revision

  current    0002_b
  head       0003_c
  pending    0003_c  Third
  database   postgresql://owner:***@db:5432/board, PostgreSQL 18.1
  lock       held by pid 4121, railhead upgrade @ web-2, for 93 s
  last       2030-01-02 08:49:05 +0545  upgrade 0002_b applied in 12 ms, owner @ web-2, release 0123456789ab

  next       wait for the run that holds the lock:
             python utils/migrate.py wait"""
    )


@pytest.mark.parametrize("state", STATES)
def test_every_state_has_its_sentence(state: str) -> None:
    """Each word for where a database can be has a sentence, and each but `current` a next step."""
    status = STATUS._replace(state=state, flags=())
    text = report.status_text(status)
    assert text.startswith(f"{state}: {report.sentence(status)}\n\n")
    assert ("\n  next  " in text) == (state != "current")


@pytest.mark.parametrize(("count", "said"), [(0, "revisions"), (1, "1 revision"), (2, "2 revisions")])
def test_what_is_pending_is_counted(count: int, said: str) -> None:
    """One is not told as many."""
    assert report.sentence(STATUS._replace(pending=(PENDING,) * count)) == f"the database lacks {said}"


def test_a_failure_is_one_line_of_the_ledger() -> None:
    """A message of several lines stays on its row's line."""
    failed = ENTRY._replace(outcome="failed", release=None, error="duplicate key\nDETAIL: (SQLSTATE 23505)")
    assert report.log_text([failed, ENTRY]).splitlines() == [
        "2030-01-02 08:49:05 +0545  upgrade 0002_b failed in 12 ms, owner @ web-2: duplicate key DETAIL: (SQLSTATE 23505)",
        "2030-01-02 08:49:05 +0545  upgrade 0002_b applied in 12 ms, owner @ web-2, release 0123456789ab",
    ]


def test_a_row_without_a_revision_is_told_too() -> None:
    """`create_all` speaks of no revision, and has no duration."""
    made = ENTRY._replace(action="create_all", revision=None, duration_ms=None, release=None)
    assert report.entry_line(made) == "2030-01-02 08:49:05 +0545  create_all applied, owner @ web-2"


def test_nothing_is_said_in_words() -> None:
    """An empty ledger and an empty plan are sentences, not empty lines."""
    assert (report.log_text([]), report.steps_text("upgrade", [])) == ("nothing in the ledger", "nothing to do")


def test_json_is_the_same_record() -> None:
    """What programs read holds everything that the text says, with names that are not escaped."""
    record = json.loads(report.as_json(STATUS._replace(database="postgresql://größe").record()))
    assert sorted(record) == [
        "current",
        "database",
        "flags",
        "heads",
        "last",
        "lock",
        "pending",
        "server",
        "state",
        "unknown",
        "waits",
    ]
    assert "größe" in report.as_json({"name": "größe"})
    assert record["last"]["started_at"] == "2030-01-02T03:04:05+00:00"
    assert record["lock"] == {"pid": 4121, "application": "railhead upgrade @ web-2", "age": 93.4}
