"""What may people send us? What all forms share, and the forms that are not about the sample.

The database has the last word: a constraint that refuses is told beside the field that it is about.
"""

# mypy: disallow-subclassing-any=False
# (Flask-WTF has no types; once it has, this line can go)

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping
from typing import ClassVar

from flask_wtf import FlaskForm
from sqlalchemy.exc import IntegrityError
from wtforms import Field, PasswordField
from wtforms.fields.choices import SelectChoice  # type: ignore[attr-defined]  # the stubs are older
from wtforms.validators import DataRequired, Length

from app.database import session
from models import Base

_UNSEEN = {"Cc", "Cf", "Mn", "Zl", "Zp", "Zs"}
"""Kinds of letters that show nothing by themselves: control, format, marks on others, separators."""

_BLANKS = "\u115f\u1160\u2800\u3164\uffa0"
"""Fillers that Unicode counts as letters or symbols."""

Choices = Iterable[tuple[int | str, str]]
"""What is sent, and what is read."""


def tidy(text: str | None) -> str:
    """Return it without blanks around it and control characters within: PostgreSQL refuses NUL, browsers add returns.

    Empty when there is nothing to see: a title of zero-width spaces would be a link that nobody can find.
    """
    kept = "".join(letter for letter in text or "" if letter >= " " or letter in "\t\n").strip()
    return kept if any(_can_be_seen(letter) for letter in kept) else ""


def _can_be_seen(letter: str) -> bool:
    return unicodedata.category(letter) not in _UNSEEN and letter not in _BLANKS


def choices(pairs: Choices) -> list[SelectChoice]:
    """Return what a SelectField offers."""
    return [SelectChoice(str(value), label) for value, label in pairs]


def number(text: str | int | None) -> int | None:
    """Read a choice that may be left empty."""
    return int(text) if text else None


class Saving(FlaskForm):
    """A form whose fields are named like the columns they end in."""

    refusals: ClassVar[Mapping[str, tuple[str, str]]] = {}
    """Constraints that a person can run into, the field to say it at, and the words."""

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
            name, words = self.refusals.get(_constraint(error), ("", ""))
            if name not in self:
                raise
            field: Field = self[name]
            field.errors = [*field.errors, words]
            return False
        return True


class ConfirmForm(FlaskForm):
    """Nothing but "yes, I mean it"."""


class SignInForm(FlaskForm):
    """The password."""

    password = PasswordField("Password", [DataRequired("Type the password."), Length(max=1000)])


def _constraint(error: IntegrityError) -> str:
    return getattr(getattr(error.orig, "diag", None), "constraint_name", None) or ""
