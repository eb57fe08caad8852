"""Who can be given tasks? Members: list, add, edit, delete."""

from __future__ import annotations

from flask import Blueprint, flash, redirect, render_template, url_for
from flask.typing import ResponseReturnValue
from sqlalchemy import delete as sql_delete
from sqlalchemy import func, select

from app.board_forms import MemberForm
from app.database import found, session
from app.forms import ConfirmForm
from app.sign_in import writers_only
from app.tasks import IDENTITY
from models import Member, Task
from railhead.contrib.flask.paging import Page

PAGE = 50

blueprint = Blueprint("members", __name__, url_prefix="/members")


@blueprint.get("")
def index() -> ResponseReturnValue:
    """List the members."""
    return _list(MemberForm())


@blueprint.post("")
@writers_only
def add() -> ResponseReturnValue:
    """Add a member."""
    form = MemberForm()
    if form.save(Member()):
        flash(f"The member “{form.name.data}” is added.")
        return redirect(url_for("members.index"), 303)
    return _list(form), 422


@blueprint.route(f"/{IDENTITY}", methods=["GET", "POST"])
@writers_only
def edit(number: int) -> ResponseReturnValue:
    """Change a member."""
    member = found(Member, number)
    form = MemberForm(obj=member)
    if form.save(member):
        flash(f"The member “{form.name.data}” is saved.")
        return redirect(url_for("members.index"), 303)
    return render_template("member_form.html", form=form, member=member), 422 if form.errors else 200


@blueprint.route(f"/{IDENTITY}/delete", methods=["GET", "POST"])
@writers_only
def delete(number: int) -> ResponseReturnValue:
    """Ask, then delete a member; its tasks stay."""
    member = found(Member, number)
    form = ConfirmForm()
    if form.validate_on_submit():
        session().execute(sql_delete(Member).where(Member.id == number))
        session().commit()
        flash(f"The member “{member.name}” is deleted.")
        return redirect(url_for("members.index"), 303)
    count = session().scalar(select(func.count()).where(Task.assignee_id == number))
    loss = (
        f"Tasks that nobody will have then: {count}. They stay on the board." if count else "No task is assigned here."
    )
    back = url_for("members.index")
    return render_template("delete.html", form=form, thing="member", name=member.name, loss=loss, back=back)


def _list(form: MemberForm) -> str:
    page = Page.asked_for("page", session().scalar(select(func.count(Member.id))) or 0, PAGE)
    count = select(func.count()).where(Task.assignee_id == Member.id).scalar_subquery()
    listed = select(Member, count).order_by(Member.name).limit(page.size).offset(page.offset)
    return render_template("members.html", form=form, page=page, rows=session().execute(listed).all())
