"""The board in a real browser: by mouse, by keyboard, without JavaScript, narrow and wide, light and dark."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from tests.chaos.eyes import faults, press_to
from tests.ground import Tree, rows_of

if TYPE_CHECKING:
    from playwright.sync_api import Page

PASSWORD = "correct horse battery staple"

SEED = """
    INSERT INTO project (name, description) VALUES ('Harbour move', 'From here to there'), ('Garden', '');
    INSERT INTO member (name, email) VALUES ('Ada Lovelace', 'ada@example.org'), ('Linus', NULL);
    INSERT INTO task (title, project_id, assignee_id, status, due_on, description)
    SELECT 'Task ' || n || repeat(' and something more to do', n % 3), 1 + n % 2, nullif(n % 3, 0),
           (CASE WHEN n < 7 THEN 'doing' WHEN n < 13 THEN 'done' ELSE 'todo' END)::task_status, current_date + n % 9 - 3, repeat('text ', n % 2)
    FROM generate_series(1, 66) n
"""


def seed(project: Tree) -> None:
    """Fill the board."""
    assert project.database is not None
    rows_of(project.database, SEED)


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
    doing.get_by_role("link", name="Order boxes").wait_for()
    page.get_by_role("searchbox").fill("nothing like it")
    page.get_by_role("button", name="Filter").click()
    page.get_by_text("Nothing here matches the filter.").nth(2).wait_for()
    assert page.get_by_text("Nothing here matches the filter.").count() == 3
    page.get_by_role("link", name="Show all").click()
    page.get_by_role("link", name="Order boxes").click()
    page.get_by_label("Title").fill("Order fifty boxes")
    page.get_by_role("button", name="Save").click()
    assert page.get_by_role("status").inner_text() == "“Order fifty boxes” is saved."
    page.get_by_role("link", name="Projects").click()
    page.get_by_role("link", name="Delete… Harbour move").click()
    page.get_by_text("Its tasks go with it: 1.").wait_for()
    page.get_by_role("button", name="Delete it").click()
    page.get_by_role("link", name="Board").click()
    page.get_by_role("heading", name="Start with a project").wait_for()


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
    page.get_by_role("status").wait_for()
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
    page.get_by_text("That is not the password.").wait_for()
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    assert page.get_by_role("status").inner_text() == "You are signed in."
    page.get_by_role("button", name="Sign out").click()
    page.get_by_role("link", name="Sign in", exact=True).wait_for()


def test_every_page_is_accessible_and_fits(opened: Callable[..., Page], project: Tree, tmp_path: Path) -> None:
    """Axe finds nothing, nothing sticks out sideways, in each state of each page."""
    page = opened(script=True)
    found: list[str] = []

    def look(name: str) -> None:
        found.extend(faults(page, tmp_path / f"{name}.png"))

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
    page.locator("[aria-invalid]").wait_for()
    look("member-refused")
    assert not found, "\n".join(found)


def test_what_a_visitor_sees_is_accessible(opened: Callable[..., Page], project: Tree, tmp_path: Path) -> None:
    """The read-only board, a task and the sign-in, right, wrong and too often, pass as well."""
    page = opened(script=True, ADMIN_PASSWORD=PASSWORD, SECRET_KEY="k" * 32)
    seed(project)
    found: list[str] = []
    for path in ("/", "/tasks/1", "/projects", "/members", "/sign-in"):
        page.goto(path)
        found += faults(page, tmp_path / f"visitor{path.replace('/', '-')}.png")
    page.get_by_label("Password").fill("guess")
    page.get_by_role("button", name="Sign in").click()
    page.get_by_text("That is not the password.").wait_for()
    found += faults(page, tmp_path / "visitor-wrong.png")
    too_many = page.get_by_role("heading", name="Too many tries")
    answered = too_many.or_(page.get_by_text("That is not the password."))
    for _ in range(12):  # the wait doubles, so that even a slow machine is too quick in the end
        page.goto("/sign-in")
        page.get_by_label("Password").fill("guess")
        page.get_by_role("button", name="Sign in").click()
        answered.first.wait_for()
        if too_many.is_visible():
            break
    too_many.wait_for()
    found += faults(page, tmp_path / "visitor-too-often.png")
    assert not found, "\n".join(found)


def test_every_error_page_is_accessible(opened: Callable[..., Page], project: Tree, tmp_path: Path) -> None:
    """What goes wrong is told on a page that passes too: a form that has expired, is too long, breaks us, or finds no database."""
    page = opened(script=True)
    found: list[str] = []

    def look(code: int) -> None:
        assert page.locator(".error .code").inner_text() == str(code)
        found.extend(faults(page, tmp_path / f"error-{code}.png"))

    assert project.database is not None
    rows_of(project.database, "ALTER TABLE project ADD CONSTRAINT nobody_knows_me CHECK (name <> 'break us')")
    page.goto("/tasks/1/move")
    look(405)
    for name, description, code in (("break us", "", 500), ("too long", "x" * 70_000, 413)):
        page.goto("/projects")
        page.get_by_label("Name").fill(name)
        page.get_by_label("Description").evaluate(
            "(field, text) => field.value = text", description
        )  # past its maxlength
        page.get_by_role("button", name="Add project").click()
        look(code)
    page.goto("/projects")
    page.context.clear_cookies()
    page.get_by_label("Name").fill("expired")
    page.get_by_role("button", name="Add project").click()
    look(400)
    page = opened(script=True, APP_ENV="production")
    page.goto("/tasks/new")
    look(403)
    page = opened(
        script=True,
        MIGRATE_ON_START="off",
        DATABASE_URL="postgresql://nobody@127.0.0.1:9/nothing",
    )
    page.goto("/")
    look(503)
    assert not found, "\n".join(found)
