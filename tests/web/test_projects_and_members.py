from __future__ import annotations

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from models import Member, Project, Task
from tests.web.visitor import Visitor


def test_project_is_listed_with_its_tasks_counted(visitor: Visitor) -> None:
    """The list tells how many tasks a project has, and leads to them."""
    visitor.add_project("Harbour", description="From the old office to the new one")
    visitor.add_task("Order boxes")
    page = visitor.open("/projects")
    assert "Harbour From the old office to the new one 1 task" in page.text
    assert "Order boxes" in visitor.open(page.links["1 task"]).links


@pytest.mark.parametrize("list_of", ["/projects", "/members"])
def test_name_is_taken_once(visitor: Visitor, list_of: str) -> None:
    """The database's own constraint is told at the field."""
    form = visitor.open(list_of).form(sends="name")
    visitor.send(form, name="Harbour")
    page = visitor.send(form, name=" Harbour ")
    assert page.status == 422
    assert "of this name already." in page.text


@pytest.mark.parametrize(("path", "noun"), [("/projects", "project"), ("/members", "member")])
def test_each_step_is_told(visitor: Visitor, path: str, noun: str) -> None:
    """From the empty list to the empty list: what was added, saved and deleted is said, by its name."""
    page = visitor.open(path)
    assert f"No {noun} yet." in page.text
    page = visitor.send(page.form(sends="name"), name="Harbour")
    assert (page.address, f"The {noun} “Harbour” is added." in page.text) == (f"{path}?", True)
    page = visitor.send(visitor.open(page.links["Edit"]).form(sends="name"), name="Garden")
    assert (page.address, f"The {noun} “Garden” is saved." in page.text) == (f"{path}?", True)
    page = visitor.send(visitor.open(page.links["Delete…"]).form(sends="next"))
    assert (page.address, f"The {noun} “Garden” is deleted." in page.text) == (f"{path}?", True)
    page = visitor.open(path)
    assert f"No {noun} yet." in page.text
    assert "Garden" not in page.text, "a message is read once"


def test_project_is_renamed(visitor: Visitor, session: Session) -> None:
    """Editing keeps the project and changes its name."""
    visitor.add_project("Harbour")
    form = visitor.open(visitor.open("/projects").links["Edit"]).form(sends="name")
    page = visitor.send(form, name="Harbour move")
    assert "The project “Harbour move” is saved." in page.text
    assert session.scalars(select(Project.name)).all() == ["Harbour move"]


def test_renaming_to_a_taken_name_is_refused(visitor: Visitor, session: Session) -> None:
    """A name that another project has leaves both as they are."""
    visitor.add_project("Garden")
    visitor.add_project("Harbour")
    form = visitor.open(visitor.open("/projects").links["Edit"]).form(sends="name")
    page = visitor.send(form, name="Harbour" if form.fields["name"] == "Garden" else "Garden")
    assert "There is a project of this name already." in page.text
    assert session.scalars(select(Project.name).order_by(Project.name)).all() == ["Garden", "Harbour"]


def test_project_takes_its_tasks_along_after_saying_so(visitor: Visitor, session: Session) -> None:
    """The question before deleting a project names what goes with it."""
    visitor.add_project("Harbour")
    visitor.add_task("Order boxes")
    page = visitor.open(visitor.open("/projects").links["Delete…"])
    assert "Its tasks go with it: 1." in page.text
    visitor.send(page.form(sends="next"))
    assert session.scalar(select(func.count(Task.id))) == 0


def test_tasks_outlive_their_member(visitor: Visitor, session: Session) -> None:
    """Deleting a member leaves the tasks, assigned to nobody."""
    visitor.add_project("Harbour")
    visitor.add_member("Ada")
    visitor.add_task("Order boxes", assignee_id=str(session.scalars(select(Member.id)).one()))
    visitor.send(visitor.open(visitor.open("/members").links["Delete…"]).form(sends="next"))
    assert session.scalars(select(Task.assignee_id)).all() == [None]


@pytest.mark.parametrize("email", ["ada", "@example.org", "ada@", "a b@example.org"])
def test_address_has_to_look_like_one(visitor: Visitor, email: str) -> None:
    """A member's address is optional, but not just anything."""
    assert "Write an address such as" in visitor.add_member("Ada", email=email).text


def test_addresses_are_told_apart_without_their_case(visitor: Visitor, session: Session) -> None:
    """An address is kept in lower case, so that nobody is there twice."""
    visitor.add_member("Ada", email="Ada@Example.org")
    page = visitor.add_member("Another Ada", email="ada@example.org")
    assert "A member has this address already." in page.text
    assert session.scalars(select(Member.email)).all() == ["ada@example.org"]


def test_lists_are_paged(visitor: Visitor, session: Session) -> None:
    """Fifty projects fill a page."""
    session.add_all([Project(name=f"Project {number:03}") for number in range(51)])
    session.commit()
    page = visitor.open("/projects")
    assert "Page 1 of 2" in page.text
    assert "Project 050" in visitor.open(page.links["Next →"]).text
