"""The board in a real browser: by mouse, by keyboard, without JavaScript, narrow and wide, light and dark."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pytest

from tests.ground import Tree, rows_of
from tests.web.replica import Replica

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page

playwright = pytest.importorskip("playwright.sync_api", reason="requirements-browser.txt is not installed")
axe = pytest.importorskip("axe_playwright_python.sync_playwright")
CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium")

PASSWORD = "correct horse battery staple"
WIDTHS = (360, 1440)
SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")

SEED = """
    INSERT INTO project (name, description) VALUES ('Harbour move', 'From here to there'), ('Garden', '');
    INSERT INTO member (name, email) VALUES ('Ada Lovelace', 'ada@example.org'), ('Linus', NULL);
    INSERT INTO task (title, project_id, assignee_id, status, due_on, description)
    SELECT 'Task ' || n || repeat(' and something more to do', n % 3), 1 + n % 2, nullif(n % 3, 0),
           (array['todo', 'doing', 'done'])[1 + n % 3]::task_status, current_date + n % 9 - 3, repeat('text ', n % 2)
    FROM generate_series(1, 90) n
"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One chromium for all tests of this file."""
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def opened(project: Tree, browser: Browser) -> Iterator[Callable[..., Page]]:
    """Start the application with these settings and open a window on it; what the console complains of fails the test."""
    complaints: list[str] = []

    def open_(*, width: int = 1440, scheme: str = "light", script: bool = False, **variables: str) -> Page:
        replica = Replica(project, {}, **{"APP_ENV": "development", **variables})
        window = browser.new_context(
            base_url=replica.address,
            viewport={"width": width, "height": 900},
            color_scheme=scheme,
            java_script_enabled=script,
        )
        page = window.new_page()
        page.on("console", lambda message: complaints.append(f"{page.url}: {message.text}"))
        page.set_default_timeout(10_000)
        return page

    yield open_
    for window in browser.contexts:
        window.close()
    assert not [one for one in complaints if "responded with a status of 4" not in one]


def seed(project: Tree) -> None:
    """Fill the board."""
    assert project.database is not None
    rows_of(project.database, SEED)


def press_to(page: Page, target: Locator) -> None:
    """Press Tab until `target` has the focus."""
    for _ in range(60):
        if target.evaluate("element => element === document.activeElement"):
            return
        page.keyboard.press("Tab")
    raise AssertionError(f"Tab does not lead to {target}")


def test_whole_board_by_mouse_without_javascript(opened: Callable[..., Page]) -> None:
    """From the empty board to a deleted project, with nothing but links and forms."""
    page = opened()
    page.goto("/")
    page.get_by_role("link", name="Add a project").click()
    page.get_by_label("Name").fill("Harbour move")
    page.get_by_role("button", name="Add project").click()
    page.get_by_role("link", name="Members", exact=True).click()
    page.get_by_label("Name").fill("Ada Lovelace")
    page.get_by_role("button", name="Add member").click()
    page.get_by_role("link", name="Board").click()
    page.get_by_role("link", name="New task").click()
    page.get_by_label("Title").fill("Order boxes")
    page.get_by_label("Assigned to").select_option("Ada Lovelace")
    page.get_by_label("Due on").fill("2030-05-17")
    page.get_by_role("button", name="Add task").click()
    page.get_by_role("button", name="Move “Order boxes” to Doing").click()
    doing = page.get_by_role("region", name="Doing")
    assert doing.get_by_role("link", name="Order boxes").is_visible()
    page.get_by_role("searchbox").fill("nothing like it")
    page.get_by_role("button", name="Filter").click()
    assert page.get_by_text("Nothing here matches the filter.").count() == 3
    page.get_by_role("link", name="Show all").click()
    page.get_by_role("link", name="Order boxes").click()
    page.get_by_label("Title").fill("Order fifty boxes")
    page.get_by_role("button", name="Save").click()
    assert page.get_by_role("status").inner_text() == "“Order fifty boxes” is saved."
    page.get_by_role("link", name="Projects").click()
    page.get_by_role("link", name="Delete… Harbour move").click()
    assert page.get_by_text("Its tasks go with it: 1.").is_visible()
    page.get_by_role("button", name="Delete it").click()
    page.get_by_role("link", name="Board").click()
    assert page.get_by_role("heading", name="Start with a project").is_visible()


def test_task_by_keyboard_alone(opened: Callable[..., Page], project: Tree) -> None:
    """Tab and Enter reach everything: add a task, move it, delete it."""
    page = opened(script=True)
    seed(project)
    page.goto("/?q=Nothing")
    press_to(page, page.get_by_role("link", name="New task"))
    page.keyboard.press("Enter")
    press_to(page, page.get_by_label("Title"))
    page.keyboard.type("Water the tulips")
    page.keyboard.press("Enter")
    page.goto("/?q=tulips")
    press_to(page, page.get_by_role("button", name="Move “Water the tulips” to Done"))
    page.keyboard.press("Enter")
    done = page.get_by_role("region", name="Done").get_by_role("link", name="Water the tulips")
    press_to(page, done)
    page.keyboard.press("Enter")
    press_to(page, page.get_by_role("link", name="Delete…"))
    page.keyboard.press("Enter")
    press_to(page, page.get_by_role("button", name="Delete it"))
    page.keyboard.press("Enter")
    page.wait_for_url("**/?q=tulips")
    assert page.get_by_role("status").inner_text() == "“Water the tulips” is deleted."


def test_keyboard_skips_to_the_content_and_shows_where_it_is(opened: Callable[..., Page]) -> None:
    """The first Tab offers to skip the navigation, and what has the focus has an outline."""
    page = opened(script=True)
    page.goto("/projects")
    page.keyboard.press("Tab")
    skip = page.get_by_role("link", name="Skip to content")
    assert skip.bounding_box()["y"] >= 0
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    name = page.get_by_label("Name")
    assert name.evaluate("element => element === document.activeElement")
    assert name.evaluate("element => getComputedStyle(element).outlineStyle") == "solid"


def test_sign_in_and_out(opened: Callable[..., Page]) -> None:
    """A visitor reads; whoever signs in writes, until she signs out."""
    page = opened(ADMIN_PASSWORD=PASSWORD, SECRET_KEY="k" * 32)
    page.goto("/projects")
    assert page.get_by_role("button", name="Add project").count() == 0
    page.get_by_role("link", name="Sign in").click()
    page.get_by_label("Password").fill("guess")
    page.get_by_role("button", name="Sign in").click()
    assert page.get_by_text("That is not the password.").is_visible()
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    assert page.get_by_role("status").inner_text() == "You are signed in."
    page.get_by_role("button", name="Sign out").click()
    assert page.get_by_role("link", name="Sign in", exact=True).is_visible()


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_page_is_accessible_and_fits(
    opened: Callable[..., Page], project: Tree, width: int, scheme: str, tmp_path: Path
) -> None:
    """Axe finds nothing, nothing sticks out sideways, in each state of each page."""
    page = opened(width=width, scheme=scheme, script=True)
    found: list[str] = []

    def look(name: str) -> None:
        result = axe.Axe().run(page)
        wider = page.evaluate("document.documentElement.scrollWidth - innerWidth")
        found.extend([f"{name}: {result.generate_report()}"] if result.violations_count else [])
        found.extend([f"{name}: {wider} px too wide"] if wider > 0 else [])
        page.screenshot(path=tmp_path / f"{name}-{scheme}-{width}.png")

    def visit(name: str, path: str) -> None:
        page.goto(path)
        look(name)

    for empty in ("", "projects", "members", "tasks/new"):
        visit(f"empty-{empty.replace('/', '-')}", f"/{empty}")
    seed(project)
    visit("board", "/")
    visit("board-later-page", "/?todo=2")
    visit("board-filtered", "/?member=nobody&due=week&q=task")
    visit("board-no-match", "/?q=nothing-like-it")
    visit("task", "/tasks/1?next=/")
    visit("task-delete", "/tasks/1/delete")
    visit("projects", "/projects")
    visit("project", "/projects/1")
    visit("project-delete", "/projects/1/delete")
    visit("members", "/members")
    visit("member", "/members/1")
    visit("not-found", "/nothing-here")
    page.goto("/members")
    page.get_by_label("Name").fill("Linus")
    page.get_by_role("button", name="Add member").click()
    look("member-refused")
    assert not found, "\n".join(found)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_what_a_visitor_sees_is_accessible(opened: Callable[..., Page], project: Tree, scheme: str) -> None:
    """The read-only board, a task and the sign-in, right and wrong, pass as well."""
    page = opened(scheme=scheme, script=True, ADMIN_PASSWORD=PASSWORD, SECRET_KEY="k" * 32)
    seed(project)
    for path in ("/", "/tasks/1", "/projects", "/sign-in"):
        page.goto(path)
        result = axe.Axe().run(page)
        assert not result.violations_count, path + result.generate_report()
