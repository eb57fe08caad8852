"""How a failure is told."""

from __future__ import annotations

import json

from railhead import errors
from railhead.errors import Stop, TableBusy

BUSY = Stop(
    "lock-busy",
    "another process holds the migration lock",
    facts=[("holder", "pid 4121, railhead upgrade @ web-2, for 93 s"), ("waited", "240 s (MIGRATE_WAIT_LOCK)")],
    database="unchanged, at 0007",
    next_step="wait for the other deploy, or look at it:\npython utils/migrate.py status",
)


def test_message_has_four_parts_in_order() -> None:
    """Headline, facts, state of the database, next step; the slug stands at the end."""
    assert BUSY.render("upgrade") == (
        "upgrade stopped: another process holds the migration lock\n"
        "\n"
        "  holder     pid 4121, railhead upgrade @ web-2, for 93 s\n"
        "  waited     240 s (MIGRATE_WAIT_LOCK)\n"
        "  database   unchanged, at 0007\n"
        "\n"
        "  next       wait for the other deploy, or look at it:\n"
        "             python utils/migrate.py status                        [lock-busy]"
    )


def test_record_says_the_same_to_programs() -> None:
    """The JSON of a failure holds the same parts and the exit code."""
    assert json.loads(json.dumps(BUSY.record())) == {
        "error": "lock-busy",
        "headline": "another process holds the migration lock",
        "facts": {"holder": "pid 4121, railhead upgrade @ web-2, for 93 s", "waited": "240 s (MIGRATE_WAIT_LOCK)"},
        "database": "unchanged, at 0007",
        "next": "wait for the other deploy, or look at it:\npython utils/migrate.py status",
        "exit_code": 4,
    }


def test_record_keeps_every_fact() -> None:
    """Facts with the same label, such as several wrong settings, are all in the JSON."""
    stop = Stop("settings", "", facts=[("setting", "PORT"), ("setting", "LOG_LEVEL")], database="", next_step="")
    assert stop.record()["facts"] == {"setting": "PORT\nLOG_LEVEL"}


def test_facts_of_several_lines_stay_aligned() -> None:
    """A fact may have lines, empty ones too; they stand below each other, without trailing blanks."""
    stop = Stop("x", "y", facts=[("said", "one\n\ntwo")], database="unchanged", next_step="z")
    assert "  said       one\n\n             two\n  database   unchanged\n" in stop.render()


def test_exit_code_goes_by_the_slug() -> None:
    """What is not listed could not be done (3); a caller that knows better says so."""

    def code(slug: str, given: int | None = None) -> int:
        return Stop(slug, "", database="", next_step="", exit_code=given).exit_code

    assert [code("usage"), code("settings"), code("lock-busy"), code("migration-failed")] == [2, 3, 4, 5]
    assert code("migration-half-done") == errors.LEFT_BEHIND == 6
    assert code("settings", errors.NO) == 1


def test_stop_is_replaced_and_never_changed() -> None:
    """A copy with another state of the database keeps its class and all other parts; the first stays as it was."""
    first = TableBusy("table-busy", "a table is busy", facts=[("a", "b")], database="unchanged", next_step="wait")
    second = first.replaced(database="at 0001", exit_code=6)
    assert (type(second), second.database, second.exit_code) == (TableBusy, "at 0001", 6)
    assert (second.slug, second.headline, second.facts, second.next_step) == (
        first.slug,
        first.headline,
        first.facts,
        first.next_step,
    )
    assert (first.database, first.exit_code) == ("unchanged", 4)
