"""The schema console in a real browser: every state and flag, by mouse and by keyboard, narrow and wide, light and dark."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import psycopg2
import pytest

from tests.chaos.eyes import DESK, PHONE, faults, press_to
from tests.engine import test_states as states
from tests.ground import Tree, rows_of
from utils.lock import Lock

if TYPE_CHECKING:
    from playwright.sync_api import Page

LEDGER = """
    INSERT INTO migration_ledger (run, revision, action, outcome, actor, release, duration_ms, error)
    SELECT 'r' || n, '0003_' || n, 'upgrade', 'failed', 'ada @ web-1', 'v' || n % 2, n, 'out of luck' FROM generate_series(1, 60) n
"""
SIXTY = """
    DO $$ BEGIN
        FOR n IN 1..60 LOOP
            EXECUTE format('CREATE TABLE part_%s (id bigint PRIMARY KEY, above bigint REFERENCES %s, twin bigint REFERENCES %s)',
                           n, CASE WHEN n > 3 THEN 'part_' || n / 3 ELSE 'project' END, CASE WHEN n > 9 THEN 'part_' || n % 9 + 1 ELSE 'member' END);
        END LOOP;
    END $$
"""


def drifted(tree: Tree) -> None:
    """At head, and somebody has changed the schema by hand."""
    states.at_head(tree)  # type: ignore[arg-type]
    _sql(tree, "ALTER TABLE task ADD note text")


def edited(tree: Tree) -> None:
    """At head, and a revision's file means something else since."""
    states.at_head(tree)  # type: ignore[arg-type]
    file = tree.versions / "0002_add_task_due_on.py"
    file.write_text(file.read_text() + "\n\nLATER = 1\n")


def unsealed(tree: Tree) -> None:
    """At head, and the manifest does not list the last revision."""
    tree.write("0003_note", states.NULLABLE, after="0002_add_task_due_on")
    states.at_head(tree)  # type: ignore[arg-type]


class Banner(NamedTuple):
    """How a database came there, what its badge is, the sentence, and how the banner looks."""

    made: Callable[..., None]
    badge: str
    sentence: str
    tone: str


BANNERS = [
    Banner(states.at_head, "current", "The database is at head.", "good"),
    Banner(states.half_way, "behind", "The database lacks 1 revision.", "care"),
    Banner(states.empty, "behind", "The database lacks 2 revisions.", "care"),
    Banner(states.one_ahead, "ahead", "The database is ahead of this code.", "care"),
    Banner(states.one_ahead_too_far, "ahead", "The database is ahead of this code.", "bad"),
    Banner(states.of_another_project, "unknown", "The database is at a revision that this code does not have.", "bad"),
    Banner(states.made_by_hand, "unmanaged", "The database has tables, but no version.", "bad"),
    Banner(states.fallen_back, "fallback", "DEV_CREATE_TABLES made the tables; the database has no version.", "bad"),
    Banner(states.two_heads, "forked", "The history of this code is forked.", "bad"),
    Banner(drifted, "drifted", "The schema was changed outside the migrations since the last run.", "care"),
    Banner(
        edited, "edited", "A revision that is applied here means something else now than when it was applied.", "care"
    ),
    Banner(unsealed, "unsealed", "migrations/manifest.txt lacks a revision.", "care"),
]


@pytest.mark.parametrize("banner", BANNERS, ids=lambda banner: banner.made.__name__)
def test_each_state_and_flag_has_its_banner(
    opened: Callable[..., Page], project: Tree, banner: Banner, tmp_path: Path
) -> None:
    """The banner says in a word, a sentence and a colour where the database is, and the page passes axe everywhere."""
    banner.made(project)
    page = opened(script=True, MIGRATE_ON_START="off")
    page.goto("/schema")
    shown = page.locator(".banner").filter(has=page.locator(f".badge:text-is('{banner.badge}')"))
    assert shown.locator("strong").inner_text() == banner.sentence
    assert banner.tone in (shown.get_attribute("class") or "").split()
    found = faults(page, tmp_path / f"{banner.made.__name__}.png")
    assert not found, "\n".join(found)


def test_running_migration_and_no_server_are_accessible(
    opened: Callable[..., Page], project: Tree, tmp_path: Path
) -> None:
    """While another process migrates the page says so; that, and what it says without a server, passes axe."""
    page = opened(script=True)
    found: list[str] = []
    assert project.database is not None
    with closing(psycopg2.connect(project.database.with_(application_name="railhead upgrade @ web-2"))) as holder:
        holder.autocommit = True
        lock = Lock(holder)
        assert lock.try_take()
        page.goto("/schema?refresh=off")
        page.get_by_role("region", name="Running migration").wait_for()
        found += faults(page, tmp_path / "migrating.png")
        lock.release()
    nobody = "postgresql://nobody@127.0.0.1:9/nothing"
    page = opened(script=True, MIGRATE_ON_START="off", DATABASE_URL=nobody)
    page.goto("/schema")
    page.get_by_text("see that the server runs").wait_for()
    found += faults(page, tmp_path / "away.png")
    assert not found, "\n".join(found)


def test_sixty_tables_and_a_long_ledger_are_accessible(
    opened: Callable[..., Page], project: Tree, tmp_path: Path
) -> None:
    """A picture of sixty tables is as large as it has to be, within a frame that scrolls, and passes axe on a phone."""
    page = opened(width=360, scheme="dark", script=True)
    _sql(project, SIXTY)
    _sql(project, LEDGER)
    page.goto("/schema")
    assert page.locator(".er-table").count() == 64
    assert page.locator(".er-name").first.evaluate("name => getComputedStyle(name).fontSize") == "13px"
    found = faults(page, tmp_path / "sixty.png", [(PHONE, "dark"), (DESK, "light")])
    assert not found, "\n".join(found)


def test_page_loads_itself_again_until_the_migration_has_ended(opened: Callable[..., Page], project: Tree) -> None:
    """Without JavaScript the page follows the migration, and rests when it is over."""
    page = opened()
    assert project.database is not None
    with closing(psycopg2.connect(project.database)) as holder:
        holder.autocommit = True
        lock = Lock(holder)
        assert lock.try_take()
        page.goto("/schema")
        page.get_by_role("region", name="Running migration").wait_for()
        lock.release()
        page.get_by_role("region", name="Running migration").wait_for(state="detached")
    page.get_by_text("The database is at head.").wait_for()


def test_console_by_mouse_without_javascript(opened: Callable[..., Page], project: Tree) -> None:
    """A click in the picture leads to the table, the ledger is filtered and paged, with links and forms alone."""
    page = opened()
    _sql(project, LEDGER)
    page.goto("/")
    page.get_by_role("link", name="Schema").click()
    page.locator("svg").get_by_role("link", name="task", exact=True).click()
    page.wait_for_url("**#table-task")
    page.get_by_role("heading", name="task", exact=True).wait_for()
    page.get_by_label("Outcome").select_option("failed")
    page.get_by_label("Release").fill("v1")
    page.get_by_role("button", name="Filter").click()
    page.get_by_text("Page 1 of 2").wait_for()
    page.get_by_role("link", name="Next").click()
    page.get_by_text("Page 2 of 2").wait_for()
    assert page.get_by_text("out of luck").count() == 5
    page.get_by_role("link", name="Show all").click()
    page.get_by_text("Page 1 of 3").wait_for()


def test_console_by_keyboard_alone(opened: Callable[..., Page], project: Tree) -> None:
    """Tab and Enter reach the filter, a table in the picture, and pass the picture by."""
    page = opened(script=True)
    _sql(project, LEDGER)
    page.goto("/schema")
    press_to(page, page.get_by_label("Release"))
    page.keyboard.type("v1")
    page.keyboard.press("Enter")
    page.wait_for_url("**release=v1*")
    page.get_by_text("Page 1 of 2").wait_for()
    press_to(page, page.get_by_role("link", name="Skip the picture"))
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    focused = page.evaluate("document.activeElement.closest('section.table')?.id")
    assert focused == "table-member"
    page.goto("/schema")
    press_to(page, page.locator("svg").get_by_role("link", name="task", exact=True))
    page.keyboard.press("Enter")
    page.wait_for_url("**#table-task")


def _sql(tree: Tree, statement: str) -> None:
    assert tree.database is not None
    rows_of(tree.database, statement)
