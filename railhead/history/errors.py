"""What is said of revision files that form no history, and of versions that are not in it?"""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Iterable
from pathlib import Path

from railhead.errors import Forked, Stop
from railhead.history.checksum import parsed
from railhead.history.files import as_name, as_text, declared, revision_files
from railhead.history.graph import History
from railhead.history.naming import LONGEST_ID
from railhead.project import version_table

_ENGINE = Path(__file__).resolve().parent.parent


def no_history(why: str, reason: str = "Alembic", more: str = "") -> Stop:
    """Return what is said of files that are no history, or not the one that is needed (`more`), with the reason and whose it is."""
    return Stop(
        "revision-file",
        f"the revision files do not form a history{more}",
        facts=[(reason, why)],
        database="not touched",
        next_step="correct `revision` and `down_revision` in migrations/versions/",
    )


def overlapping() -> str:
    """Return what is said of two versions of which one builds on the other."""
    return f"{version_table().name} holds a revision together with one that it builds on"


OTHERS = "another application keeps its version in the same table"
"""What has happened where this code has one of two versions, and nobody knows the other."""


def unknown_version(
    versions: Iterable[str],
    heads: Iterable[str] | None = None,
    redundant: Iterable[str] = (),
    ours: Iterable[str] = (),
) -> Stop:
    """Return the refusal of a database at versions that this code does not have, or of which some are `redundant`.

    `heads` are those of this code, where they are known; `ours` are those of the versions that this code has.
    """
    versions, ours = tuple(versions), tuple(ours)
    place = ", ".join(versions)
    facts = [("found", place or "none")]
    if redundant:
        headline, step = overlapping(), f"delete the older row, which should have been replaced:\n{deletion(redundant)}"
    elif ours:
        headline, step = OTHERS, apart(ours, [version for version in versions if version not in ours])
        facts = [("ours", ", ".join(ours)), ("not ours", ", ".join(one for one in versions if one not in ours))]
    else:
        headline = "the database is at a revision that this code does not have"
        facts += [("our head", ", ".join(heads) or "none")] if heads is not None else []
        step = "deploy the release that has this revision, or see whether this is the right database:\npython utils/migrate.py status"
    return Stop("unknown-version", headline, facts=facts, database=f"unchanged, at {place}", next_step=step)


def apart(ours: Iterable[str], others: Iterable[str]) -> str:
    """Return how to give this application a table of its own for its version, which loses none; and what is right where the other one is gone."""
    table, rows = version_table(), ", ".join(f"'{version}'" for version in ours)
    own = f"{table.name}_app"
    return (
        f"give one of the two a place of its own, this one for instance, in alembic.ini:\n[railhead]\nversion_table = {own}\n"
        "and move its version there, in psql:\n"
        f"CREATE TABLE {own} (LIKE {table.sql} INCLUDING ALL);\n"
        f"INSERT INTO {own} SELECT * FROM {table.sql} WHERE version_num IN ({rows});\n"
        f"DELETE FROM {table.sql} WHERE version_num IN ({rows});\n"
        "or give one a schema of its own (ALTER ROLE ... SET search_path = ...). Only if that other application is gone:\n"
        f"{deletion(others)}"
    )


def deletion(versions: Iterable[str]) -> str:
    """Return the statement that takes rows out of alembic_version."""
    rows = ", ".join(f"'{version}'" for version in versions)
    return f"DELETE FROM {version_table().sql} WHERE version_num IN ({rows});"


def no_function(module: object, name: str) -> Stop:
    """Return what is said of a revision that lacks `upgrade()` or `downgrade()`."""
    return Stop(
        "revision-file",
        f"a revision has no {name}()",
        facts=[("file", f"migrations/versions/{Path(getattr(module, '__file__', None) or '?').name}")],
        database="unchanged",
        next_step=f"write it, if only to say that there is nothing to do:\ndef {name}() -> None: pass",
    )


def runs_nothing(function: object, file: str) -> Stop | None:
    """Return what is said of an `async def upgrade()`, or of one with `yield` in it: called, it does nothing. None of others."""
    flags = getattr(getattr(function, "__code__", None), "co_flags", 0)
    if not flags & (inspect.CO_COROUTINE | inspect.CO_GENERATOR | inspect.CO_ASYNC_GENERATOR):
        return None
    name = getattr(function, "__name__", "upgrade")
    what = "yields" if flags & inspect.CO_GENERATOR else "is asynchronous"
    return Stop(
        "revision-file",
        f"a revision's {name}() {what}, so that calling it does nothing",
        facts=[("file", f"migrations/versions/{file}")],
        database="unchanged",
        next_step=f"make it a plain function:\ndef {name}() -> None:",
    )


def line_of(error: BaseException, folder: Path) -> str | None:
    """Return the innermost line in a file of `folder` that an error went through, None when there is none."""
    files = files_of(folder)
    frames = [(frame.f_code.co_filename, line) for frame, line in traceback.walk_tb(error.__traceback__)]
    lines = [f"{files[name]}, line {line}" for name, line in frames if name in files]
    return lines[-1] if lines else None


def files_of(folder: Path) -> dict[str, str]:
    """Return the names of the revisions in a folder by the place that Python knows them by: Alembic follows symbolic links."""
    names = revision_files(folder)
    places = ((name, folder / name) for name in names)
    return {
        str(place): as_text(name) for name, file in places for place in (file, folder.resolve() / name, file.resolve())
    }


def raised_outside(error: BaseException) -> str | None:
    """Return the line of the project's own code that an error came from, None when the engine, or a library for it, raised it."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        path = Path(frame.filename)
        if frame.filename.startswith("<") or "site-packages" in path.parts:
            continue
        return None if _ENGINE in path.parents else f"{path.parent.name}/{path.name}, line {frame.lineno}"
    return None


def bad_env_file(error: BaseException, env: Path) -> Stop | None:
    """Return what is said of an env.py that raises before it hands over to the engine, None when it was not that."""
    frames = [(Path(frame.filename), frame.lineno) for frame in traceback.extract_tb(error.__traceback__)]
    lines = [line for file, line in frames if file == env]
    if isinstance(error, SyntaxError) and error.filename == str(env):
        lines = [error.lineno]
    elif not lines or any(_ENGINE in file.parents for file, _ in frames[frames.index((env, lines[0])) :]):
        return None
    return Stop(
        "env-file",
        "migrations/env.py fails before it hands over to the engine",
        facts=[("file", f"migrations/env.py, line {lines[-1]}"), ("Python", python_words(error))],
        database="not touched",
        next_step="correct it; its last line is  entry.enter(context, models)",
    )


def bad_file(error: BaseException, folder: Path, file: str | None = None) -> Stop:
    """Return what is said of a file that cannot be loaded, with its line, or of `file`."""
    place = _line_of_syntax(error, folder) or line_of(error, folder) or file or "(one of the files there)"
    is_no_text = _is_no_text(folder / as_name(place.partition(", line ")[0]))
    step = "write it anew, in UTF-8" if is_no_text else "correct the file"
    return Stop(
        "revision-file",
        "a revision file cannot be loaded",
        facts=[("file", f"migrations/versions/{place}"), ("Python", python_words(error))],
        database="not touched",
        next_step=f"{step}; see that it loads:  python utils/migrate.py status",
    )


def python_words(error: BaseException) -> str:
    """Return what Python says of an error, also of one that cannot say it itself."""
    try:
        words = str(error)
    except Exception:
        words = "(its text cannot be told)"
    return f"{type(error).__name__}: {words}"


def _line_of_syntax(error: BaseException, folder: Path) -> str | None:
    """Return the line that is no Python, when it is in one of the revisions and not in what they import."""
    file = files_of(folder).get(error.filename or "") if isinstance(error, SyntaxError) else None
    return f"{file}, line {error.lineno}" if file and isinstance(error, SyntaxError) else None


def _is_no_text(file: Path) -> bool:
    """Tell whether a file holds null bytes: UTF-16, as PowerShell writes it, or what is left after a crash."""
    try:
        return b"\0" in file.read_bytes()
    except OSError:
        return False


def twice(revision: str, folder: Path) -> Stop:
    """Return what is said of two files with one id; the second would silently never be applied."""
    files = sorted(as_text(name) for name in revision_files(folder) if _calls_itself(folder / name, revision))
    return Forked(
        "forked",
        f"two files are the same revision, {revision}",
        facts=[("file", f"migrations/versions/{name}") for name in files],
        database="not touched",
        next_step=f"put the later one on top of the other:\npython utils/migrate.py rebase {files[-1] if files else revision}",
    )


def _calls_itself(file: Path, revision: str) -> bool:
    try:
        return declared(parsed(file.read_bytes()))["revision"].value == revision
    except (OSError, SyntaxError, ValueError, KeyError):
        return False


def forked(history: History) -> Stop | None:
    """Return what is said of several heads, None when there is one."""
    if len(history.heads) < 2:
        return None
    heads = [history.by_id[head] for head in history.heads]
    return Forked(
        "forked",
        f"the history has {len(heads)} heads",
        facts=[("head", f"{revision.id}, migrations/versions/{revision.file}") for revision in heads],
        database="not touched",
        next_step="put the one that no other database has yet on top of the other; what is deployed must keep its name:\n"
        + "\n".join(f"python utils/migrate.py rebase {revision.id}" for revision in heads),
    )


def too_long(history: History) -> Stop | None:
    """Return what is said of an id that alembic_version cannot hold, None when there is none."""
    long = next((revision for revision in history.by_id.values() if len(revision.id) > LONGEST_ID), None)
    if long is None:
        return None
    return Stop(
        "long-id",
        f"a revision id is longer than the {LONGEST_ID} characters that {version_table().name} holds",
        facts=[("revision", f"{long.id} ({len(long.id)} characters)"), ("file", f"migrations/versions/{long.file}")],
        database="not touched",
        next_step=f"shorten `revision` in {long.file}, and the name of the file with it",
    )
