from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import Connection, event, func, insert, select
from sqlalchemy.orm import Session

from app.board import PAGE, today
from models import Member, Project, Task, TaskStatus
from tests.web.visitor import Visitor


def fill(session: Session, count: int) -> None:
    """Write `count` tasks in two projects for two members, spread over the columns."""
    session.add_all([Project(name="Harbour"), Project(name="Garden"), Member(name="Ada"), Member(name="Grace")])
    session.flush()
    projects = session.scalars(select(Project.id).order_by(Project.id)).all()
    members = session.scalars(select(Member.id).order_by(Member.id)).all()
    statuses = list(TaskStatus)
    session.execute(
        insert(Task),
        [
            {
                "title": f"Task {number}",
                "project_id": projects[number % 2],
                "assignee_id": members[number % 2] if number % 5 else None,
                "status": statuses[number % 3],
                "due_on": today() + timedelta(days=number % 40 - 5) if number % 4 else None,
            }
            for number in range(count)
        ],
    )
    session.commit()


def test_empty_board_says_where_to_start(visitor: Visitor) -> None:
    """A board without a project leads to the form that adds the first."""
    page = visitor.open("/")
    assert "Start with a project" in page.text
    assert page.links["Add a project"] == "/projects"


def test_empty_columns_say_what_belongs_there(visitor: Visitor) -> None:
    """A board with a project and no task tells each column's use; filtered, that nothing matches."""
    visitor.add_project("Harbour")
    page = visitor.open("/")
    assert "To do , 0 tasks Nothing waits. New tasks start here." in page.text
    assert "Doing , 0 tasks Nobody is on anything. Move a task here when you begin it." in page.text
    assert "Done , 0 tasks Nothing is finished yet. What you finish gathers here." in page.text
    assert visitor.open("/?q=x").text.count("Nothing here matches the filter.") == 3


def test_task_stands_in_its_column_after_it_is_added(visitor: Visitor) -> None:
    """A task shows up with its project, its member and its date."""
    visitor.add_project("Harbour")
    visitor.add_member("Ada Lovelace")
    page = visitor.add_task("Order boxes", status="doing", due_on="2030-05-17")
    assert "“Order boxes” is added to Doing." in page.text
    assert "Order boxes Harbour Due 17 May 2030" in page.text


def test_task_moves_with_one_button(visitor: Visitor, session: Session) -> None:
    """The button on a card puts it into another column and comes back to the same filter."""
    visitor.add_project("Harbour")
    visitor.add_task("Order boxes")
    page = visitor.open("/?q=order")
    button = page.buttons["Move “Order boxes” to Done"]
    page = visitor.send(page.form(sends="next")._replace(action=button["formaction"]), status=button["value"])
    assert page.address == "/?q=order"
    assert "“Order boxes” is now in Done." in page.text
    assert session.scalars(select(Task.status)).one() is TaskStatus.DONE


def test_task_is_edited_and_assigned(visitor: Visitor, session: Session) -> None:
    """The page of a task holds what is known and saves what is changed."""
    visitor.add_project("Harbour")
    visitor.add_member("Ada")
    page = visitor.add_task("Order boxes", description="Forty of them.\nLarge.")
    form = visitor.open(page.links["Order boxes"]).form(sends="title")
    assert form.fields["description"] == "Forty of them.\nLarge."
    assert form.fields["assignee_id"] == ""
    member = session.scalars(select(Member.id)).one()
    visitor.send(form, title="Order fifty boxes", assignee_id=str(member))
    task = session.scalars(select(Task)).one()
    assert (task.title, task.assignee_id, task.description) == ("Order fifty boxes", member, "Forty of them.\nLarge.")


@pytest.mark.parametrize("letter", ["x", "漢", "🚂"])
def test_longest_description_is_saved_in_every_script(visitor: Visitor, session: Session, letter: str) -> None:
    """Ten thousand characters are ten thousand, however many bytes a browser makes of each."""
    visitor.add_project("Harbour")
    visitor.add_task("Order boxes", description=letter * 10_000)
    assert session.scalars(select(Task.description)).one() == letter * 10_000


def test_task_is_deleted_only_after_a_question(visitor: Visitor, session: Session) -> None:
    """Opening the delete page deletes nothing; sending its form does."""
    visitor.add_project("Harbour")
    page = visitor.add_task("Order boxes")
    page = visitor.open(visitor.open(page.links["Order boxes"]).links["Delete…"])
    assert "Delete the task “Order boxes”?" in page.text
    assert session.scalar(select(func.count(Task.id))) == 1
    page = visitor.send(page.form(sends="next"))
    assert "“Order boxes” is deleted." in page.text
    assert session.scalar(select(func.count(Task.id))) == 0


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"title": "  "}, "A task needs a title."),
        ({"title": "\u200b\u2060\u2800\ufe0f"}, "A task needs a title."),
        ({"title": "x" * 201}, "Field cannot be longer than 200 characters."),
        ({"title": "x", "project_id": "999999"}, "Not a valid choice."),
        ({"title": "x", "status": "gone"}, "Invalid Choice"),
        ({"title": "x", "due_on": "tomorrow"}, "Not a valid date value."),
        ({"title": "x", "description": "x" * 10_001}, "Field cannot be longer than 10000 characters."),
    ],
)
def test_wrong_field_is_told_beside_it(visitor: Visitor, session: Session, fields: dict[str, str], words: str) -> None:
    """A form with a mistake comes back with the mistake named and nothing saved."""
    visitor.add_project("Harbour")
    page = visitor.add_task(**fields)
    assert (page.status, page.title.startswith("Not saved")) == (422, True)
    assert words in page.text
    assert session.scalar(select(func.count(Task.id))) == 0


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("/?q=BOX", {"Order boxes"}),
        ("/?q=forty", {"Order boxes"}),
        ("/?q=100%25", {"Be 100% sure"}),
        ("/?q=_", {"snake_case"}),
        ("/?due=overdue", {"Late"}),
        ("/?due=today", {"Order boxes"}),
        ("/?due=week", {"Order boxes", "Soon"}),
        ("/?due=none", {"Be 100% sure", "snake_case"}),
        ("/?member=nobody", {"Order boxes", "Be 100% sure", "snake_case", "Soon", "Done late"}),
        ("/?due=nonsense&project=x&member=y&todo=z", {"Late", "Done late", "Order boxes", "Be 100% sure", "snake_case", "Soon"}),
    ],
)  # fmt: skip
def test_filter_shows_what_it_names(visitor: Visitor, session: Session, address: str, expected: set[str]) -> None:
    """Text, date and member each narrow the board; a value that makes no sense narrows nothing."""
    day = today()
    project, ada = Project(name="Harbour"), Member(name="Ada")
    session.add_all(
        [
            Task(title="Order boxes", description="Forty", project=project, due_on=day),
            Task(title="Be 100% sure", project=project),
            Task(title="snake_case", project=project),
            Task(title="Late", project=project, assignee=ada, due_on=day - timedelta(days=1)),
            Task(title="Done late", project=project, status=TaskStatus.DONE, due_on=day - timedelta(days=1)),
            Task(title="Soon", project=project, due_on=day + timedelta(days=7)),
        ]
    )
    session.commit()
    titles = {"Order boxes", "Be 100% sure", "snake_case", "Late", "Done late", "Soon"}
    assert visitor.open(address).links.keys() & titles == expected


def test_filters_combine(visitor: Visitor, session: Session) -> None:
    """Project and member together show only what has both."""
    fill(session, 20)
    project = session.scalars(select(Project.id).where(Project.name == "Harbour")).one()
    member = session.scalars(select(Member.id).where(Member.name == "Ada")).one()
    page = visitor.open(f"/?project={project}&member={member}")
    shown = {title for title in page.links if title.startswith("Task ")}
    assert shown == {f"Task {number}" for number in range(0, 20, 2) if number % 5}


def test_column_is_paged_and_keeps_the_filter(visitor: Visitor, session: Session) -> None:
    """A long column has pages, reached by links that leave the filter as it is."""
    fill(session, 3 * (PAGE + 5))
    page = visitor.open("/?q=task")
    assert "Page 1 of 2" in page.text
    later = visitor.open(page.links["Next →"])
    assert "q=task" in later.address
    assert later.html.count('<li class="card">') == 2 * PAGE + 5
    assert visitor.open("/?todo=99").html.count('<li class="card">') == 2 * PAGE + 5


def test_what_is_due_first_stands_first(visitor: Visitor, session: Session) -> None:
    """Dates order what is open, and what has none comes last; what is done has the latest on top."""
    project, day = Project(name="Harbour"), today()
    session.add_all(
        [
            Task(title="None", project=project),
            Task(title="Later", project=project, due_on=day + timedelta(days=2)),
            Task(title="Sooner", project=project, due_on=day + timedelta(days=1)),
            Task(title="Old", project=project, status=TaskStatus.DONE, updated_at=func.now() - timedelta(days=2)),
            Task(title="New", project=project, status=TaskStatus.DONE, updated_at=func.now() - timedelta(days=1)),
        ]
    )
    session.commit()
    shown = [title for title in visitor.open("/").links if title in {"None", "Later", "Sooner", "Old", "New"}]
    assert shown == ["Sooner", "Later", "None", "New", "Old"]


def test_ten_thousand_tasks_take_two_queries(visitor: Visitor, session: Session, transaction: Connection) -> None:
    """However many tasks there are, and however they are filtered, the board asks for them twice: to count, and to show."""
    fill(session, 10_000)
    asked: list[str] = []
    event.listen(transaction, "before_cursor_execute", lambda *args: asked.append(args[2]))
    for address in ("/", "/?q=task", "/?todo=100", "/?member=nobody", "/?due=week", "/?project=1&done=3"):
        asked.clear()
        page = visitor.open(address)
        assert page.status == 200
        assert len([statement for statement in asked if "FROM task" in statement]) == 2, address
    assert visitor.open("/").html.count('<li class="card">') == 3 * PAGE


@pytest.mark.parametrize("title", ["👩\u200d🚒", "می\u200cخواهم", "e\u0301"])
def test_letters_that_join_others_are_kept(visitor: Visitor, session: Session, title: str) -> None:
    """What cannot be seen by itself may still be part of a word or of a picture."""
    visitor.add_project("Harbour")
    visitor.add_task(title)
    assert session.scalars(select(Task.title)).one() == title


def test_markup_in_a_title_stays_text(visitor: Visitor) -> None:
    """What people type is shown as they typed it."""
    visitor.add_project("<i>Harbour</i>")
    page = visitor.add_task('<script>alert("x")</script>')
    assert '<script>alert("x")</script>' in page.text
    assert "<script" not in page.html
