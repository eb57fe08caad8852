"""What is said of revision files that form no history, and of versions that are not in it?"""

from __future__ import annotations

import re
import traceback
from collections.abc import Iterable
from pathlib import Path

from railhead.errors import Forked, Stop
from railhead.history import manifest
from railhead.history.graph import History
from railhead.history.naming import LONGEST_ID

_ENGINE = Path(__file__).resolve().parent.parent


def no_history(why: str) -> Stop:
    """Return what is said of files that Alembic can make no history of."""
    return Stop(
        "revision-file",
        "the revision files do not form a history",
        facts=[("Alembic", why)],
        database="not touched",
        next_step="correct `revision` and `down_revision` in migrations/versions/",
    )


OVERLAPPING = "alembic_version holds a revision together with one that it builds on"


def unknown_version(versions: Iterable[str], heads: Iterable[str] | None = None, redundant: Iterable[str] = ()) -> Stop:
    """Return the refusal of a database at versions that this code does not have, or of which some are `redundant`.

    `heads` are those of this code, where they are known.
    """
    place = ", ".join(versions)
    facts = [("found", place or "none")]
    if redundant:
        headline, step = OVERLAPPING, f"delete the older row, which should have been replaced:\n{deletion(redundant)}"
    else:
        headline = "the database is at a revision that this code does not have"
        facts += [("our head", ", ".join(heads) or "none")] if heads is not None else []
        step = "deploy the release that has this revision, or see whether this is the right database:\npython utils/migrate.py status"
    return Stop("unknown-version", headline, facts=facts, database=f"unchanged, at {place}", next_step=step)


def deletion(versions: Iterable[str]) -> str:
    """Return the statement that takes rows out of alembic_version."""
    rows = ", ".join(f"'{one}'" for one in versions)
    return f"DELETE FROM alembic_version WHERE version_num IN ({rows});"


def no_function(module: object, name: str) -> Stop:
    """Return what is said of a revision that lacks `upgrade()` or `downgrade()`."""
    return Stop(
        "revision-file",
        f"a revision has no {name}()",
        facts=[("file", f"migrations/versions/{Path(getattr(module, '__file__', None) or '?').name}")],
        database="unchanged",
        next_step=f"write it, if only to say that there is nothing to do:\ndef {name}() -> None: pass",
    )


def line_of(error: BaseException, folder: Path) -> str | None:
    """Return the innermost line in a file of `folder` that an error went through, None when there is none."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename).parent == folder]
    return f"{Path(frames[-1].filename).name}, line {frames[-1].lineno}" if frames else None


def raised_outside(error: BaseException) -> str | None:
    """Return the line of the project's own code that an error came from, None when the engine, or a library for it, raised it."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        path = Path(frame.filename)
        if frame.filename.startswith("<") or "site-packages" in path.parts:
            continue
        return None if _ENGINE in path.parents else f"{path.parent.name}/{path.name}, line {frame.lineno}"
    return None


def bad_file(error: BaseException, folder: Path, file: str | None = None) -> Stop:
    """Return what is said of a file that cannot be loaded, with its line, or of `file`."""
    place = line_of(error, folder) or file or "(one of the files there)"
    if isinstance(error, SyntaxError) and error.filename:
        place = f"{Path(error.filename).name}, line {error.lineno}"
    return Stop(
        "revision-file",
        "a revision file cannot be loaded",
        facts=[("file", f"migrations/versions/{place}"), ("Python", f"{type(error).__name__}: {error}")],
        database="not touched",
        next_step="correct the file; see that it loads:  python utils/migrate.py status",
    )


def twice(revision: str, folder: Path) -> Stop:
    """Return what is said of two files with one id; the second would silently never be applied."""
    pattern = re.compile(rf"^revision\b[^=\n]*=\s*['\"]{re.escape(revision)}['\"]", re.MULTILINE)
    files = sorted(
        name
        for name in manifest.revision_files(folder)
        if pattern.search((folder / name).read_text(encoding="utf-8", errors="replace"))
    )
    return Forked(
        "forked",
        f"two files are the same revision, {revision}",
        facts=[("file", f"migrations/versions/{name}") for name in files],
        database="not touched",
        next_step=f"put the later one on top of the other:\npython utils/migrate.py rebase {files[-1] if files else revision}",
    )


def forked(found: History) -> Stop | None:
    """Return what is said of several heads, None when there is one."""
    if len(found.heads) < 2:
        return None
    heads = [found.by_id[head] for head in found.heads]
    return Forked(
        "forked",
        f"the history has {len(heads)} heads",
        facts=[("head", f"{one.id}, migrations/versions/{one.file}") for one in heads],
        database="not touched",
        next_step="put the one that no other database has yet on top of the other; what is deployed must keep its name:\n"
        + "\n".join(f"python utils/migrate.py rebase {one.id}" for one in heads),
    )


def too_long(found: History) -> Stop | None:
    """Return what is said of an id that alembic_version cannot hold, None when there is none."""
    long = next((one for one in found.by_id.values() if len(one.id) > LONGEST_ID), None)
    if long is None:
        return None
    return Stop(
        "long-id",
        f"a revision id is longer than the {LONGEST_ID} characters that alembic_version holds",
        facts=[("revision", f"{long.id} ({len(long.id)} characters)"), ("file", f"migrations/versions/{long.file}")],
        database="not touched",
        next_step=f"shorten `revision` in {long.file}, and the name of the file with it",
    )
