"""What nobody has judged touches no large table in production."""

from __future__ import annotations

from pathlib import Path

import pytest

from railhead.dsn import Dsn
from railhead.execution import unsealed
from railhead.hazards import purity
from tests.databases import version_of
from tests.forked_tree import Workshop
from tests.large_table import HARMLESS, HEAD, INDEX, PRODUCTION, filled


@pytest.fixture
def busy(workshop: Workshop) -> Workshop:
    """A database at head with 1,234 tasks."""
    filled(workshop)
    return workshop


REFUSED = """\
upgrade stopped: nobody has looked at what 0003_new would block, and there are large tables

  file       migrations/versions/0003_new.py
  large      task, about 1,200 rows
  from       1,000 rows on (MIGRATE_LARGE_TABLE)
  because    migrations/versions/0003_new.py might reach more than its database when it is tried
  database   unchanged, at 0002_add_task_due_on

  next       where you develop, let it be judged, commit migrations/manifest.txt, and deploy again:
             python utils/migrate.py seal
             or let it run, whatever it does:  MIGRATE_HAZARDS=warn  [unsealed]
"""


def test_what_cannot_be_tried_is_refused(busy: Workshop, database: Dsn) -> None:
    """A file that imports the application might do anything when it is run: it is refused, with the command."""
    busy.write("0003_new", *INDEX, after=HEAD, extra="import os")
    ended = busy.migrate(**PRODUCTION)
    assert (ended.returncode, version_of(database)) == (3, HEAD)
    assert ended.stderr == REFUSED


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"MIGRATE_HAZARDS": "warn"}, "and it runs all the same (MIGRATE_HAZARDS=warn)"),
        ({"MIGRATE_HAZARDS": "ignore"}, "unsealed, so nobody knows what it would block: 0003_new"),
        ({"MIGRATE_LARGE_TABLE": "5000"}, "unsealed, so nobody knows what it would block: 0003_new"),
        ({"APP_ENV": "development"}, "before you commit:  python utils/migrate.py seal"),
    ],
    ids=["warn", "ignore", "nothing large", "development"],
)
def test_it_runs_with_a_warning_elsewhere(busy: Workshop, database: Dsn, settings: dict[str, str], told: str) -> None:
    """Where MIGRATE_HAZARDS says so, where no table is large, and in development it runs, and that is said."""
    busy.write("0003_new", *INDEX, after=HEAD, extra="import os")
    ended = busy.migrate(**{**PRODUCTION, **settings})
    assert (ended.returncode, version_of(database)) == (0, "0003_new"), ended.stderr
    assert told in ended.stderr


def test_sealed_it_costs_nothing(busy: Workshop) -> None:
    """A start with sealed revisions tries nothing."""
    busy.write("0003_new", *HARMLESS, after=HEAD)
    assert busy.migrate("seal").returncode == 0
    ended = busy.migrate(**PRODUCTION)
    assert (ended.returncode, "embedded" in ended.stderr, "judged at start" in ended.stderr) == (0, False, False)


@pytest.mark.parametrize(
    ("line", "keeps"),
    [
        ("import sqlalchemy as sa", True),
        ("from sqlalchemy.dialects import postgresql", True),
        ("import re; WORD = re.compile('a')", True),
        ("from railhead.postgres import connection", False),
        ("from app import db", False),
        ("from . import other", False),
        ("from os import environ", False),
        ("import sqlalchemy as sa; e = sa.create_engine('postgresql://')", False),
        ("from sqlalchemy import create_engine as make", False),
        ("x = __import__('os')", False),
        ("open('/etc/passwd')", False),
        ("SQL = \"COPY t FROM PROGRAM 'curl'\"", False),
        ("SQL = \"SELECT dblink_exec('host=x', 'DROP TABLE t')\"", False),
        ("def broken(:", False),
    ],
)
def test_what_plainly_keeps_to_its_database(tmp_path: Path, line: str, keeps: bool) -> None:
    """Only what computes, and speaks to the database that it is given, is tried in production."""
    (tmp_path / "one.py").write_text(f"{line}\n")
    assert purity.keeps_to_its_database(tmp_path / "one.py") is keeps


def test_the_time_for_judging_is_limited() -> None:
    """A start gives it half a minute: a health check waits for five."""
    assert unsealed.JUDGED_WITHIN <= 30
