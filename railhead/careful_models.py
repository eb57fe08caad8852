"""What if the models cannot be had? They are somebody's code: whatever happens in it is told as one message, and is no traceback."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING

from railhead.errors import Fact, Stop

if TYPE_CHECKING:
    from sqlalchemy import MetaData

_ENGINE = Path(__file__).resolve().parent


def careful(models: Callable[[], MetaData]) -> Callable[[], MetaData]:
    """Return what gives the same models, and raises Stop(`no-models`) whatever they do: a broken import, an end of the process, another shape."""
    if hasattr(models, "__wrapped__"):
        return models

    @wraps(models)
    def load() -> MetaData:
        try:
            metadata = models()
        except Stop:
            raise
        except (Exception, SystemExit) as error:
            raise not_loaded(error) from error
        if not hasattr(metadata, "sorted_tables"):
            raise _of_another_shape(metadata)
        return metadata

    return load


def not_loaded(error: BaseException) -> Stop:
    """Return what is said of models that raise `error` when they are imported."""
    facts: list[Fact] = [("file", place)] if (place := _place(error)) else []
    return Stop(
        "no-models",
        "the models cannot be imported",
        facts=[*facts, ("Python", f"{type(error).__name__}: {error}")],
        database="unchanged",
        next_step="correct that; see that they load:\npython -c 'import models'",
    )


def _of_another_shape(thing: object) -> Stop:
    kind = getattr(thing, "__name__", None) or type(thing).__name__
    return Stop(
        "no-models",
        "what is named as the models is no MetaData",
        facts=[("found", f"{kind}, where sqlalchemy.MetaData is expected")],
        database="unchanged",
        next_step="let models() return the metadata of the declarative base:\nfrom models import Base\nreturn Base.metadata",
    )


def _place(error: BaseException) -> str | None:
    """Return the innermost line of the project's own that an error went through."""
    if isinstance(error, SyntaxError) and error.filename:
        return _shown(error.filename, error.lineno)
    frames = [(frame.f_code.co_filename, line) for frame, line in traceback.walk_tb(error.__traceback__)]
    own = [(name, line) for name, line in frames if _is_own(name)]
    return _shown(*own[-1]) if own else None


def _is_own(name: str) -> bool:
    is_library = name.startswith((sys.prefix, sys.base_prefix, "<")) or "site-packages" in name
    return not is_library and _ENGINE not in Path(name).resolve().parents


def _shown(name: str, line: int | None) -> str:
    path = Path(name)
    short = path.relative_to(Path.cwd()) if Path.cwd() in path.parents else path
    return f"{short}{f', line {line}' if line else ''}"
