"""What do tasks belong to? Projects: list, add, edit, delete."""

from __future__ import annotations

from flask import Blueprint, flash, redirect, render_template, url_for
from flask.typing import ResponseReturnValue
from sqlalchemy import delete as sql_delete
from sqlalchemy import func, select

from app.board_forms import ProjectForm
from app.database import found, session
from app.forms import ConfirmForm
from app.sign_in import writers_only
from app.tasks import IDENTITY
from models import Project, Task
from railhead.contrib.flask.paging import Page

PAGE = 50

blueprint = Blueprint("projects", __name__, url_prefix="/projects")


@blueprint.get("")
def index() -> ResponseReturnValue:
    """List the projects."""
    return _list(ProjectForm())


@blueprint.post("")
@writers_only
def add() -> ResponseReturnValue:
    """Add a project."""
    form = ProjectForm()
    if form.save(Project()):
        flash(f"The project “{form.name.data}” is added.")
        return redirect(url_for("projects.index"), 303)
    return _list(form), 422


@blueprint.route(f"/{IDENTITY}", methods=["GET", "POST"])
@writers_only
def edit(number: int) -> ResponseReturnValue:
    """Change a project."""
    project = found(Project, number)
    form = ProjectForm(obj=project)
    if form.save(project):
        flash(f"The project “{form.name.data}” is saved.")
        return redirect(url_for("projects.index"), 303)
    return render_template("project_form.html", form=form, project=project), 422 if form.errors else 200


@blueprint.route(f"/{IDENTITY}/delete", methods=["GET", "POST"])
@writers_only
def delete(number: int) -> ResponseReturnValue:
    """Ask, then delete a project with its tasks."""
    project = found(Project, number)
    form = ConfirmForm()
    if form.validate_on_submit():
        session().execute(sql_delete(Project).where(Project.id == number))
        session().commit()
        flash(f"The project “{project.name}” is deleted.")
        return redirect(url_for("projects.index"), 303)
    count = session().scalar(select(func.count()).where(Task.project_id == number))
    loss = f"Its tasks go with it: {count}." if count else "It has no tasks."
    back = url_for("projects.index")
    return render_template("delete.html", form=form, thing="project", name=project.name, loss=loss, back=back)


def _list(form: ProjectForm) -> str:
    page = Page.asked_for("page", session().scalar(select(func.count(Project.id))) or 0, PAGE)
    count = select(func.count()).where(Task.project_id == Project.id).scalar_subquery()
    listed = select(Project, count).order_by(Project.name).limit(page.size).offset(page.offset)
    return render_template("projects.html", form=form, page=page, rows=session().execute(listed).all())
