"""Whatever is wrong, each way in says the same, ends with the right code and leaves the database as it was."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

import pytest

from railhead.devserver.server import Server
from railhead.dsn import Dsn
from tests.databases import memory, rows_of, url_of
from tests.forked_tree import Workshop

SECRET = "p@ss/w%rd:é"
IN_URLS = quote(SECRET, safe="")
TRACES = ("p@ss", "w%rd", "rd:é", "p%40ss", "w%25rd", "rd%3A")
"""What of it could be seen, as it is typed and as a URL writes it."""

Ended = subprocess.CompletedProcess[str]
Enter = Callable[[Workshop, dict[str, str]], Ended]


def hook(workshop: Workshop, variables: dict[str, str]) -> Ended:
    """Start the application, as gunicorn does."""
    return workshop.run(sys.executable, "-c", "from app import create_app; create_app()", **variables)


MOVING: dict[str, Enter] = {
    "upgrade": lambda workshop, variables: workshop.migrate(**variables),
    "start": hook,
    "alembic upgrade": lambda workshop, variables: workshop.alembic("upgrade", "head", **variables),
}
READING: dict[str, Enter] = {
    "alembic current": lambda workshop, variables: workshop.alembic("current", **variables),
    "alembic check": lambda workshop, variables: workshop.alembic("check", **variables),
    "alembic revision": lambda workshop, variables: workshop.alembic("revision", "-m", "x", **variables),
}


class Case(NamedTuple):
    """What is wrong, and what has to be said about it."""

    message: str
    prepare: Callable[[Workshop], dict[str, str] | None]
    exit_code: int = 3


def write(workshop: Workshop, text: str) -> None:
    """Make `text` the file of a second revision."""
    workshop.write("0001_first")
    (workshop.versions / "0002_second.py").write_text(text)


def beside(workshop: Workshop, text: str, name: str, *, after: str, revision: str | None = None) -> None:
    """Make `text` the file of a second revision, and add a third file."""
    write(workshop, text)
    workshop.write(name, after=after, revision=revision)


def fail(workshop: Workshop, line: str) -> None:
    """Make the second of two revisions fail."""
    workshop.write("0001_first", "op.create_table('note', sa.Column('id', sa.Integer))")
    workshop.write("0002_second", f"op.create_table('tag', sa.Column('id', sa.Integer))\n{line}")


def revision(name: str, parent: str) -> str:
    """Return the shortest revision file."""
    return f"revision = {name!r}\ndown_revision = {parent!r}\n"


SETTINGS = {
    "a database that is none of ours": Case(
        """\
stopped: a setting is wrong

  setting    DATABASE_URL names sqlite, and Railhead speaks PostgreSQL only; write postgresql://user:password@host:5432/name, \
or leave it out: development then gets the embedded PostgreSQL in .data/
  database   not touched

  next       correct the environment (or .env), then start again; .env.example lists every setting  [settings]""",
        lambda _: {"DATABASE_URL": "sqlite:///app.db"},
    ),
    "a URL that cannot be read": Case(
        """\
stopped: a setting is wrong

  setting    DATABASE_URL has a host or port that cannot be read (IPv6 addresses go in brackets); \
write postgresql://user:password@host:5432/name, or leave it out: development then gets the embedded PostgreSQL in .data/
  database   not touched

  next       correct the environment (or .env), then start again; .env.example lists every setting  [settings]""",
        lambda _: {"DATABASE_URL": f"postgresql://app:{IN_URLS}@[::1/app"},
    ),
    "a server that does not answer": Case(
        """\
stopped: the database does not answer

  server     postgresql://app:***@127.0.0.1:1/app (DATABASE_URL)
  PostgreSQL connection to server at "127.0.0.1", port 1 failed: Connection refused
             Is the server running on that host and accepting TCP/IP connections?
  database   not touched

  next       see that the server runs and that DATABASE_URL names it, then start again  [unreachable]""",
        lambda _: {"DATABASE_URL": f"postgresql://app:{IN_URLS}@127.0.0.1:1/app", "MIGRATE_WAIT_DATABASE": "0"},
    ),
    "a database that does not exist": Case(
        """\
stopped: there is no such database

  server     {where} (DATABASE_URL)
  PostgreSQL {connecting} FATAL:  database "nowhere" does not exist
  database   not touched

  next       create it (createdb nowhere) or correct the name in DATABASE_URL  [no-such-database]""",
        lambda workshop: {"DATABASE_URL": url_of(known(workshop).with_(dbname="nowhere"))},
    ),
}

FILES = {
    "a syntax error": Case(
        """\
stopped: a revision file cannot be loaded

  file       migrations/versions/0002_second.py, line 1
  Python     SyntaxError: invalid syntax (0002_second.py, line 1)
  database   not touched

  next       correct the file; see that it loads:  python utils/migrate.py status  [revision-file]""",
        lambda workshop: write(workshop, "def upgrade(:\n"),
    ),
    "a file that ends the process": Case(
        """\
stopped: a revision file cannot be loaded

  file       migrations/versions/0002_second.py, line 4
  Python     SystemExit: 0
  database   not touched

  next       correct the file; see that it loads:  python utils/migrate.py status  [revision-file]""",
        lambda workshop: write(workshop, revision("0002_second", "0001_first") + "import sys\nsys.exit(0)\n"),
    ),
    "hazards accepted without a reason": Case(
        """\
stopped: a revision file cannot be loaded

  file       migrations/versions/0002_second.py
  Python     TypeError: `breaking` must be True or False, `accepted_hazards` a dict with a reason for each hazard
  database   not touched

  next       correct the file; see that it loads:  python utils/migrate.py status  [revision-file]""",
        lambda workshop: write(
            workshop, revision("0002_second", "0001_first") + "accepted_hazards = ['writes-rows']\n"
        ),
    ),
    "an import that fails": Case(
        """\
stopped: a revision file cannot be loaded

  file       migrations/versions/0002_second.py, line 3
  Python     ModuleNotFoundError: No module named 'absent'
  database   not touched

  next       correct the file; see that it loads:  python utils/migrate.py status  [revision-file]""",
        lambda workshop: write(workshop, revision("0002_second", "0001_first") + "import absent\n"),
    ),
    "no revision variable": Case(
        """\
stopped: a revision file cannot be loaded

  file       migrations/versions/0002_second.py
  Python     CommandError: Could not determine revision id from filename 0002_second.py. Be sure the 'revision' variable is \
declared inside the script (please see 'Upgrading from Alembic 0.1 to 0.2' in the documentation).
  database   not touched

  next       correct the file; see that it loads:  python utils/migrate.py status  [revision-file]""",
        lambda workshop: write(workshop, "down_revision = '0001_first'\n"),
    ),
    "a parent that is not there": Case(
        """\
stopped: the revision files do not form a history

  Alembic    Revision 0001_gone referenced from 0001_gone -> 0002_second (head),  is not present
  database   not touched

  next       correct `revision` and `down_revision` in migrations/versions/  [revision-file]""",
        lambda workshop: write(workshop, revision("0002_second", "0001_gone")),
    ),
    "a circle": Case(
        """\
stopped: the revision files do not form a history

  Alembic    Cycle is detected in revisions (0002_second, 0003_third)
  database   not touched

  next       correct `revision` and `down_revision` in migrations/versions/  [revision-file]""",
        lambda workshop: beside(workshop, revision("0002_second", "0003_third"), "0003_third", after="0002_second"),
    ),
    "an id that is too long": Case(
        """\
stopped: a revision id is longer than the 32 characters that alembic_version holds

  revision   0002_that_goes_on_and_on_and_on_and_on (38 characters)
  file       migrations/versions/0002_second.py
  database   not touched

  next       shorten `revision` in 0002_second.py, and the name of the file with it  [long-id]""",
        lambda workshop: write(workshop, revision("0002_that_goes_on_and_on_and_on_and_on", "0001_first")),
    ),
    "two heads": Case(
        """\
stopped: the history has 2 heads

  head       0002_other, migrations/versions/0002_other.py
  head       0002_second, migrations/versions/0002_second.py
  database   not touched

  next       put the one that no other database has yet on top of the other; what is deployed must keep its name:
             python utils/migrate.py rebase 0002_other
             python utils/migrate.py rebase 0002_second            [forked]""",
        lambda workshop: beside(workshop, revision("0002_second", "0001_first"), "0002_other", after="0001_first"),
    ),
    "one id twice": Case(
        """\
stopped: two files are the same revision, 0002_second

  file       migrations/versions/0002_other.py
  file       migrations/versions/0002_second.py
  database   not touched

  next       put the later one on top of the other:
             python utils/migrate.py rebase 0002_second.py         [forked]""",
        lambda workshop: beside(
            workshop, revision("0002_second", "0001_first"), "0002_other", after="0001_first", revision="0002_second"
        ),
    ),
}

MIGRATIONS = {
    "SQL that is wrong": Case(
        """\
stopped: 0002_second failed and was rolled back

  revision   0002_second
  file       migrations/versions/0002_second.py, line 12
  PostgreSQL syntax error at or near "SELEC" (SQLSTATE 42601)
  database   unchanged, at 0001_first

  next       correct 0002_second.py, then:
             python utils/migrate.py upgrade                       [migration-failed]""",
        lambda workshop: fail(workshop, "op.execute('SELEC 1')"),
        exit_code=5,
    ),
    "a revision that ends the process": Case(
        """\
stopped: 0002_second failed and was rolled back

  revision   0002_second
  file       migrations/versions/0002_second.py, line 12
  Python     RuntimeError: the revision raised SystemExit(0)
  database   unchanged, at 0001_first

  next       correct 0002_second.py, then:
             python utils/migrate.py upgrade                       [migration-failed]""",
        lambda workshop: fail(workshop, "raise SystemExit(0)"),
        exit_code=5,
    ),
    "a revision without upgrade()": Case(
        """\
stopped: a revision has no upgrade()

  file       migrations/versions/0002_second.py
  database   unchanged

  next       write it, if only to say that there is nothing to do:
             def upgrade() -> None: pass                           [revision-file]""",
        lambda workshop: write(workshop, revision("0002_second", "0001_first").partition("def ")[0]),
    ),
    "an upgrade() that is asynchronous": Case(
        """\
stopped: a revision's upgrade() is asynchronous, so that calling it does nothing

  file       migrations/versions/0002_second.py
  database   unchanged

  next       make it a plain function:
             def upgrade() -> None:                                [revision-file]""",
        lambda workshop: write(workshop, revision("0002_second", "0001_first") + "async def upgrade(): pass"),
    ),
    "Python that is wrong": Case(
        """\
stopped: 0002_second failed and was rolled back

  revision   0002_second
  file       migrations/versions/0002_second.py, line 12
  Python     ZeroDivisionError: division by zero
  database   unchanged, at 0001_first

  next       correct 0002_second.py, then:
             python utils/migrate.py upgrade                       [migration-failed]""",
        lambda workshop: fail(workshop, "op.execute(1 / 0)"),
        exit_code=5,
    ),
}


def known(workshop: Workshop) -> Dsn:
    """Return the database of this test."""
    assert workshop.database is not None
    return workshop.database


def told(ended: Ended) -> str:
    """Return the message, without what was stopped and without a time before it; fail on a traceback or a password."""
    text = ended.stdout + ended.stderr
    assert "Traceback" not in text
    assert [trace for trace in TRACES if trace in text] == []
    found = re.search(r"(?:^|\s)(?:start|upgrade|alembic[a-z ]*) (stopped: .*)", text, re.DOTALL)
    assert found, text
    return found[1].strip()


def content(database: Dsn) -> list[tuple[object, ...]]:
    """Return everything in the schema but the books, and the version."""
    tables = rows_of(
        database,
        "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relname !~ 'migration_ledger'",
    )
    at = rows_of(database, "SELECT version_num FROM alembic_version") if ("alembic_version",) in tables else []
    return sorted(tables) + at


def assert_stopped(workshop: Workshop, case: Case, entrances: dict[str, Enter], **names: str) -> None:
    """Fail unless every entrance says the same, ends with its code, and changes nothing."""
    variables = case.prepare(workshop) or {}
    before = content(known(workshop))
    for entrance, enter in entrances.items():
        ended = enter(workshop, variables)
        assert told(ended) == case.message.format(**names), entrance
        assert ended.returncode == (3 if entrance == "start" else case.exit_code), entrance
        assert content(known(workshop)) == before, entrance


@pytest.mark.parametrize("wrong", SETTINGS)
def test_a_database_that_cannot_be_used(workshop: Workshop, wrong: str) -> None:
    """A setting that leads to no PostgreSQL is told in the same words by every way in, reading or moving."""
    place = known(workshop).with_(dbname="nowhere")
    try:
        rows_of(place, "SELECT 1")
        connecting = ""
    except Exception as error:
        connecting = str(error).partition(" FATAL:")[0]
    case = SETTINGS[wrong]
    waited = case._replace(
        message=case.message.replace("  database ", "  waited     0 s (MIGRATE_WAIT_DATABASE)\n  database ", 1)
    )
    names = {"where": place.redacted(), "connecting": connecting}
    assert_stopped(workshop, waited if "unreachable" in case.message else case, MOVING, **names)
    assert_stopped(workshop, case, READING, **names)


@pytest.mark.parametrize("wrong", FILES)
def test_revision_files_that_form_no_history(bare: Workshop, wrong: str) -> None:
    """What is wrong with the files is told, with the file's name, before the database is touched."""
    assert_stopped(bare, FILES[wrong], MOVING)
    reading = dict(READING)
    if wrong == "two heads":
        del reading["alembic current"]  # which shows a fork as Alembic does
    for entrance, enter in reading.items():
        ended = enter(bare, {})
        assert (told(ended), ended.returncode) == (FILES[wrong].message, 3), entrance
    assert content(known(bare)) == []


@pytest.mark.parametrize("wrong", MIGRATIONS)
def test_a_migration_that_fails(bare: Workshop, wrong: str) -> None:
    """What came before it stays, on a database that was empty too; each further try says the same and changes nothing."""
    case = MIGRATIONS[wrong]

    def tried_once(workshop: Workshop) -> dict[str, str] | None:
        variables = case.prepare(workshop)
        workshop.migrate(**(variables or {}))
        return variables

    assert_stopped(bare, case._replace(prepare=tried_once), MOVING)


def test_a_migration_that_fails_after_others(bare: Workshop, database: Dsn) -> None:
    """On a database in use what was committed before the failure stays, and the message says where that is."""
    bare.write("0001_first", "op.create_table('note', sa.Column('id', sa.Integer))")
    assert bare.migrate().returncode == 0
    bare.write("0002_second", "op.create_table('tag', sa.Column('id', sa.Integer))")
    bare.write("0003_third", "op.create_table('lost', sa.Column('id', sa.Integer))\nop.drop_table('absent')")
    ended = bare.migrate()
    assert ended.returncode == 5
    assert "\n  database   at 0002_second\n" in told(ended)
    assert content(database) == [("alembic_version",), ("alembic_version_pkc",), ("note",), ("tag",), ("0002_second",)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("upgrade", "0009"),
            """\
stopped: there is no revision 0009

  Alembic    No such revision or branch '0009'
  newest     0002_add_task_due_on
  database   unchanged

  next       alembic history                                       [unknown-revision]""",
        ),
        (
            ("upgrade", "000"),
            """\
stopped: several revisions start with 000

  Alembic    Multiple revisions start with '000': '0001_baseline', '0002_add_task_due_on'...
  newest     0002_add_task_due_on
  database   unchanged

  next       alembic history                                       [unknown-revision]""",
        ),
        (
            ("upgrade", "head+1"),
            """\
stopped: there is no way to head+1

  Alembic    head+1 leads nowhere
  newest     0002_add_task_due_on
  database   unchanged

  next       alembic history                                       [unknown-revision]""",
        ),
        (
            ("upgrade", "+3"),
            """\
stopped: there is no revision at +3 from where the database is

  Alembic    Relative revision +3 didn't produce 3 migrations
  newest     0002_add_task_due_on
  database   unchanged

  next       alembic history                                       [unknown-revision]""",
        ),
    ],
)
def test_a_target_that_does_not_exist(workshop: Workshop, arguments: tuple[str, ...], message: str) -> None:
    """An unknown revision is a mistake of usage (2), whether typed at Alembic or at the engine, and changes nothing."""
    for ended in (workshop.migrate(*arguments), workshop.alembic(*arguments)):
        assert (told(ended), ended.returncode) == (message, 2)
    assert content(known(workshop)) == []


def test_a_range_is_no_target(workshop: Workshop) -> None:
    """FROM:TO is for SQL on paper only."""
    ended = workshop.migrate("upgrade", "0001:0002")
    assert (ended.returncode, "[unknown-revision]" in ended.stderr) == (2, True), ended.stderr


def test_a_file_in_another_encoding(bare: Workshop) -> None:
    """Python reads what a file says that it is; so do we."""
    bare.write("0001_first", "op.execute('CREATE TABLE café ()')")
    path = bare.versions / "0001_first.py"
    path.write_bytes(f"# -*- coding: latin-1 -*-\n{path.read_text()}".encode("latin-1"))
    ended = bare.migrate()
    assert ended.returncode == 0, ended.stderr
    assert bare.migrate("plan").returncode == 0


@pytest.mark.parametrize("command", ["upgrade", "plan", "seal", "status"])
def test_a_comment_in_another_encoding(bare: Workshop, command: str) -> None:
    """Python does not mind it in a file that says nothing of its encoding, so no command does."""
    path = bare.write("0001_first", "op.execute('CREATE TABLE largest ()')", "op.execute('DROP TABLE largest')")
    path.write_bytes("# größte\n".encode("latin-1") + path.read_bytes())
    ended = bare.migrate(command)
    assert (ended.returncode, "Traceback" in ended.stderr) == (0, False), ended.stderr


def test_a_range_of_the_history_that_does_not_exist(workshop: Workshop) -> None:
    """`alembic history -r` with an unknown revision blames the argument, not the database."""
    ended = workshop.alembic("history", "-r", "0009:")
    assert told(ended).startswith("stopped: there is no revision 0009\n")
    assert ended.returncode == 2


@pytest.mark.parametrize("entrance", [*MOVING, "alembic current", "alembic check"])
def test_a_version_that_nobody_knows(at_head: Workshop, database: Dsn, entrance: str) -> None:
    """A version that is neither ours nor in the ledger is refused and stays as it is."""
    rows_of(database, "UPDATE alembic_version SET version_num = 'garbage'")
    ended = {**MOVING, **READING}[entrance](at_head, {})
    assert ended.returncode == 3
    assert told(ended).startswith("stopped: the database is at a revision that this code does not have\n")
    assert rows_of(database, "SELECT version_num FROM alembic_version") == [("garbage",)]


def test_a_version_and_its_parent(at_head: Workshop, database: Dsn) -> None:
    """Two rows of which one builds on the other are refused with the statement that mends them."""
    rows_of(database, "INSERT INTO alembic_version VALUES ('0001_baseline')")
    ended = at_head.alembic("upgrade", "head")
    assert ended.returncode == 3
    statement = next(line for line in ended.stderr.splitlines() if "DELETE FROM" in line).partition(";")[0]
    rows_of(database, statement)
    assert at_head.migrate("status", "--exit-code").returncode == 0


def test_a_purging_stamp_mends_a_version_that_nobody_knows(at_head: Workshop, database: Dsn) -> None:
    """`alembic stamp --purge head` is the way out for a database whose version is known to be wrong."""
    rows_of(database, "UPDATE alembic_version SET version_num = 'garbage'")
    assert at_head.alembic("stamp", "head").returncode == 3
    assert at_head.alembic("stamp", "--purge", "head").returncode == 0
    assert at_head.migrate("status", "--exit-code").returncode == 0


@pytest.mark.parametrize("entrance", [*MOVING, "alembic current", "alembic check"])
def test_a_version_table_that_is_not_alembics(workshop: Workshop, database: Dsn, entrance: str) -> None:
    """Another table of that name is refused with PostgreSQL's own words."""
    rows_of(database, "CREATE TABLE alembic_version (id integer)")
    ended = {**MOVING, **READING}[entrance](workshop, {})
    assert ended.returncode == 3
    assert re.search(r"PostgreSQL column .*version_num\"? does not exist \(SQLSTATE 42703\)", told(ended))


class Role(NamedTuple):
    """A role without any privilege, and the test's database as it sees it."""

    name: str
    sees: Dsn


@pytest.fixture
def stranger(database: Dsn, server: Dsn) -> Iterator[Role]:
    """A role that may log in and nothing else."""
    name = f"{database.parameters()['dbname']}_stranger"
    rows_of(server, f"CREATE ROLE {name} LOGIN PASSWORD '{SECRET}'")
    yield Role(name, database.with_(user=name, password=SECRET))
    rows_of(database, f"DROP OWNED BY {name}")
    rows_of(server, f"DROP ROLE {name}")


@pytest.mark.parametrize("entrance", MOVING)
def test_a_role_that_may_not_create(workshop: Workshop, database: Dsn, stranger: Role, entrance: str) -> None:
    """A role without CREATE is told which grant is missing."""
    rows_of(database, "REVOKE CREATE ON SCHEMA public FROM PUBLIC")
    workshop.database = stranger.sees
    ended = MOVING[entrance](workshop, {})
    assert told(ended) == (
        f"""\
stopped: the role may not create the table migration_ledger

  role       {stranger.name}
  PostgreSQL permission denied for schema public (SQLSTATE 42501)
  database   unchanged

  next       let the owner migrate (MIGRATE_DATABASE_URL), or run as the owner:
             GRANT CREATE, USAGE ON SCHEMA "public" TO "{stranger.name}";  [missing-privilege]"""
    )
    assert (ended.returncode, content(database)) == (3, [])


@pytest.mark.parametrize("entrance", [*MOVING, "alembic current", "alembic check", "status", "log"])
def test_a_role_that_may_not_read(at_head: Workshop, stranger: Role, entrance: str) -> None:
    """A role that may not even read the version gets PostgreSQL's words at once, without retries."""
    at_head.database = stranger.sees
    if entrance in {"status", "log"}:
        ended = at_head.migrate(entrance)
        message = ended.stderr
        assert "Traceback" not in message
    else:
        ended = {**MOVING, **READING}[entrance](at_head, {})
        message = told(ended)
    assert ended.returncode == 3
    assert "permission denied for table" in message
    assert f" TO {stranger.name};" in message
    assert "[missing-privilege]" in message
    assert "connecting again" not in ended.stdout + ended.stderr


@pytest.mark.parametrize("entrance", MOVING)
def test_a_session_that_may_only_read(workshop: Workshop, database: Dsn, entrance: str) -> None:
    """A read-only role cannot migrate; it is told at once and how it came to be so."""
    ended = MOVING[entrance](workshop, {"PGOPTIONS": "-c default_transaction_read_only=on"})
    assert told(ended).startswith(
        "stopped: the server takes no changes\n\n"
        "  PostgreSQL cannot execute CREATE TABLE in a read-only transaction (SQLSTATE 25006)\n"
        "  database   unchanged, empty\n"
    )
    assert (ended.returncode, content(database)) == (3, [])
    assert "connecting again" not in ended.stdout + ended.stderr


def test_a_reader_serves_a_database_at_head(at_head: Workshop) -> None:
    """With nothing to do a read-only role is enough, for the hook too."""
    for entrance, enter in MOVING.items():
        assert enter(at_head, {"PGOPTIONS": "-c default_transaction_read_only=on"}).returncode == 0, entrance


@pytest.fixture(scope="module")
def guarded() -> Iterator[Dsn]:
    """A server that asks for passwords."""
    with tempfile.TemporaryDirectory(dir=memory()) as place:
        rules = Path(place) / "hba.conf"
        rules.write_text("local all postgres trust\nlocal all all scram-sha-256\n")
        Path(place).chmod(0o755)
        server = Server(Path(place) / "postgres", {"hba_file": str(rules), "fsync": "off", "shared_buffers": "16MB"})
        server.start()
        rows_of(server.dsn, "CREATE ROLE app LOGIN PASSWORD 'right'")
        yield server.dsn.with_(user="app")
        server.stop()


@pytest.mark.parametrize(
    ("password", "said", "slug"),
    [
        (SECRET, 'FATAL:  password authentication failed for user "app"', "wrong-password"),
        ("", "fe_sendauth: no password supplied", "wrong-password"),
    ],
)
def test_a_wrong_password(workshop: Workshop, guarded: Dsn, password: str, said: str, slug: str) -> None:
    """A password that the server refuses ends the wait at once and is itself shown nowhere."""
    variables = {"DATABASE_URL": url_of(guarded.with_(password=password))}
    for entrance, enter in {**MOVING, **READING}.items():
        ended = enter(workshop, variables)
        message = re.sub(r"(postgresql://|server on socket )\S+", r"\1PLACE", told(ended))
        headline = "the server refuses the password" if password else "the server wants a password"
        server = f"connection to server on socket PLACE failed: {said}"
        assert message == (
            f"stopped: {headline}\n\n"
            "  server     postgresql://PLACE (DATABASE_URL)\n"
            f"  PostgreSQL {server}\n"
            "  database   not touched\n\n"
            f"  next       correct the password in DATABASE_URL                  [{slug}]"
        ), entrance
        assert ended.returncode == 3, entrance
