"""`python utils/migrate.py`: its commands, its answers, its exit codes, and the ways to start it."""

from __future__ import annotations

import json
import os
import pty
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from railhead import cli
from railhead.dsn import Dsn
from tests.databases import named, rows_of
from tests.forked_tree import Workshop
from tests.processes import environment
from tests.project_tree import Tree

COMMANDS = sorted(cli.COMMANDS)


def status_of(workshop: Workshop) -> dict[str, object]:
    """Return what `status --json` says."""
    found: dict[str, object] = json.loads(workshop.migrate("status", "--json").stdout)
    return found


def server_version(database: Dsn) -> str:
    """Return `PostgreSQL 18.6`."""
    return f"PostgreSQL {str(rows_of(database, 'SHOW server_version')[0][0]).split()[0]}"


def told(text: str) -> str:
    """Return a status with its times and places made equal."""
    text = re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d [+-]\d{4}", "WHEN", text)
    text = re.sub(r"in \d+ ms, .*", "in N ms, WHO", text)
    return re.sub(r"(\n  database +)\S.*", r"\1WHERE", text)


EMPTY = """\
behind: the database lacks 2 revisions

  current    none
  head       0002_add_task_due_on
  pending    0001_baseline  The schema that the application starts with.
             0002_add_task_due_on  A task can have a due date.
  database   WHERE
  lock       free
  last       nothing in the ledger

  next       python utils/migrate.py upgrade
"""

HALF_WAY = """\
behind: the database lacks 1 revision

  current    0001_baseline
  head       0002_add_task_due_on
  pending    0002_add_task_due_on  A task can have a due date.
  database   WHERE
  lock       free
  last       WHEN  upgrade 0001_baseline applied in N ms, WHO

  next       python utils/migrate.py upgrade
"""

CURRENT = """\
current: the database is at head

  current    0002_add_task_due_on
  head       0002_add_task_due_on
  pending    none
  database   WHERE
  lock       free
  last       WHEN  upgrade 0002_add_task_due_on applied in N ms, WHO
"""


def test_status_reads_as_a_person_wants_it(workshop: Workshop) -> None:
    """On an empty, a half-migrated and a current database the whole text is as it should be."""
    assert told(workshop.migrate("status").stdout) == EMPTY
    workshop.migrate("upgrade", "0001")
    assert told(workshop.migrate("status").stdout) == HALF_WAY
    workshop.migrate()
    assert told(workshop.migrate("status").stdout) == CURRENT


def test_status_has_these_keys_in_json(workshop: Workshop, database: Dsn) -> None:
    """`status --json` on an empty database has exactly the keys that programs rely on."""
    found = status_of(workshop)
    pending = found.pop("pending")
    assert found == {
        "state": "behind",
        "flags": [],
        "current": [],
        "heads": ["0002_add_task_due_on"],
        "unknown": [],
        "database": database.redacted(),
        "server": server_version(database),
        "lock": None,
        "last": None,
        "waits": None,
    }
    assert isinstance(pending, list)
    assert [sorted(one) for one in pending] == [
        ["breaking", "file", "hazards", "lost", "message", "phase", "revision"]
    ] * 2
    assert pending[1]["file"] == "migrations/versions/0002_add_task_due_on.py"


def test_status_has_the_last_row_of_the_ledger_in_json(workshop: Workshop) -> None:
    """After a run `status --json` tells the state, what is left and the ledger's newest row."""
    workshop.migrate("upgrade", "0001", APP_RELEASE="r1")
    found = status_of(workshop)
    last = found["last"]
    assert isinstance(last, dict)
    assert (found["state"], found["current"]) == ("behind", ["0001_baseline"])
    assert (last["action"], last["outcome"], last["revision"], last["release"]) == (
        "upgrade",
        "applied",
        "0001_baseline",
        "r1",
    )


def test_status_shows_who_migrates(workshop: Workshop, database: Dsn) -> None:
    """While somebody holds the lock, status names his process without waiting for him."""
    workshop.write("0003_slow", "op.execute('SELECT pg_sleep(60)')", after="0002_add_task_due_on")
    running = workshop.start(sys.executable, "utils/migrate.py")
    holder: object = None
    while holder is None:
        assert running.process.poll() is None
        holder = status_of(workshop)["lock"]
    assert isinstance(holder, dict)
    assert holder["application"].startswith("railhead upgrade @ ")
    held = "SELECT pid FROM pg_locks JOIN pg_database d ON d.oid = database WHERE locktype = 'advisory' AND granted"
    (row,) = rows_of(database, f"{held} AND datname = current_database()")
    assert holder["pid"] == row[0]


@pytest.mark.parametrize(("state", "code"), [("empty", 1), ("half", 1), ("head", 0)])
def test_status_answers_scripts(workshop: Workshop, state: str, code: int) -> None:
    """`status --exit-code` is 0 at head and 1 elsewhere; without it, asking is no failure."""
    if state != "empty":
        workshop.migrate("upgrade", "0001" if state == "half" else "head")
    assert workshop.migrate("status", "--exit-code").returncode == code
    assert workshop.migrate("status", "--exit-code", "--json").returncode == code
    assert workshop.migrate("status").returncode == 0


def test_upgrade_is_what_no_command_means(workshop: Workshop, database: Dsn) -> None:
    """Without a command the database is brought to head; a second time there is nothing to do."""
    first, second = workshop.migrate(), workshop.migrate()
    assert re.fullmatch(
        r"upgrade: 2 revisions, the database is at 0002_add_task_due_on \(\d+\.\d\d s\)\n", first.stdout
    )
    assert second.stdout == "upgrade: nothing to do, the database is at 0002_add_task_due_on\n"
    assert (first.returncode, second.returncode) == (0, 0)
    assert rows_of(database, "SELECT count(*) FROM migration_ledger") == [(2,)]


def test_a_dry_run_only_tells(workshop: Workshop, database: Dsn) -> None:
    """`upgrade --dry-run` names the steps and makes nothing."""
    ended = workshop.migrate("upgrade", "--dry-run")
    named = re.findall(r"migrations/versions/(\w+)\.py", ended.stdout)
    assert (ended.returncode, named) == (0, ["0001_baseline", "0002_add_task_due_on"])
    assert rows_of(database, "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace") == []


def test_downgrade_tells_what_is_lost_and_asks(at_head: Workshop, database: Dsn) -> None:
    """Without a terminal and without --yes a downgrade shows what it would drop, and does nothing (2)."""
    rows_of(database, "INSERT INTO project (name) VALUES ('Line 4')")
    rows_of(database, "INSERT INTO task (project_id, title, due_on) SELECT id, 'rails', '2030-01-01' FROM project")
    ended = at_head.migrate("downgrade", "0001")
    assert (ended.returncode, ended.stdout) == (
        2,
        """\
  downgrade 0002_add_task_due_on  (migrations/versions/0002_add_task_due_on.py)
will be lost:
  column task.due_on: 1 value
""",
    )
    assert ended.stderr == (
        """\
downgrade stopped: downgrade may lose data, and nobody agreed

  asked      nobody: no terminal
  database   unchanged

  next       python utils/migrate.py downgrade 0001 --yes          [not-agreed]
"""
    )
    assert rows_of(database, "SELECT count(due_on) FROM task") == [(1,)]


def test_downgrade_goes_with_a_yes(at_head: Workshop, database: Dsn) -> None:
    """With --yes nobody is asked."""
    ended = at_head.migrate("downgrade", "-1", "--yes")
    assert ended.returncode == 0, ended.stderr
    assert "downgrade: 1 revision, the database is at 0001_baseline" in ended.stdout
    assert rows_of(database, "SELECT version_num FROM alembic_version") == [("0001_baseline",)]


def test_downgrade_is_refused_in_production_without_a_yes(at_head: Workshop, database: Dsn) -> None:
    """In production nobody is asked: it takes --yes."""
    ended = at_head.migrate("downgrade", "0001", APP_ENV="production")
    assert ended.returncode == 2
    assert "asked      nobody: this is production" in ended.stderr
    assert rows_of(database, "SELECT version_num FROM alembic_version") == [("0002_add_task_due_on",)]


def at_a_terminal(tree: Workshop, *command: str, answer: str) -> tuple[int, str]:
    """Return how a command ended, and what it said, that somebody typed at a terminal and answered."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "utils/migrate.py", *command],
        cwd=tree.root,
        env=environment(tree.database),
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    os.write(ours, f"{answer}\n".encode())
    said, _ = process.communicate(timeout=60)
    os.close(ours)
    os.close(theirs)
    return process.returncode, said


@pytest.mark.parametrize(("answer", "code", "at"), [("y", 0, "0001_baseline"), ("n", 1, "0002_add_task_due_on")])
def test_downgrade_asks_at_a_terminal(at_head: Workshop, database: Dsn, answer: str, code: int, at: str) -> None:
    """At a terminal it asks, and goes on only after a yes."""
    ended, said = at_a_terminal(at_head, "downgrade", "0001", answer=answer)
    assert (ended, "go on? [y/N]" in said) == (code, True), said
    assert rows_of(database, "SELECT version_num FROM alembic_version") == [(at,)]


def test_downgrade_says_when_there_is_nothing_to_do(workshop: Workshop) -> None:
    """A target that is reached already loses nothing and asks nobody."""
    workshop.migrate("upgrade", "0001")
    ended = workshop.migrate("downgrade", "0001")
    assert (ended.returncode, ended.stdout) == (0, "downgrade: nothing to do\n")


def test_reset_is_refused_in_production(at_head: Workshop, database: Dsn) -> None:
    """Not even its name resets production; the message says what makes it one."""
    ended = at_head.migrate("reset", named(database), DYNO="web.1")
    assert (ended.returncode, "[not-in-production]" in ended.stderr) == (3, True)
    assert "  production because DYNO is set (Heroku, Dokku)\n" in ended.stderr
    assert rows_of(database, "SELECT count(*) FROM project") == [(0,)]


def test_reset_starts_from_nothing(at_head: Workshop, database: Dsn) -> None:
    """What was in the database is dropped, told before, and head is reached again."""
    rows_of(database, "CREATE SCHEMA other; CREATE TABLE other.stray (); INSERT INTO project (name) VALUES ('Line 4')")
    ended = at_head.migrate("reset", named(database))
    assert ended.returncode == 0, ended.stderr
    assert "  table other.stray: 0 rows\n  table project: 1 row\n" in ended.stdout
    assert rows_of(database, "SELECT count(*), to_regclass('other.stray') FROM project") == [(0, None)]
    assert at_head.migrate("status", "--exit-code").returncode == 0


@pytest.mark.parametrize("given", [(), ("--yes",), ("--yes=another",), ("--yes", "another")], ids=" ".join)
def test_reset_wants_the_name_of_the_database(at_head: Workshop, database: Dsn, given: tuple[str, ...]) -> None:
    """A yes is typed without looking; the message has the command with the name of this database."""
    ended = at_head.migrate("reset", *given)
    assert (ended.returncode, "[not-agreed]" in ended.stderr) == (2, True)
    assert f"python utils/migrate.py reset {named(database)}" in ended.stderr
    assert ("not another" in ended.stderr) == ("another" in given[-1] if given else False)
    assert rows_of(database, "SELECT count(*) FROM project") == [(0,)]


@pytest.mark.parametrize("right", [True, False])
def test_reset_asks_for_the_name_at_a_terminal(at_head: Workshop, database: Dsn, right: bool) -> None:
    """There the name is typed; anything else, a yes among it, leaves the database as it is."""
    rows_of(database, "INSERT INTO project (name) VALUES ('Line 4')")
    code, said = at_a_terminal(at_head, "reset", answer=database.parameters()["dbname"] if right else "yes")
    assert (code, "type the name of the database" in said) == (0 if right else 1, True), said
    assert rows_of(database, "SELECT count(*) FROM project") == [(0 if right else 1,)]


def test_a_reset_that_cannot_migrate_says_that_everything_is_gone(at_head: Workshop, database: Dsn) -> None:
    """No message calls a database unchanged that was emptied a moment ago."""
    at_head.write("0003_broken", "raise RuntimeError('broken')", after="0002_add_task_due_on")
    ended = at_head.migrate("reset", named(database))
    assert re.search(r"  database   everything was dropped by this reset; (empty|at \w+)\n", ended.stderr), ended.stderr


def test_a_reset_looks_at_the_history_before_it_drops(at_head: Workshop, database: Dsn) -> None:
    """Where there is no one way to head nothing is dropped."""
    at_head.write("0003_fork", after="0001_baseline")
    ended = at_head.migrate("reset", named(database))
    assert (ended.returncode, "[forked]" in ended.stderr) == (3, True), ended.stderr
    assert rows_of(database, "SELECT count(*) FROM project") == [(0,)]


def test_log_tells_the_newest_first(at_head: Workshop) -> None:
    """The ledger is shown newest first, --limit says how much of it, --json gives the same rows."""
    at_head.migrate("downgrade", "-1", "--yes")
    lines = at_head.migrate("log").stdout.splitlines()
    assert [re.sub(r".*  (\S+ \S+ \S+) in .*", r"\1", line) for line in lines] == [
        "downgrade 0002_add_task_due_on applied",
        "upgrade 0002_add_task_due_on applied",
        "upgrade 0001_baseline applied",
    ]
    rows = json.loads(at_head.migrate("log", "--json", "--limit", "2").stdout)
    assert [row["action"] for row in rows] == ["downgrade", "upgrade"]


def test_log_of_a_database_without_a_ledger(workshop: Workshop) -> None:
    """Asking an empty database for its ledger is no error."""
    assert workshop.migrate("log").stdout == "nothing in the ledger\n"
    assert workshop.migrate("log", "--json").stdout == "[]\n"


def test_wait_says_no_when_time_is_up(workshop: Workshop, database: Dsn) -> None:
    """`wait` never migrates: it answers 1 when nobody else did in time, and 0 at head."""
    ended = workshop.migrate("wait", MIGRATE_WAIT_LOCK="0")
    assert (ended.returncode, ended.stdout) == (1, "wait: the database is not at head after 0 s (MIGRATE_WAIT_LOCK)\n")
    assert rows_of(database, "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace") == []
    workshop.migrate()
    ended = workshop.migrate("wait")
    assert (ended.returncode, ended.stdout) == (0, "wait: the database is at head\n")


@pytest.mark.parametrize(
    "arguments",
    [
        ("frobnicate",),
        ("upgrade", "a", "b"),
        ("downgrade",),
        ("log", "--limit", "0"),
        ("log", "--limit", "-3"),
        ("--json",),
    ],
)
def test_a_mistake_of_usage(workshop: Workshop, arguments: tuple[str, ...]) -> None:
    """What cannot be understood ends with 2 and the usage."""
    ended = workshop.migrate(*arguments)
    assert ended.returncode == 2
    assert ended.stderr.startswith("usage: python utils/migrate.py")


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_for_each_command(workshop: Workshop, command: str) -> None:
    """`--help` explains each command and touches nothing."""
    workshop.database = None
    ended = workshop.migrate(*filter(None, [command]), "--help", DATABASE_URL="sqlite:///no")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.startswith(f"usage: python utils/migrate.py {command}".rstrip())


def test_help_lists_every_command(workshop: Workshop) -> None:
    """The first page names each command with one line about it."""
    shown = workshop.migrate("--help").stdout
    assert sorted(re.findall(r"^    (\w+)", shown, re.MULTILINE)) == COMMANDS


def test_a_failure_in_json_is_json(workshop: Workshop) -> None:
    """With --json a failure is a record on standard output as well as a message on standard error."""
    ended = workshop.migrate("status", "--json", DATABASE_URL="sqlite:///no")
    record = json.loads(ended.stdout)
    assert (ended.returncode, record["error"], record["exit_code"]) == (3, "settings", 3)
    assert ended.stderr.startswith("status stopped: ")


def in_folder(folder: Path, database: Dsn, *command: str) -> subprocess.CompletedProcess[str]:
    """Run a real program in `folder`."""
    return subprocess.run(
        command, cwd=folder, env=environment(database), capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize("command", ["status", "plan", "drift", "doctor"])
def test_what_a_revision_prints_is_no_part_of_the_answer(bare: Workshop, command: str) -> None:
    """Printed while it is loaded, tried or run, it goes to standard error, so that JSON stays JSON."""
    table = "op.create_table('note', sa.Column('id', sa.Integer))"
    bare.write("0001_note", f"print('at work')\n{table}", "op.drop_table('note')", extra="print('loaded')")
    ended = bare.migrate(command, "--json")
    assert json.loads(ended.stdout)
    assert "loaded\n" in ended.stderr


def test_it_runs_by_path_from_any_folder(project: Tree, database: Dsn, tmp_path: Path) -> None:
    """Started by path, by a link to it, or from its own folder, it finds its project."""
    link = tmp_path / "migrate"
    link.symlink_to(project.root / "utils" / "migrate.py")
    for folder, path in (
        (tmp_path, str(project.root / "utils" / "migrate.py")),
        (project.root / "utils", "migrate.py"),
        (tmp_path, str(link)),
    ):
        ended = in_folder(folder, database, sys.executable, path, "status")
        assert (ended.returncode, ended.stderr, told(ended.stdout)) == (0, "", EMPTY), path


def test_it_runs_as_a_module_and_by_import(project: Tree, database: Dsn) -> None:
    """`python -m utils.migrate` and `import utils.migrate` do the same."""
    ended = in_folder(project.root, database, sys.executable, "-m", "utils.migrate", "status")
    assert (ended.returncode, told(ended.stdout)) == (0, EMPTY)
    code = "import utils.migrate; raise SystemExit(utils.migrate.main(['status']))"
    ended = in_folder(project.root, database, sys.executable, "-c", code)
    assert (ended.returncode, told(ended.stdout)) == (0, EMPTY)


def test_it_does_not_need_the_application(project: Tree) -> None:
    """A web application that cannot be imported does not stop a migration."""
    (project.root / "app" / "__init__.py").write_text("raise RuntimeError('broken')\n")
    assert project.migrate().returncode == 0
    assert project.migrate("status", "--exit-code").returncode == 0


def test_a_reader_that_has_enough_is_no_error(project: Tree, database: Dsn) -> None:
    """`status | head -1` shows the first line and nothing else."""
    python = shlex.quote(sys.executable)
    command = f"set -o pipefail; for try in 1 2 3; do {python} utils/migrate.py status --json | head -c 1; done"
    ended = in_folder(project.root, database, "bash", "-c", command)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "{{{", "")


def test_sql_of_a_revision_that_reads_rows_is_refused_with_its_line(bare: Workshop) -> None:
    """`alembic upgrade head --sql` writes what it can, then names the revision that needs a database, and where."""
    bare.write("0001_first", "op.execute('CREATE TABLE note (id int)')")
    bare.write("0002_rows", "ids = op.get_bind().execute(sa.text('SELECT id FROM note')).all()")
    ended = bare.alembic("upgrade", "head", "--sql")
    assert "CREATE TABLE note (id int);" in ended.stdout
    assert ended.stderr.startswith(
        "alembic upgrade stopped: a revision asks the database, so that its SQL cannot be written without one\n\n"
        "  file       migrations/versions/0002_rows.py, line 11\n"
        "  Python     AttributeError: "
    )
    assert (ended.returncode, ended.stderr.endswith("[needs-a-database]\n")) == (3, True)
