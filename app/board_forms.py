"""What may people send to the board? With the messages that they read when something is amiss."""

# mypy: disallow-subclassing-any=False
# (Flask-WTF has no types; once it has, this line can go)

from __future__ import annotations

from flask_wtf import FlaskForm
from wtforms import DateField, SearchField, SelectField, StringField, TextAreaField
from wtforms.validators import AnyOf, DataRequired, Length, Optional, Regexp

from app.forms import Choices, Saving, choices, number, tidy
from models import TaskStatus

STATUS_TITLES = {TaskStatus.TODO: "To do", TaskStatus.DOING: "Doing", TaskStatus.DONE: "Done"}
DUE_TITLES = {
    "": "Any date",
    "overdue": "Overdue",
    "today": "Due today",
    "week": "Due within 7 days",
    "none": "Without a date",
}


def _tidy_lower(text: str | None) -> str | None:
    return tidy(text).lower() or None


class TaskForm(Saving):
    """A task, new or known."""

    refusals = {
        "fk_task_project_id_project": ("project_id", "This project has just been deleted. Choose another one."),
        "fk_task_assignee_id_member": ("assignee_id", "This member has just been deleted. Choose another one."),
    }

    title = StringField("Title", [DataRequired("A task needs a title."), Length(max=200)], filters=[tidy])
    project_id = SelectField("Project", [DataRequired("Choose a project.")], coerce=number)
    assignee_id = SelectField("Assigned to", coerce=number)
    status = SelectField("Status", choices=choices(STATUS_TITLES.items()), coerce=TaskStatus)
    due_on = DateField("Due on", [Optional()])
    description = TextAreaField("Description", [Length(max=10_000)], filters=[tidy])

    def offer(self, projects: Choices, members: Choices) -> None:
        """Fill the choices."""
        self.project_id.choices = choices(projects)
        self.assignee_id.choices = choices([("", "Nobody"), *members])


class ProjectForm(Saving):
    """A project, new or known."""

    refusals = {
        "uq_project_name": ("name", "There is a project of this name already."),
    }

    name = StringField("Name", [DataRequired("A project needs a name."), Length(max=80)], filters=[tidy])
    description = TextAreaField("Description", [Length(max=10_000)], filters=[tidy])


class MemberForm(Saving):
    """A member, new or known."""

    refusals = {
        "uq_member_name": ("name", "There is a member of this name already."),
        "uq_member_email": ("email", "A member has this address already."),
    }

    name = StringField("Name", [DataRequired("A member needs a name."), Length(max=80)], filters=[tidy])
    email = StringField(
        "E-mail",
        [Optional(), Length(max=254), Regexp(r"[^@\s]+@[^@\s]+$", message="Write an address such as ada@example.org.")],
        filters=[_tidy_lower],
        render_kw={"type": "email", "autocomplete": "off"},
    )


class MoveForm(FlaskForm):
    """Which column a task goes to."""

    status = StringField(validators=[AnyOf([status.value for status in TaskStatus])])


class FilterForm(FlaskForm):
    """Which tasks the board shows. Comes with the address, so it changes nothing and needs no token."""

    class Meta:
        """Settings of WTForms."""

        csrf = False

    q = SearchField("Search", [Length(max=200)], filters=[tidy])
    project = SelectField("Project", coerce=number)
    member = SelectField("Member", coerce=str, default="")
    due = SelectField("Due", choices=choices(DUE_TITLES.items()), default="")

    def offer(self, projects: Choices, members: Choices) -> None:
        """Fill the choices."""
        self.project.choices = choices([("", "All projects"), *projects])
        self.member.choices = choices([("", "Everybody"), ("nobody", "Nobody yet"), *members])
