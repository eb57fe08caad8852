"""What a start may have to do quickly loads neither SQLAlchemy nor Alembic, in a process that has done it."""

from __future__ import annotations

import subprocess
import sys

from railhead.dsn import Dsn
from tests.project_tree import ROOT

EXPLAIN = """
import sys
import psycopg2
from railhead.diagnosis import messages
connection = psycopg2.connect(sys.argv[1])
cursor = connection.cursor()
cursor.execute("CREATE TEMP TABLE thing (name text); INSERT INTO thing VALUES ('a'), ('a')")
try:
    cursor.execute("CREATE UNIQUE INDEX ON thing (name)")
except psycopg2.Error as error:
    stop = messages.failed(error, None, "unchanged, empty", left=False)
print(stop.render("upgrade"))
print(sorted({"alembic", "sqlalchemy"} & {*sys.modules}))
"""

JUDGE = """
import sys
from pathlib import Path
import psycopg2
from railhead.errors import Stop
from railhead.hazards import gate, table_sizes
from railhead.history import manifest
from railhead.history.graph import History, Revision
from railhead.project import Project
from railhead.settings import Settings
project = Project(Path(sys.argv[2]))
connection = psycopg2.connect(sys.argv[1])
pending = [
    Revision(line.revision, (), project.versions / line.file, "", None, {})
    for line in manifest.read(project.manifest).entries
]
history = History(project, pending)
sealed = gate.sealed(project, pending)
assert [*sealed] == [revision.id for revision in pending]
gate.assert_repeatable(pending, sealed, history, "upgrade", "empty", empty=False, lenient=lambda: False)
sizes = lambda tables: table_sizes.sizes_of(connection, tables)
gate.judge(pending, sealed, history, Settings(project=project), sizes, "empty", lambda losses: {})
print(sorted({"alembic", "sqlalchemy"} & {*sys.modules}))
"""


def printed(program: str, database: Dsn) -> str:
    """Return what a program of its own prints."""
    command = (sys.executable, "-c", program, database, str(ROOT))
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def test_an_error_is_explained_without_either(database: Dsn) -> None:
    """From what PostgreSQL said to the message, with the advice that fits."""
    *message, loaded = printed(EXPLAIN, database).splitlines()
    assert "could not create unique index" in "\n".join(message)
    assert loaded == "[]"


def test_sealed_revisions_are_judged_without_either(database: Dsn) -> None:
    """From the line in the manifest to the verdict, with the sizes of this database's tables."""
    assert printed(JUDGE, database) == "[]\n"
