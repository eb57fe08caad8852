"""No message, log line, page, JSON or row of the ledger holds the password, whatever is run and however it fails."""

from __future__ import annotations

import socket
import sys
from urllib.parse import quote

import pytest

from tests.databases import named, rows_of, url_of
from tests.forked_tree import Workshop
from tests.processes import eventually
from tests.project_tree import ALEMBIC, GUNICORN, MIGRATE

PASSWORD = "p@ss/w%rd:é"
TRACES = ("p@ss", "w%rd", "p%40ss", "w%25rd", "%40ss%2F", "rd:é", "rd%3A")
"""What of it could be seen, as it is typed and as a URL writes it."""

PAGES = (
    sys.executable,
    "-c",
    """
from app import create_app

client = create_app().test_client()
for page in ("/", "/healthz", "/readyz", "/schema", "/schema.json", "/nowhere"):
    answer = client.get(page)
    print(answer.status, answer.get_data(as_text=True))
print(client.post("/sign-in", data={"password": "wrong"}).get_data(as_text=True))
""",
)

COMMANDS = (
    *[(*MIGRATE, *command) for command in (
        ("status",), ("status", "--json"), ("upgrade", "--dry-run"), ("upgrade", "0001"), ("upgrade",), ("drift",), ("drift", "--json"),
        ("doctor",), ("doctor", "--json"), ("log",), ("log", "--json"), ("plan",), ("plan", "--json"), ("wait",), ("seal", "--check"),
        ("adopt",), ("downgrade", "-1", "--yes"), ("downgrade", "-1"), ("reset", "--yes"), ("nonsense",),
    )],
    *[(*ALEMBIC, *command) for command in (
        ("current", "--verbose"), ("history",), ("check",), ("upgrade", "head", "--sql"), ("downgrade", "-1"), ("upgrade", "head"), ("stamp", "nowhere"),
    )],
    PAGES,
)  # fmt: skip
FEW = (
    (*MIGRATE, "status", "--json"),
    (*MIGRATE, "upgrade"),
    (*MIGRATE, "doctor"),
    (*ALEMBIC, "upgrade", "head"),
    PAGES,
)


def said(tree: Workshop, commands: tuple[tuple[str, ...], ...], **variables: str) -> str:
    """Return all that these commands say."""
    ended = [
        tree.run(*command, MIGRATE_WAIT_DATABASE="0s", MIGRATE_WAIT_LOCK="1s", **variables) for command in commands
    ]
    return "\n".join(text for one in ended for text in (one.stdout, one.stderr))


def traces(text: str) -> list[str]:
    """Return the lines that show something of the password."""
    return [line for line in text.splitlines() if any(trace in line for trace in TRACES)]


@pytest.fixture
def urls(workshop: Workshop) -> tuple[str, str]:
    """The tree's database with the password in its URL, as it should be written and as people write it."""
    assert workshop.database
    plain = url_of(workshop.database.with_(password=""))
    scheme, _, rest = plain.partition("://")
    user, _, place = rest.partition("@")
    return tuple(f"{scheme}://{user}:{password}@{place}" for password in (quote(PASSWORD, safe=""), PASSWORD))  # type: ignore[return-value]


def test_a_whole_run_of_all_commands_shows_it_nowhere(workshop: Workshop, urls: tuple[str, str]) -> None:
    """Every command, at the loudest log level, as text and as JSON, with a URL that is escaped and one that is not."""
    assert workshop.database
    commands = (*COMMANDS, (*MIGRATE, "reset", named(workshop.database)))
    told = said(workshop, commands, DATABASE_URL=urls[0], LOG_LEVEL="debug", LOG_FORMAT="text")
    told += said(workshop, FEW, DATABASE_URL=urls[1], LOG_LEVEL="debug", LOG_FORMAT="json")
    assert "0002_add_task_due_on" in told
    assert '"status":"ok"' in told  # PAGES has served
    assert "<title>" in told
    assert traces(told) == []
    assert traces(str(rows_of(workshop.database, "SELECT * FROM migration_ledger"))) == []


def test_other_ways_in_show_it_nowhere(workshop: Workshop) -> None:
    """Neither where PGPASSWORD holds it, nor when a revision is sealed or rebased, nor in what gunicorn says."""
    assert workshop.database
    names = {"host": "PGHOST", "port": "PGPORT", "dbname": "PGDATABASE", "user": "PGUSER"}
    given = {names[key]: value for key, value in workshop.database.parameters().items() if key in names}
    workshop.database = None
    workshop.write("0003_left", after="0002_add_task_due_on")
    workshop.write("0003_right", after="0002_add_task_due_on")
    commands = ((*MIGRATE, "status"), (*MIGRATE, "rebase", "0003_right"), (*MIGRATE, "seal"), *FEW)
    told = said(workshop, commands, PGPASSWORD=PASSWORD, LOG_LEVEL="debug", LOG_FORMAT="text", **given)
    assert "0004_right" in told
    assert '"status":"ok"' in told
    assert traces(told) == []
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    serving = workshop.start(
        *GUNICORN, "app:create_app()", PGPASSWORD=PASSWORD, LOG_LEVEL="debug", PORT=str(port), **given
    )
    eventually(lambda: "Listening at" in serving.stdout + serving.stderr, within=60)
    serving.end()
    assert traces(serving.stdout + serving.stderr) == []


def test_no_failure_shows_it(workshop: Workshop, urls: tuple[str, str]) -> None:
    """A server that is not there, a database that is not there, two databases, a URL that is none, a migration that fails."""
    assert workshop.database
    name = workshop.database.parameters()["dbname"]
    workshop.write("0003_broken", 'op.execute("SELECT 1 / 0")', after="0002_add_task_due_on")
    wrong = [
        urls[0].replace("?", "?port=1&", 1),
        urls[0].replace(name, "nowhere"),
        urls[0].replace("postgresql://", "mysql://"),
        urls[1].replace("@/", "@:x/"),
        urls[1].replace("?", "?sslmode=nonsense&", 1),
    ]
    told = "".join(said(workshop, FEW[:2], DATABASE_URL=url) for url in [*wrong, urls[1]])
    told += said(workshop, FEW[1:], DATABASE_URL=urls[0], LOG_FORMAT="json")
    told += said(workshop, (PAGES,), DATABASE_URL=wrong[0], MIGRATE_ON_START="off")
    assert '"status":"ok"' in told  # it has served, and said that the database does not answer
    assert "503" in told
    told += said(workshop, FEW[1:3], MIGRATE_DATABASE_URL=wrong[1]) + said(
        workshop, FEW[1:3], MIGRATE_DATABASE_URL=urls[1]
    )
    assert "division by zero" in told
    assert "no such database" in told
    assert traces(told) == []
    assert traces(str(rows_of(workshop.database, "SELECT * FROM migration_ledger"))) == []
