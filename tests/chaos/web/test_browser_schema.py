"""The schema console in a real browser: every state and flag, by mouse and by keyboard, narrow and wide, light and dark."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import psycopg2
import pytest
from psycopg2.extensions import connection as Connection

from railhead.dsn import Dsn
from railhead.postgres.advisory_lock import Lock
from tests.chaos import server_state
from tests.chaos.web.browser_input import HANDS, SIZES, Keyboard, Mouse
from tests.chaos.web.page_checks import DESK, OPPOSITE, Scheme, colour, contrast, faults
from tests.databases import rows_of
from tests.engine.state import test_states as states
from tests.forked_tree import Workshop
from tests.processes import eventually
from tests.project_tree import Tree

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page, Route

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

FEW_TASKS = """
    INSERT INTO project (name) VALUES ('P');
    INSERT INTO task (title, project_id) SELECT 'T', 1 FROM generate_series(1, 20);
    ANALYZE task
"""
HALF_AN_INDEX = """
    INSERT INTO project (name) VALUES ('P');
    INSERT INTO task (title, project_id, description) SELECT 'T', 1, repeat('text ', 200) FROM generate_series(1, 100);
    CREATE FUNCTION slow(id bigint) RETURNS bigint IMMUTABLE LANGUAGE plpgsql AS
        $$ BEGIN IF id = 50 THEN PERFORM pg_advisory_xact_lock(4711); END IF; RETURN id; END $$
"""
"""What makes an index of slow(id) stop half way, until nobody holds that lock."""


def drifted(tree: Workshop) -> None:
    """At head, and somebody has changed the schema by hand."""
    states.at_head(tree)
    _sql(tree, "ALTER TABLE task ADD note text")


def edited(tree: Workshop) -> None:
    """At head, and a revision's file means something else since."""
    states.at_head(tree)
    file = tree.versions / "0002_add_task_due_on.py"
    file.write_text(file.read_text() + "\n\nLATER = 1\n")


def unsealed(tree: Workshop) -> None:
    """At head, and the manifest does not list the last revision."""
    tree.write("0003_note", states.NULLABLE, after="0002_add_task_due_on")
    states.at_head(tree)


class Banner(NamedTuple):
    """How a database came there, what its badge is, the sentence, how the banner looks, and what the application is told."""

    made: Callable[..., None]
    badge: str
    sentence: str
    tone: str
    variables: dict[str, str] = {}


HEAD = "The database is at head."
LACKS = "The database lacks {}."
AHEAD = "The database is ahead of this code."
NO_VERSION = "The database has tables, but no version."
FALLBACK = "DEV_CREATE_TABLES made the tables; the database has no version."
FORKED = "The history of this code is forked."

BANNERS = [
    Banner(states.at_head, "current", HEAD, "good"),
    Banner(states.half_way, "behind", LACKS.format("1 revision"), "care"),
    Banner(states.empty, "behind", LACKS.format("2 revisions"), "care"),
    Banner(states.back_at_base, "behind", LACKS.format("2 revisions"), "care"),
    Banner(states.one_ahead, "ahead", AHEAD, "care"),
    Banner(states.one_ahead_too_far, "ahead", AHEAD, "bad"),
    Banner(states.of_another_project, "unknown", "The database is at a revision that this code does not have.", "bad"),
    Banner(states.made_by_create_all, "unmanaged", NO_VERSION, "bad"),
    Banner(states.made_by_hand, "unmanaged", NO_VERSION, "bad"),
    Banner(states.fallen_back, "fallback", FALLBACK, "bad"),
    Banner(states.fallen_back, "fallback", FALLBACK, "care", {"DEV_CREATE_TABLES": "true"}),
    Banner(states.two_heads, "forked", FORKED, "bad"),
    Banner(states.one_id_twice, "forked", FORKED, "bad"),
    Banner(drifted, "drifted", "The schema was changed outside the migrations since the last run.", "care"),
    Banner(
        edited, "edited", "A revision that is applied here means something else now than when it was applied.", "care"
    ),
    Banner(unsealed, "unsealed", "migrations/manifest.txt lacks a revision.", "care"),
]

TONES: dict[str, dict[Scheme, tuple[str, str]]] = {
    "good": {"light": ("#0d5c4c", "#e0eeea"), "dark": ("#6fd0b4", "#1c352d")},
    "care": {"light": ("#7a4d00", "#fbf0d6"), "dark": ("#f0c069", "#372c14")},
    "bad": {"light": ("#a12f1c", "#fbe9e4"), "dark": ("#ff9c88", "#3b211b")},
    "busy": {"light": ("#35569c", "#ffffff"), "dark": ("#9db9f5", "#1d2320")},
}
"""Of a banner the bar at its left, and what its words stand on."""


def banner_id(banner: Banner) -> str:
    """Return its name among the tests."""
    return f"{banner.made.__name__}{'_and_served' if banner.variables else ''}"


@pytest.mark.parametrize("banner", BANNERS, ids=banner_id)
def test_each_state_and_flag_has_its_banner(
    opened: Callable[..., Page], workshop: Workshop, banner: Banner, tmp_path: Path
) -> None:
    """The banner says in a word, a sentence and a colour where the database is, and the page passes axe, narrow and wide."""
    banner.made(workshop)
    page = opened(script=True, MIGRATE_ON_START="off", **banner.variables)
    page.goto("/schema")
    shown = page.locator(".banner").filter(has=page.locator(f".badge:text-is('{banner.badge}')"))
    assert shown.locator("strong").inner_text() == banner.sentence
    assert_tone(page, shown, banner.tone)
    found = faults(page, tmp_path / f"{banner_id(banner)}.png", OPPOSITE)
    assert not found, "\n".join(found)


def assert_tone(page: Page, banner: Locator, tone: str) -> None:
    """See that a banner is really painted in the colours of its tone, light and dark."""
    page.set_viewport_size({"width": DESK, "height": 900})
    box = banner.bounding_box()
    assert box
    middle = box["y"] + box["height"] / 2
    for scheme, painted in TONES[tone].items():
        page.emulate_media(color_scheme=scheme)
        assert (colour(page, box["x"] + 3, middle), colour(page, box["x"] + 15, middle)) == painted, (tone, scheme)


def test_running_migration_is_accessible(opened: Callable[..., Page], workshop: Workshop, tmp_path: Path) -> None:
    """While another process migrates the page says so, what it is at, how far it is and for whom it waits, and passes axe."""
    states.at_head(workshop)
    _sql(workshop, HALF_AN_INDEX)
    page = opened(script=True)
    page.route("**/schema", _without_refresh)
    found: list[str] = []
    with migrating(workshop) as migrator, session(workshop, "a long report") as reader:
        page.goto("/schema")
        page.get_by_text("What it is at right now PostgreSQL does not tell").wait_for()
        page.get_by_role("link", name="Stop that").wait_for()
        assert_tone(page, page.get_by_role("region", name="Running migration"), "busy")
        found += faults(page, tmp_path / "migrating.png")
        reader.cursor().execute("SELECT pg_advisory_lock(4711)")
        with building(workshop, migrator):
            page.goto("/schema?refresh=off")
            page.get_by_role("progressbar", name="building index: scanning table").wait_for()
            page.get_by_text("a long report, idle").wait_for()
            page.get_by_role("link", name="Load this page again every few seconds").wait_for()
            found += faults(page, tmp_path / "building.png")
    assert not found, "\n".join(found)


def test_page_without_a_server_is_accessible(opened: Callable[..., Page], tmp_path: Path) -> None:
    """What the console says without a server passes axe, and mouse and keyboard look again."""
    page = opened(script=True, MIGRATE_ON_START="off", DATABASE_URL="postgresql://nobody@127.0.0.1:9/nothing")
    page.goto("/schema")
    page.get_by_text("see that the server runs").wait_for()
    found = faults(page, tmp_path / "away.png")
    for hand in (Mouse(page), Keyboard(page)):
        with page.expect_response("**/schema"):
            hand.press(page.get_by_role("link", name="Look again"))
        page.get_by_text("see that the server runs").wait_for()
    assert not found, "\n".join(found)


def test_plan_and_what_cannot_be_read_are_accessible(
    opened: Callable[..., Page], workshop: Workshop, tmp_path: Path
) -> None:
    """A plan that would be refused, with all its details open, passes axe; so does a ledger or a table that shows nothing."""
    page = opened(script=True, **refused(workshop))
    page.goto("/schema")
    page.get_by_text("would be refused").wait_for()
    for summary in page.locator("summary").all():
        summary.click()
    assert page.locator("details[open]").count() == page.locator("details").count() >= 2
    dot = page.locator(".timeline .plain li").first.evaluate("hazard => getComputedStyle(hazard, '::before').content")
    assert dot == "none", "a hazard looks like a revision"
    found = faults(page, tmp_path / "refused.png")
    page.goto("/schema?action=downgrade")
    page.get_by_text("No row matches the filter.").wait_for()
    found += faults(page, tmp_path / "no-row.png", OPPOSITE)
    with session(workshop, "somebody") as other:
        other.cursor().execute("BEGIN; LOCK TABLE task IN ACCESS EXCLUSIVE MODE")
        page.goto("/schema")
        page.get_by_text("Somebody holds a table for herself").nth(1).wait_for()
        found += faults(page, tmp_path / "locked-table.png", OPPOSITE)
    assert not found, "\n".join(found)


def test_sixty_tables_and_a_long_ledger_are_accessible(
    opened: Callable[..., Page], project: Tree, tmp_path: Path
) -> None:
    """A picture of sixty tables is as large as it has to be, within a frame that scrolls, can be read, and passes axe on a phone."""
    page = opened(width=360, scheme="dark", script=True)
    _sql(project, SIXTY)
    _sql(project, LEDGER)
    page.goto("/schema")
    assert page.locator(".er-table").count() == 64
    assert page.locator(".er-name").first.evaluate("name => getComputedStyle(name).fontSize") == "13px"
    for scheme in ("dark", "light"):
        page.emulate_media(color_scheme=scheme)
        assert contrast(page, ".er-name", ".er-head") >= 4.5
        assert min(contrast(page, ink, ".er-box") for ink in (".er-key", ".er-reference", ".er-more")) >= 4.5
    found = faults(page, tmp_path / "sixty.png", OPPOSITE)
    assert not found, "\n".join(found)


def test_page_loads_itself_again_until_the_migration_has_ended(opened: Callable[..., Page], project: Tree) -> None:
    """Without JavaScript the page follows the migration, and rests when it is over."""
    page = opened()
    with migrating(project):
        page.goto("/schema")
        page.get_by_role("region", name="Running migration").wait_for()
    # it may have to come twice, 5 s apart, and a busy machine takes its time
    page.get_by_role("region", name="Running migration").wait_for(state="detached", timeout=30_000)
    page.get_by_text("The database is at head.").wait_for()


@HANDS
@SIZES
def test_console_without_javascript(
    opened: Callable[..., Page], workshop: Workshop, hand: type[Mouse], width: int, scheme: Scheme
) -> None:
    """Picture, plan, history and ledger are gone through with links and forms alone, and the reloading is stopped."""
    page = opened(width=width, scheme=scheme, **refused(workshop, more=24))
    _sql(workshop, LEDGER)
    page.goto("/")
    own = hand(page)
    own.press(page.get_by_role("link", name="Schema"))
    _through_the_plan(page, own)
    _through_the_ledger(page, own)
    own.press(page.locator("svg").get_by_role("link", name="task", exact=True))
    page.wait_for_url("**#table-task")
    page.get_by_role("heading", name="task", exact=True).wait_for()
    own.press(page.get_by_role("link", name="As JSON"))
    page.get_by_text('"state": "behind"').wait_for()
    with migrating(workshop):
        page.goto("/schema")
        own.press(page.get_by_role("link", name="Stop that"))
        own.press(page.get_by_role("link", name="Load this page again every few seconds"))
        page.get_by_role("link", name="Stop that").wait_for()


def _through_the_plan(page: Page, hand: Mouse) -> None:
    for summary, words in (
        ("What to write instead of 0003_index", 'op.create_index_concurrently("ix_task_title"'),
        ("What it does, 0003_index", 'op.create_index("ix_task_title"'),
    ):
        hand.press(page.locator("summary").get_by_text(summary))
        page.get_by_text(words).wait_for()
    pages = page.get_by_role("navigation", name="Pages of the revisions")
    assert page.get_by_role("heading", name="0001_baseline").count() == 0
    hand.press(pages.get_by_role("link", name="Next"))
    page.get_by_role("heading", name="0001_baseline").wait_for()
    hand.press(pages.get_by_role("link", name="Previous"))
    pages.get_by_text("Page 1 of 2").wait_for()


def _through_the_ledger(page: Page, hand: Mouse) -> None:
    pages = page.get_by_role("navigation", name="Pages of the ledger")
    hand.choose(page.get_by_label("Outcome"), "failed")
    hand.write(page.get_by_label("Release"), "v1")
    hand.press(page.get_by_role("button", name="Filter"))
    pages.get_by_text("Page 1 of 2").wait_for()
    hand.press(pages.get_by_role("link", name="Next"))
    pages.get_by_text("Page 2 of 2").wait_for()
    assert page.get_by_text("out of luck").count() == 5
    hand.press(page.get_by_role("link", name="Show all"))
    pages.get_by_text("Page 1 of 3").wait_for()


def test_keyboard_passes_the_picture_by(opened: Callable[..., Page]) -> None:
    """Whoever does not want to go through the picture with Tab skips it, and goes on at the first table."""
    page = opened()
    page.goto("/schema")
    Keyboard(page).press(page.get_by_role("link", name="Skip the picture"))
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.closest('section.table')?.id") == "table-member"


def refused(tree: Workshop, *, more: int = 0) -> dict[str, str]:
    """Leave a revision pending that would be refused, and as many more as are asked for; return the settings that show them."""
    tree.write("0003_index", 'op.create_index("ix_task_title", "task", ["title"])', after="0002_add_task_due_on")
    assert tree.migrate("upgrade", "0002").returncode == 0
    assert tree.migrate("seal").returncode == 0
    for number in range(more):
        tree.write(f"{number + 4:04}_more")
    _sql(tree, FEW_TASKS)
    return {"MIGRATE_ON_START": "off", "MIGRATE_LARGE_TABLE": "10"}


@contextmanager
def session(tree: Tree, name: str) -> Iterator[Connection]:
    """A session of somebody else."""
    assert tree.database is not None
    with closing(psycopg2.connect(tree.database.with_(application_name=name))) as connection:
        connection.autocommit = True
        yield connection


@contextmanager
def migrating(tree: Tree) -> Iterator[str]:
    """Hold the migration lock as another process would; gives its name."""
    name = "railhead upgrade @ web-2"
    with session(tree, name) as holder:
        lock = Lock(holder)
        assert lock.try_take()
        yield name
        lock.release()


@contextmanager
def building(tree: Tree, name: str) -> Iterator[None]:
    """Build an index as the migrator of this name, as far as HALF_AN_INDEX lets it, and give it up in the end."""
    with session(tree, name) as migrator:
        begun = threading.Thread(target=_cancelled, args=(migrator, "CREATE INDEX slow_index ON task (slow(id))"))
        begun.start()
        try:
            eventually(lambda: _waits_for_advice(tree.database), what="the build is half done")
            yield
        finally:
            migrator.cancel()
            begun.join()


def _cancelled(session: Connection, statement: str) -> None:
    """Run what will be cancelled."""
    with session.cursor() as cursor, pytest.raises(psycopg2.errors.QueryCanceled):
        cursor.execute(statement)


def _waits_for_advice(dsn: Dsn | None) -> bool:
    assert dsn is not None
    return any(kind == "advisory" and not granted for _, kind, _, granted in server_state.locks(dsn))


def _without_refresh(route: Route) -> None:
    """Let a page rest that would load itself again while it is looked at."""
    answer = route.fetch()
    kept = {name: value for name, value in answer.headers.items() if name != "refresh"}
    route.fulfill(response=answer, headers=kept)


def _sql(tree: Tree, statement: str) -> None:
    assert tree.database is not None
    rows_of(tree.database, statement)
