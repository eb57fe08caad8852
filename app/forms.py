"""What may people send us? Every form, with the messages that a person reads when something is amiss.

The database has the last word: a constraint that refuses is told beside the field that it is about.
"""

# mypy: disallow-subclassing-any=False
# (Flask-WTF has no types; once it has, this line can go)

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

from flask_wtf import FlaskForm
from sqlalchemy.exc import IntegrityError
from wtforms import DateField, Field, PasswordField, SearchField, SelectField, StringField, TextAreaField
from wtforms.fields.choices import SelectChoice  # type: ignore[attr-defined]  # the stubs are older
from wtforms.validators import AnyOf, DataRequired, Length, Optional, Regexp

from app.database import session
from models import Base, TaskStatus

STATUS_TITLES = {TaskStatus.TODO: "To do", TaskStatus.DOING: "Doing", TaskStatus.DONE: "Done"}
DUE_TITLES = {
    "": "Any date",
    "overdue": "Overdue",
    "today": "Due today",
    "week": "Due within 7 days",
    "none": "Without a date",
}
_REFUSALS = {
    "uq_project_name": ("name", "There is a project of this name already."),
    "uq_member_name": ("name", "There is a member of this name already."),
    "uq_member_email": ("email", "A member has this address already."),
    "fk_task_project_id_project": ("project_id", "This project has just been deleted. Choose another one."),
    "fk_task_assignee_id_member": ("assignee_id", "This member has just been deleted. Choose another one."),
}
"""Constraints that a person can run into, the field to say it at, and the words."""

_UNSEEN = {"Cc", "Cf", "Mn", "Zl", "Zp", "Zs"}
"""Kinds of letters that show nothing by themselves: control, format, marks on others, separators."""

_BLANKS = "\u115f\u1160\u2800\u3164\uffa0"
"""Fillers that Unicode counts as letters or symbols."""

Choices = Iterable[tuple[int | str, str]]
"""What is sent, and what is read."""


def _tidy(text: str | None) -> str:
    """Return it without blanks around it and control characters within: PostgreSQL refuses NUL, browsers add returns.

    Empty when there is nothing to see: a title of zero-width spaces would be a link that nobody can find.
    """
    kept = "".join(letter for letter in text or "" if letter >= " " or letter in "\t\n").strip()
    return kept if any(_can_be_seen(letter) for letter in kept) else ""


def _can_be_seen(letter: str) -> bool:
    return unicodedata.category(letter) not in _UNSEEN and letter not in _BLANKS


def _tidy_lower(text: str | None) -> str | None:
    return _tidy(text).lower() or None


def _choices(pairs: Choices) -> list[SelectChoice]:
    return [SelectChoice(str(value), label) for value, label in pairs]


def _number(text: str | int | None) -> int | None:
    """Read a choice that may be left empty."""
    return int(text) if text else None


class Saving(FlaskForm):
    """A form whose fields are named like the columns they end in."""

    def save(self, record: Base) -> bool:
        """Put what was sent into `record` and commit; False when nothing was sent, or with the reason at its field."""
        if not self.validate_on_submit():
            return False
        self.populate_obj(record)
        session().add(record)
        try:
            session().commit()
        except IntegrityError as error:
            session().rollback()
            name, words = _REFUSALS.get(_constraint(error), ("", ""))
            if name not in self:
                raise
            field: Field = self[name]
            field.errors = [*field.errors, words]
            return False
        return True


class TaskForm(Saving):
    """A task, new or known."""

    title = StringField("Title", [DataRequired("A task needs a title."), Length(max=200)], filters=[_tidy])
    project_id = SelectField("Project", [DataRequired("Choose a project.")], coerce=_number)
    assignee_id = SelectField("Assigned to", coerce=_number)
    status = SelectField("Status", choices=_choices(STATUS_TITLES.items()), coerce=TaskStatus)
    due_on = DateField("Due on", [Optional()])
    description = TextAreaField("Description", [Length(max=10_000)], filters=[_tidy])

    def offer(self, projects: Choices, members: Choices) -> None:
        """Fill the choices."""
        self.project_id.choices = _choices(projects)
        self.assignee_id.choices = _choices([("", "Nobody"), *members])


class ProjectForm(Saving):
    """A project, new or known."""

    name = StringField("Name", [DataRequired("A project needs a name."), Length(max=80)], filters=[_tidy])
    description = TextAreaField("Description", [Length(max=10_000)], filters=[_tidy])


class MemberForm(Saving):
    """A member, new or known."""

    name = StringField("Name", [DataRequired("A member needs a name."), Length(max=80)], filters=[_tidy])
    email = StringField(
        "E-mail",
        [Optional(), Length(max=254), Regexp(r"[^@\s]+@[^@\s]+$", message="Write an address such as ada@example.org.")],
        filters=[_tidy_lower],
        render_kw={"type": "email", "autocomplete": "off"},
    )


class MoveForm(FlaskForm):
    """Which column a task goes to."""

    status = StringField(validators=[AnyOf([status.value for status in TaskStatus])])


class ConfirmForm(FlaskForm):
    """Nothing but "yes, I mean it"."""


class SignInForm(FlaskForm):
    """The password."""

    password = PasswordField("Password", [DataRequired("Type the password."), Length(max=1000)])


class FilterForm(FlaskForm):
    """Which tasks the board shows. Comes with the address, so it changes nothing and needs no token."""

    class Meta:
        """Settings of WTForms."""

        csrf = False

    q = SearchField("Search", [Length(max=200)], filters=[_tidy])
    project = SelectField("Project", coerce=_number)
    member = SelectField("Member", coerce=str, default="")
    due = SelectField("Due", choices=_choices(DUE_TITLES.items()), default="")

    def offer(self, projects: Choices, members: Choices) -> None:
        """Fill the choices."""
        self.project.choices = _choices([("", "All projects"), *projects])
        self.member.choices = _choices([("", "Everybody"), ("nobody", "Nobody yet"), *members])


def _constraint(error: IntegrityError) -> str:
    return getattr(getattr(error.orig, "diag", None), "constraint_name", None) or ""
