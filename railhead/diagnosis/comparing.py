"""Why can the models not be compared with the database?"""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg2

from railhead.diagnosis import messages
from railhead.errors import Fact, Stop
from railhead.history.errors import python_words
from railhead.postgres import failures

_OF_MODELS = ("22", "42")
"""Classes of SQLSTATE that speak of what was asked: of a default or a type of the models, which PostgreSQL is shown."""

_NOT_OF_MODELS = ("42501",)


@contextmanager
def told(again: str) -> Iterator[None]:
    """Inside, whatever comes of comparing the models is raised as a Stop: their error as theirs, the server's as the server's.

    `again` is the command to repeat.
    """
    try:
        yield
    except (Stop, psycopg2.Error):
        raise  # of the database: told by whoever reads it
    except Exception as error:  # types, comparators and naming conventions are anybody's code
        if type(error).__module__.startswith("alembic"):
            raise  # its refusals are translated elsewhere
        original = getattr(error, "orig", None)  # of SQLAlchemy's, the driver's
        code = getattr(original, "pgcode", None) or ""
        if isinstance(original, psycopg2.Error) and (code in _NOT_OF_MODELS or not code.startswith(_OF_MODELS)):
            raise messages.refused(error, "unchanged", again=again) from error
        raise _not_compared(error, original, again) from error


def _not_compared(error: Exception, original: BaseException | None, again: str) -> Stop:
    facts: list[Fact] = []
    if isinstance(original, psycopg2.Error):
        facts.append(("PostgreSQL", f"{failures.server_words(original)} (SQLSTATE {original.pgcode})"))
        facts.append(("asked", " ".join(str(getattr(error, "statement", "")).split())[:200]))
    else:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        facts.append(("Python", python_words(error)))
        facts.append(("raised in", f"{Path(frame.filename).name}, line {frame.lineno}"))
    return Stop(
        "models",
        "the models cannot be compared with the database",
        facts=facts,
        database="unchanged",
        next_step=f"correct in models.py what stands above, a default or a type, then:\n{again}",
    )
