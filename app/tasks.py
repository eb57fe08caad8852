"""One task: add, look at, edit, assign, move, delete."""

from __future__ import annotations

from flask import Blueprint, abort, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from sqlalchemy import delete as sql_delete

from app.board import names
from app.board_forms import STATUS_TITLES, MoveForm, TaskForm
from app.database import found, session
from app.forms import ConfirmForm
from app.security import local_path
from app.sign_in import access, writers_only
from models import Member, Project, Task, TaskStatus

IDENTITY = "<int(max=9223372036854775807):number>"
"""A number that fits PostgreSQL's bigint; a larger one is no address of ours."""

blueprint = Blueprint("tasks", __name__, url_prefix="/tasks")


@blueprint.route("/new", methods=["GET", "POST"])
@writers_only
def new() -> ResponseReturnValue:
    """Add a task; the address may propose project, member and status."""
    asked = request.args
    form = TaskForm(
        data={"project_id": asked.get("project"), "assignee_id": asked.get("member"), "status": asked.get("status")}
    )
    return _edit(form, Task())


@blueprint.route(f"/{IDENTITY}", methods=["GET", "POST"])
def task(number: int) -> ResponseReturnValue:
    """Show a task, or change it; whoever may write gets it as a form at once."""
    known = found(Task, number)
    if access().may_write or request.method == "POST":
        return edit(known)
    return render_template("task.html", task=known, status=STATUS_TITLES[known.status], back=_back())


@writers_only
def edit(known: Task) -> ResponseReturnValue:
    """Change a task."""
    return _edit(TaskForm(obj=known), known)


@blueprint.post(f"/{IDENTITY}/move")
@writers_only
def move(number: int) -> ResponseReturnValue:
    """Put a task into another column."""
    form = MoveForm()
    if not form.validate_on_submit():
        abort(400)
    known = found(Task, number)
    known.status = TaskStatus(form.status.data or "")
    session().commit()
    flash(f"“{known.title}” is now in {STATUS_TITLES[known.status]}.")
    return redirect(_back(), 303)


@blueprint.route(f"/{IDENTITY}/delete", methods=["GET", "POST"])
@writers_only
def delete(number: int) -> ResponseReturnValue:
    """Ask, then delete a task."""
    known = found(Task, number)
    form = ConfirmForm()
    if form.validate_on_submit():
        session().execute(sql_delete(Task).where(Task.id == number))
        session().commit()
        flash(f"“{known.title}” is deleted.")
        return redirect(_back(), 303)
    loss = "Its description and its date go with it."
    return render_template("delete.html", form=form, thing="task", name=known.title, loss=loss, back=_back())


def _edit(form: TaskForm, known: Task) -> ResponseReturnValue:
    """Show the form, or save what it says and go back to the board."""
    is_new = known.id is None
    projects = names(Project)
    form.offer(projects, names(Member))
    if form.save(known):
        flash(f"“{known.title}” is added to {STATUS_TITLES[known.status]}." if is_new else f"“{known.title}” is saved.")
        return redirect(_back(), 303)
    page = render_template("task_form.html", form=form, task=None if is_new else known, projects=projects, back=_back())
    return page, 422 if form.errors else 200


def _back() -> str:
    """The board as it was filtered when this task was opened."""
    return local_path(request.values.get("next"), url_for("board.index"))
