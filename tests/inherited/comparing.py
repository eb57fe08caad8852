"""Is what Railhead made what plain Alembic made, and what did it say?"""

from __future__ import annotations

import json
import re

from railhead.dsn import Dsn
from tests.databases import rows_of
from tests.inherited.project import Inherited, contents
from tests.inherited.writing import id_of

OLD_FILE = f"warning: migrations/versions/{id_of('flag_code')}_flag_code.py, line 27: UserWarning: this file is from another age"
"""The one line that the history itself is worth, wherever its files are loaded."""


def told(log: str) -> list[str]:
    """Return the lines of a log, without what differs from run to run, and between versions of Python."""
    log = "\n".join(line for line in log.splitlines() if "invalid escape sequence" not in line)
    lines = [re.sub(r"^\d\d:\d\d:\d\d ", "", line) for line in log.splitlines() if line]
    return [re.sub(r"\d+(\.\d+)? (ms|s)\b", r"N \2", line) for line in lines]


def assert_as_plain(project: Inherited, database: Dsn, held: str) -> None:
    """The database holds what plain Alembic's has held, and the ledger has nothing twice and nothing unfinished."""
    assert contents(database) == held
    rows = rows_of(database, "SELECT revision, outcome FROM migration_ledger ORDER BY id")
    done = [revision for revision, outcome in rows if outcome == "applied"]
    assert len(done) == len(set(done))
    assert {revision for revision, _ in rows} == {*done}
    status = json.loads(project.railhead(database, "status", "--json").stdout)
    assert (status["state"], status["current"]) == ("current", [project.head])


def noise(log: str) -> list[str]:
    """Return the lines of a log that are not about a revision which has just been applied, or taken back."""
    return [line for line in told(log) if not re.fullmatch(r"(upgrade|downgrade): \S+ in N ms", line)]


def assert_quiet(log: str, warnings: int) -> None:
    """The log tells what was applied, this many warnings at most, among them the history's own, and nothing else."""
    lines = noise(log)
    assert OLD_FILE in lines, log
    assert len(lines) == len(set(lines)) <= warnings, log
    assert all(line.startswith(("warning: ", "upgrade: ")) for line in lines), log
