"""The board in a real browser: by mouse and by keyboard without JavaScript, narrow and wide, light and dark."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from tests.chaos.web.browser_input import HANDS, SIZES, Keyboard, Mouse
from tests.chaos.web.page_checks import PHONE, Scheme, faults, listen
from tests.databases import rows_of
from tests.project_tree import Tree

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

PASSWORD = "correct horse battery staple"

SEED = """
    TRUNCATE project, member RESTART IDENTITY CASCADE;
    INSERT INTO project (name, description) VALUES ('Harbour move', 'From here to there'), ('Garden', '');
    INSERT INTO member (name, email) VALUES ('Ada Lovelace', 'ada@example.org'), ('Linus', NULL);
    INSERT INTO task (title, project_id, assignee_id, status, due_on, description)
    SELECT 'Task ' || n || repeat(' and something more to do', n % 3), 1 + n % 2, nullif(n % 3, 0),
           (CASE WHEN n < 7 THEN 'doing' WHEN n < 13 THEN 'done' ELSE 'todo' END)::task_status, current_date + n % 9 - 3, repeat('text ', n % 2)
    FROM generate_series(1, 66) n
"""

TROUBLE = """
    ALTER TABLE project ADD CONSTRAINT nobody_knows_me CHECK (name <> 'break us');
    INSERT INTO project (name) VALUES ('Harbour move');
    CREATE FUNCTION somebody_is_faster() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
    CREATE TRIGGER faster BEFORE UPDATE ON project
        FOR EACH ROW WHEN (NEW.name = 'too late') EXECUTE FUNCTION somebody_is_faster()
"""

STYLED = '<html lang="en"><title>Page</title><link rel="stylesheet" href="/style.css"><h1>Page</h1></html>'


def seed(project: Tree) -> None:
    """Fill the board, with nothing else on it."""
    assert project.database is not None
    rows_of(project.database, SEED)


@HANDS
@SIZES
def test_whole_board_without_javascript(
    opened: Callable[..., Page], project: Tree, hand: type[Mouse], width: int, scheme: Scheme
) -> None:
    """From the empty board to a deleted project, then through a full one, with nothing but links and forms."""
    page = opened(width=width, scheme=scheme)
    page.goto("/")
    _from_empty_to_empty(page, hand(page))
    seed(project)
    page.goto("/")
    _through_a_full_board(page, hand(page))


def _from_empty_to_empty(page: Page, hand: Mouse) -> None:
    hand.press(page.get_by_role("link", name="Add a project"))
    _arrive(page, "Projects")
    hand.write(page.get_by_label("Name"), "Harbour")
    hand.press(page.get_by_role("button", name="Add project"))
    _told(page, "The project “Harbour” is added.")
    hand.press(page.get_by_role("link", name="Edit Harbour"))
    _arrive(page, "Edit project")
    hand.write(page.get_by_label("Name"), "Harbour move")
    hand.press(page.get_by_role("button", name="Save"))
    _told(page, "The project “Harbour move” is saved.")
    hand.press(page.get_by_role("link", name="Members", exact=True))
    _arrive(page, "Members")
    hand.write(page.get_by_label("Name"), "Ada")
    hand.press(page.get_by_role("button", name="Add member"))
    _told(page, "The member “Ada” is added.")
    hand.press(page.get_by_role("link", name="Edit Ada"))
    _arrive(page, "Edit member")
    hand.write(page.get_by_label("Name"), "Ada Lovelace")
    hand.press(page.get_by_role("button", name="Save"))
    _told(page, "The member “Ada Lovelace” is saved.")
    hand.press(page.get_by_role("link", name="Board"))
    _one_task(page, hand)
    hand.press(page.get_by_role("link", name="Members", exact=True))
    hand.press(page.get_by_role("link", name="Delete… Ada Lovelace"))
    page.get_by_text("Tasks that nobody will have then: 1.").wait_for()
    hand.press(page.get_by_role("button", name="Delete it"))
    _told(page, "The member “Ada Lovelace” is deleted.")
    hand.press(page.get_by_role("link", name="Projects"))
    hand.press(page.get_by_role("link", name="Delete… Harbour move"))
    page.get_by_text("Its tasks go with it: 1.").wait_for()
    hand.press(page.get_by_role("button", name="Delete it"))
    _told(page, "The project “Harbour move” is deleted.")
    hand.press(page.get_by_role("link", name="Board"))
    page.get_by_role("heading", name="Start with a project").wait_for()


def _one_task(page: Page, hand: Mouse) -> None:
    hand.press(page.get_by_role("link", name="New task"))
    _arrive(page, "New task")
    hand.write(page.get_by_label("Title"), "Order boxes")
    hand.choose(page.get_by_label("Assigned to"), "Ada Lovelace")
    hand.pick(page.get_by_label("Due on"), date(2030, 5, 17))
    hand.press(page.get_by_role("button", name="Add task"))
    _told(page, "“Order boxes” is added to To do.")
    card = page.get_by_role("listitem").filter(has=page.get_by_role("link", name="Order boxes"))
    assert card.get_by_text("Ada Lovelace").is_visible()
    assert card.locator("time").get_attribute("datetime") == "2030-05-17"
    hand.press(page.get_by_role("button", name="Move “Order boxes” to Doing"))
    _told(page, "“Order boxes” is now in Doing.")
    hand.write(page.get_by_role("searchbox"), "nothing like it")
    hand.press(page.get_by_role("button", name="Filter"))
    page.get_by_text("Nothing here matches the filter.").nth(2).wait_for()
    hand.press(page.get_by_role("link", name="Show all"))
    hand.press(page.get_by_role("region", name="Doing").get_by_role("link", name="Order boxes"))
    _arrive(page, "Edit task")
    hand.write(page.get_by_label("Title"), "Order fifty boxes")
    hand.press(page.get_by_role("button", name="Save"))
    _told(page, "“Order fifty boxes” is saved.")


def _through_a_full_board(page: Page, hand: Mouse) -> None:
    hand.choose(page.get_by_label("Member"), "Linus")
    hand.choose(page.get_by_label("Due"), "Overdue")
    hand.press(page.get_by_role("button", name="Filter"))
    page.get_by_role("link", name="Show all").wait_for()
    cards = page.locator(".card")
    found = cards.count()
    assert found == cards.filter(has_text="Linus").filter(has_text="Overdue").count() > 0
    hand.press(page.get_by_role("region", name="Doing").get_by_role("link", name="Task 2 "))
    _arrive(page, "Edit task")
    hand.press(page.get_by_role("link", name="Delete…"))
    page.get_by_text("This cannot be undone.").wait_for()
    hand.press(page.get_by_role("button", name="Delete it"))
    page.wait_for_url("**member=*due=overdue")
    page.get_by_role("status").get_by_text("is deleted.").wait_for()
    assert cards.count() == found - 1
    hand.press(page.get_by_role("link", name="Show all"))
    pages = page.get_by_role("navigation", name="Pages of To do")
    hand.press(pages.get_by_role("link", name="Next"))
    pages.get_by_text("Page 2 of 3").wait_for()
    hand.press(pages.get_by_role("link", name="Previous"))
    pages.get_by_text("Page 1 of 3").wait_for()


def _arrive(page: Page, title: str) -> None:
    page.get_by_role("heading", name=title, exact=True, level=1).wait_for()


def _told(page: Page, message: str) -> None:
    page.get_by_role("status").get_by_text(message, exact=True).wait_for()


def test_keyboard_skips_to_the_content_and_shows_where_it_is(opened: Callable[..., Page]) -> None:
    """The first Tab offers to skip the navigation, and what has the focus has an outline."""
    page = opened()
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
    _in_and_out(page, Mouse(page))
    page.set_viewport_size({"width": PHONE, "height": 900})
    page.emulate_media(color_scheme="dark")
    _in_and_out(page, Keyboard(page))


def _in_and_out(page: Page, hand: Mouse) -> None:
    hand.press(page.get_by_role("link", name="Sign in", exact=True))
    hand.write(page.get_by_label("Password"), "guess")
    hand.press(page.get_by_role("button", name="Sign in"))
    page.get_by_text("That is not the password.").wait_for()
    hand.write(page.get_by_label("Password"), PASSWORD)
    hand.press(page.get_by_role("button", name="Sign in"))
    _told(page, "You are signed in.")
    hand.press(page.get_by_role("button", name="Sign out"))
    _told(page, "You are signed out.")


def test_every_page_is_accessible_and_fits(opened: Callable[..., Page], project: Tree, tmp_path: Path) -> None:
    """Axe finds nothing, nothing sticks out sideways, in each state of each page."""
    page = opened(script=True)
    found: list[str] = []

    def look(name: str) -> None:
        found.extend(faults(page, tmp_path / f"{name}.png"))

    def visit(name: str, path: str) -> None:
        page.goto(path)
        look(name)

    def refused(name: str, path: str, label: str, text: str) -> None:
        page.goto(path)
        page.get_by_label(label).fill(text)
        page.locator(".sheet .primary").click()
        page.locator("[aria-invalid]").wait_for()
        look(name)

    for empty in ("", "projects", "members", "tasks/new"):
        visit(f"empty-{empty.replace('/', '-')}", f"/{empty}")
    page.goto("/projects")
    page.get_by_label("Name").fill("Attic")
    page.get_by_role("button", name="Add project").click()
    _told(page, "The project “Attic” is added.")
    look("message")
    visit("board-without-tasks", "/")
    seed(project)
    visit("board", "/")
    visit("board-later-page", "/?todo=2")
    visit("board-filtered", "/?member=nobody&due=week&q=task")
    visit("board-no-match", "/?q=nothing-like-it")
    visit("task-new", "/tasks/new")
    visit("task", "/tasks/1?next=/")
    visit("task-delete", "/tasks/1/delete")
    visit("projects", "/projects")
    visit("project", "/projects/1")
    visit("project-delete", "/projects/1/delete")
    visit("members", "/members")
    visit("member", "/members/1")
    visit("member-delete", "/members/1/delete")
    visit("not-found", "/nothing-here")
    refused("task-new-refused", "/tasks/new", "Title", "  ")
    refused("task-refused", "/tasks/1", "Title", "  ")
    refused("project-new-refused", "/projects", "Name", "Garden")
    refused("project-refused", "/projects/1", "Name", "Garden")
    refused("member-new-refused", "/members", "Name", "Linus")
    refused("member-refused", "/members/2", "E-mail", "ada@example.org")
    assert project.database is not None
    for kind in ("project", "member"):
        rows_of(project.database, f"INSERT INTO {kind} (name) SELECT 'One of many ' || n FROM generate_series(1, 55) n")
        visit(f"{kind}s-later-page", f"/{kind}s?page=2")
        page.get_by_text("Page 2 of 2").wait_for()
    assert not found, "\n".join(found)


def test_what_a_visitor_sees_is_accessible(opened: Callable[..., Page], project: Tree, tmp_path: Path) -> None:
    """The read-only board, a task and the sign-in, empty, wrong, right and too often, pass as well."""
    page = opened(script=True, ADMIN_PASSWORD=PASSWORD, SECRET_KEY="k" * 32)
    found: list[str] = []

    def look(name: str) -> None:
        found.extend(faults(page, tmp_path / f"visitor-{name}.png"))

    def sign_in(password: str) -> None:
        page.goto("/sign-in")
        page.get_by_label("Password").fill(password)
        page.get_by_role("button", name="Sign in").click()

    page.goto("/")
    page.get_by_role("link", name="Sign in to add one").wait_for()
    look("empty")
    seed(project)
    for path in ("/", "/tasks/1", "/projects", "/members", "/sign-in"):
        page.goto(path)
        look(path.strip("/").replace("/", "-") or "board")
    sign_in(" ")
    page.get_by_text("Type the password.").wait_for()
    look("without-a-password")
    sign_in("guess")
    page.get_by_text("That is not the password.").wait_for()
    look("wrong")
    sign_in(PASSWORD)
    _told(page, "You are signed in.")
    page.goto("/?q=Task+3")
    look("signed-in")
    page.get_by_role("button", name="Sign out").click()
    _told(page, "You are signed out.")
    too_many = page.get_by_role("heading", name="Too many tries")
    answered = too_many.or_(page.get_by_text("That is not the password."))
    for _ in range(12):  # the wait doubles, so that even a slow machine is too quick in the end
        sign_in("guess")
        answered.first.wait_for()
        if too_many.is_visible():
            break
    too_many.wait_for()
    look("too-often")
    assert not found, "\n".join(found)


def test_every_error_page_is_accessible(opened: Callable[..., Page], project: Tree, tmp_path: Path) -> None:
    """What goes wrong is told on a page that passes too: a form that expired, is too long or too late, breaks us, finds no database."""
    page = opened(script=True)
    found: list[str] = []

    def look(code: int) -> None:
        assert page.locator(".error .code").inner_text() == str(code)
        found.extend(faults(page, tmp_path / f"error-{code}.png"))

    assert project.database is not None
    rows_of(project.database, TROUBLE)
    page.goto("/tasks/1/move")
    look(405)
    for name, description, code in (("break us", "", 500), ("too long", "x" * 140_000, 413)):
        page.goto("/projects")
        page.get_by_label("Name").fill(name)
        page.get_by_label("Description").evaluate(
            "(field, text) => field.value = text", description
        )  # past its maxlength
        page.get_by_role("button", name="Add project").click()
        look(code)
    page.goto("/projects/1")
    page.get_by_label("Name").fill("too late")
    page.get_by_role("button", name="Save").click()
    look(409)
    page.goto("/projects")
    page.context.clear_cookies()
    page.get_by_label("Name").fill("expired")
    page.get_by_role("button", name="Add project").click()
    look(400)
    page = opened(
        script=True,
        MIGRATE_ON_START="off",
        DATABASE_URL="postgresql://nobody@127.0.0.1:9/nothing",
    )
    page.goto("/")
    look(503)
    assert not found, "\n".join(found)


def test_board_that_nobody_can_change_is_accessible(opened: Callable[..., Page], project: Tree, tmp_path: Path) -> None:
    """Without a password production is read-only, and passes: the empty board, the full one, and what refuses to change it."""
    page = opened(script=True, APP_ENV="production")
    page.goto("/")
    page.get_by_text("Read-only", exact=True).wait_for()
    found = faults(page, tmp_path / "read-only-empty.png")
    seed(project)
    page.goto("/?q=Task+3")
    page.get_by_role("link", name="Task 3", exact=True).wait_for()
    found += faults(page, tmp_path / "read-only.png")
    page.goto("/tasks/new")
    assert page.locator(".error .code").inner_text() == "403"
    found += faults(page, tmp_path / "error-403.png")
    assert not found, "\n".join(found)


def test_what_a_window_cannot_load_is_noticed(browser: Browser) -> None:
    """The tests above fail by a style sheet that is missing or refused, and not by an error page that was asked for."""
    complaints: list[str] = []
    page = browser.new_page()
    listen(page, complaints)
    page.route("**/style.css", lambda route: route.fulfill(status=404))
    page.route("**/*page", lambda route: route.fulfill(status=503, content_type="text/html", body=STYLED))
    page.goto("http://board.test/page")
    page.context.close()
    assert complaints == ["http://board.test/page: 404 http://board.test/style.css"]
