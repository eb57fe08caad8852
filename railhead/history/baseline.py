"""What does a history begin with whose first revisions need tables that none of them makes?

`migrations/baseline.sql` makes the schema at one of its revisions, from which fresh databases and replays go on. Only
`seal --from` writes it, and the manifest holds its digest.
"""

from __future__ import annotations

from railhead.errors import Stop
from railhead.history.checksum import digest
from railhead.history.graph import History
from railhead.history.origin import Origin
from railhead.project import Project, VersionTable

SEAL_FROM = "python utils/migrate.py seal --from REV"


ADVICE = (
    "where what it needs comes from create_all() or from a dump, and no revision makes it, let the history start from a database\n"
    f"that has it:\nDATABASE_URL=postgresql://... {SEAL_FROM}\n"
)

_MISSING = {"42P01", "42704", "42703", "3F000", "42883"}
"""The errors for a table, a type, a column, a schema or a function that is not there."""


def would_help(code: str | None, history: History) -> bool:
    """Tell whether a revision that fails so on a database made from nothing may lack what no revision makes."""
    return code in _MISSING and history.origin.baseline is None


def sql(history: History) -> str | None:
    """Return the statements of the baseline, None when the history has none. Raises Stop when the file is not what was sealed."""
    origin = history.origin
    if origin.baseline is None:
        return None
    path = history.project.baseline
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise _not_sealed(f"it cannot be read: {error}") from error
    if digest(text.encode()) != origin.digest:
        raise _not_sealed("it was changed since it was sealed")
    if origin.baseline not in history.by_id:
        raise _not_sealed(f"the revision that it stands for, {origin.baseline}, is gone")
    return text


def is_sealed(project: Project, origin: Origin) -> bool:
    """Tell whether the file is the one that was sealed, or none is needed."""
    try:
        return origin.baseline is None or digest(project.baseline.read_bytes()) == origin.digest
    except OSError:
        return False


def stamped(history: History, table: VersionTable) -> str | None:
    """Return the statements that also let the version's `table` say where the baseline leads. Raises Stop as `sql` does."""
    text = sql(history)
    if text is None:
        return None
    name = str(history.origin.baseline).replace("'", "''")
    return f"{text}\n;{version_table_made(table)};\nINSERT INTO {table.sql} VALUES ('{name}')"


def _not_sealed(why: str) -> Stop:
    return Stop(
        "baseline",
        "the baseline of this history is not the one that was sealed",
        facts=[("file", "migrations/baseline.sql"), ("because", why)],
        database="unchanged",
        next_step=f"put it back as it was committed, or make it anew from a database:\nDATABASE_URL=postgresql://... {SEAL_FROM}",
    )


def version_table_made(table: VersionTable) -> str:
    """Return the statement that makes the version's table as Alembic does."""
    key = VersionTable(f"{table.name}_pkc").sql
    return f"CREATE TABLE IF NOT EXISTS {table.sql} (version_num varchar(32) NOT NULL, CONSTRAINT {key} PRIMARY KEY (version_num))"
