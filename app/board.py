"""What is there to do? The board: one column for each status, filtered and paged, in two queries for the tasks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

from flask import Blueprint, render_template, request
from flask.typing import ResponseReturnValue
from sqlalchemy import ColumnElement, CompoundSelect, Row, func, or_, select, union_all

from app.board_forms import STATUS_TITLES, FilterForm
from app.database import session
from models import Member, Project, Task, TaskStatus
from railhead.contrib.flask.paging import Page

PAGE = 20
"""Cards in one page of a column."""

blueprint = Blueprint("board", __name__)

Name = tuple[int, str]


@dataclass(frozen=True, slots=True)
class Card:
    """A task as the board shows it."""

    id: int
    title: str
    project_id: int
    project: str
    assignee_id: int | None
    assignee: str | None
    due_on: date | None
    due: str
    """How the date is marked: `overdue`, `today` or not at all."""
    has_text: bool


@dataclass(frozen=True, slots=True)
class Column:
    """One status of the board, with the page of it that is shown."""

    status: TaskStatus
    title: str
    page: Page
    cards: Sequence[Card]
    moves: Sequence[tuple[TaskStatus, str]]
    """The other columns, as words for the buttons."""


@blueprint.get("/")
def index() -> ResponseReturnValue:
    """Show the board."""
    projects, members = names(Project), names(Member)
    form = FilterForm(request.args)
    form.offer(projects, members)
    conditions = _conditions(form)
    columns = _columns(conditions, dict(projects), dict(members))
    return render_template(
        "board.html",
        form=form,
        columns=columns,
        projects=projects,
        filtered=bool(conditions),
        here=request.full_path.rstrip("?"),
    )


def names(model: type[Project | Member]) -> list[Name]:
    """Return id and name of all projects or members, in the order of the alphabet. Read-only."""
    return [(number, name) for number, name in session().execute(select(model.id, model.name).order_by(model.name))]


def today() -> date:
    """Return the day that decides what is overdue: the server's, in UTC."""
    return datetime.now(UTC).date()


def _conditions(form: FilterForm) -> list[ColumnElement[bool]]:
    """What the filter asks for. A value that makes no sense asks for nothing."""
    form.validate()
    asked = {field.name: field.data for field in form if not field.errors}
    conditions: list[ColumnElement[bool]] = []
    if asked.get("project"):
        conditions.append(Task.project_id == asked["project"])
    if asked.get("member") == "nobody":
        conditions.append(Task.assignee_id.is_(None))
    elif asked.get("member"):
        conditions.append(Task.assignee_id == int(asked["member"]))
    if asked.get("due"):
        conditions.append(_due(asked["due"]))
    if asked.get("q"):
        words = asked["q"]
        conditions.append(
            or_(Task.title.icontains(words, autoescape=True), Task.description.icontains(words, autoescape=True))
        )
    return conditions


def _due(when: str) -> ColumnElement[bool]:
    day = today()
    answers: dict[str, ColumnElement[bool]] = {
        "overdue": (Task.due_on < day) & (Task.status != TaskStatus.DONE),
        "today": Task.due_on == day,
        "week": Task.due_on.between(day, day + timedelta(days=7)),
        "none": Task.due_on.is_(None),
    }
    return answers[when]


def _columns(
    conditions: Sequence[ColumnElement[bool]], projects: dict[int, str], members: dict[int, str]
) -> list[Column]:
    counted = select(Task.status, func.count()).where(*conditions).group_by(Task.status)
    totals: dict[TaskStatus, int] = dict(session().execute(counted).all())
    pages = {status: Page.asked_for(status, totals.get(status, 0), PAGE) for status in TaskStatus}
    rows = session().execute(_one_page_each(conditions, pages)).all() if totals else []
    return [
        Column(
            status=status,
            title=STATUS_TITLES[status],
            page=page,
            cards=[_card(row, projects, members) for row in rows if row.status == status],
            moves=[(other, title) for other, title in STATUS_TITLES.items() if other != status],
        )
        for status, page in pages.items()
    ]


def _one_page_each(
    conditions: Sequence[ColumnElement[bool]], pages: dict[TaskStatus, Page]
) -> CompoundSelect[*tuple[Any, ...]]:
    """All columns in one statement: of what is open the earliest date comes first, of what is done the latest."""
    shown = (Task.id, Task.title, Task.status, Task.project_id, Task.assignee_id, Task.due_on)
    branches = []
    for status, page in pages.items():
        first = Task.updated_at.desc() if status is TaskStatus.DONE else Task.due_on.asc().nulls_last()
        part = (
            select(*shown, (Task.description != "").label("has_text"))
            .where(Task.status == status, *conditions)
            .order_by(first, Task.id)
            .limit(page.size)
            .offset(page.offset)
            .subquery()
        )
        branches.append(select(part, func.row_number().over().label("place")))
    return union_all(*branches).order_by("place")


def _card(row: Row[Any], projects: dict[int, str], members: dict[int, str]) -> Card:
    return Card(
        id=row.id,
        title=row.title,
        project_id=row.project_id,
        project=projects.get(row.project_id, ""),
        assignee_id=row.assignee_id,
        assignee=members.get(row.assignee_id),
        due_on=row.due_on,
        due=_due_mark(row.due_on, row.status),
        has_text=row.has_text,
    )


def _due_mark(due_on: date | None, status: TaskStatus) -> str:
    if due_on is None or status is TaskStatus.DONE:
        return ""
    return "overdue" if due_on < today() else "today" if due_on == today() else ""
