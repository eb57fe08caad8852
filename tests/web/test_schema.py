from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import psycopg2
import pytest
from flask import Flask
from flask.testing import FlaskClient
from psycopg2.extensions import connection as Connection

from app import create_app
from railhead.contrib.flask import words as words_of
from railhead.dsn import Dsn
from railhead.postgres.advisory_lock import Lock
from railhead.settings import Settings
from tests.databases import Databases, rows_of
from tests.processes import eventually
from tests.project_tree import Tree
from tests.web.conftest import PASSWORD
from tests.web.replica import Replica
from tests.web.visitor import Visitor


@pytest.fixture
def own(databases: Databases, head: str, migrated: Settings) -> Settings:
    """The settings for a database at head that a test may change."""
    dsn = databases.new(head)
    return migrated._replace(database=dsn, migrate_database=dsn)


def client_of(settings: Settings) -> FlaskClient:
    """Somebody who may write."""
    return create_app(settings).test_client()


def change(settings: Settings, *statements: str) -> None:
    """Change the database by hand."""
    assert settings.database is not None
    for statement in statements:
        rows_of(settings.database, statement)


@contextmanager
def session(dsn: Dsn, name: str = "somebody") -> Iterator[Connection]:
    """A session of somebody else."""
    connection = psycopg2.connect(dsn.with_(application_name=name))
    connection.autocommit = True
    yield connection
    connection.close()


@contextmanager
def at_work(dsn: Dsn, name: str, statement: str) -> Iterator[None]:
    """Inside, a session called `name` works on a statement, which is then cancelled."""

    def run() -> None:
        with pytest.raises(psycopg2.errors.QueryCanceled), connection.cursor() as cursor:
            cursor.execute(statement)

    with session(dsn, name) as connection, ThreadPoolExecutor() as pool:
        running = pool.submit(run)
        try:
            yield
        finally:
            connection.cancel()
            running.result()


def test_serving_the_board_does_not_cost_alembic(project: Tree) -> None:
    """Importing the application imports neither Alembic nor what drives it."""
    code = "import app, sys; print({'alembic', 'railhead.history.planner', 'railhead.state.status'} & {*sys.modules})"
    assert project.run(sys.executable, "-c", code).stdout.strip() == "set()"


def test_console_tells_state_history_and_tables(visitor: Visitor) -> None:
    """The page says in a sentence where the database is, and shows revisions, ledger and tables."""
    page = visitor.open("/schema")
    assert (page.status, page.title) == (200, "Schema: current · Railhead")
    assert "current The database is at head." in page.text
    for heading in ("0002_add_task_due_on applied", "upgrade 0001_baseline applied", "task_status todo, doing, done"):
        assert heading in page.text
    assert page.links["Schema"] == "/schema"


def test_json_has_the_keys_of_status_and_the_rest(visitor: Visitor) -> None:
    """Programs read the record of `status --json`, with revisions, ledger, drift and tables."""
    answer = visitor.client.get("/schema.json")
    told = answer.json
    assert told is not None
    first = {"state", "flags", "current", "heads", "pending", "unknown", "database", "server", "lock", "last", "waits"}
    assert told.keys() == first | {
        *("sentence", "next", "problem", "unmet", "edited", "work", "plan"),
        *("revisions", "ledger", "drift", "tables"),
    }
    assert (told["sentence"], told["next"], told["problem"], told["unmet"]) == (
        "the database is at head",
        None,
        None,
        None,
    )
    assert (told["edited"], told["work"], told["plan"]) == ([], [], [])
    assert told["drift"] == {"outside": [], "models": []}
    assert [one["revision"] for one in told["revisions"]] == ["0002_add_task_due_on", "0001_baseline"]
    task = next(one for one in told["tables"] if one["name"] == "task")
    assert [one["name"] for one in task["columns"]][:3] == ["id", "project_id", "assignee_id"]
    assert {one["target"] for one in task["constraints"]} == {None, "project", "member"}


@pytest.mark.parametrize("path", ["/schema", "/schema.json"])
def test_production_without_a_password_has_no_console(make_app: Callable[..., Flask], path: str) -> None:
    """Where nobody can sign in the console does not exist, and nothing leads to it."""
    visitor = Visitor(make_app(production=True).test_client())
    assert visitor.client.get(path).status_code == 404
    assert "Schema" not in visitor.open("/").links


def test_visitor_is_asked_to_sign_in(locked: Flask) -> None:
    """The console is for who knows the password; a program is told so."""
    visitor = Visitor(locked.test_client())
    page = visitor.open("/schema")
    assert page.title.startswith("Sign in")
    assert visitor.client.get("/schema.json").status_code == 401
    page = visitor.send(page.form(sends="password"), password=PASSWORD)
    assert page.title == "Schema: current · Railhead"


def test_changes_by_hand_are_told_with_what_mends_them(own: Settings) -> None:
    """Drift is a flag, words, and a diff."""
    change(own, "ALTER TABLE task ADD note text", "DROP INDEX ix_task_status")
    page = Visitor(client_of(own)).open("/schema")
    assert "drifted The schema was changed outside the migrations since the last run." in page.text
    assert "column task.note added - not there+ text" in page.text
    assert "ALTER TABLE task DROP COLUMN note" in page.text
    assert "<del>- CREATE INDEX ix_task_status ON public.task" in page.html


@pytest.mark.parametrize(
    ("change", "missing"),
    [
        ("ALTER TABLE task DROP title", "column task.title is gone"),
        ("DROP TABLE task", "table task is gone"),
        (
            "ALTER TABLE task ALTER description DROP DEFAULT, ALTER description TYPE json USING '{}'",
            "column task.description is JSON now, not TEXT",
        ),
    ],
)  # fmt: skip
def test_pages_on_a_changed_schema_say_so(own: Settings, change: str, missing: str) -> None:
    """The board does not say that nobody answers, the platform gets 503, and the console names what is missing and who shows more."""
    assert own.database is not None
    rows = "INSERT INTO project (name) VALUES ('Harbour'); INSERT INTO task (project_id, title) SELECT id, name FROM project"
    rows_of(own.database, f"{rows}; {change}")
    app = create_app(own)
    client = app.test_client()
    board, console = client.get("/"), client.get("/schema")
    app.extensions["engine"].dispose()
    assert (board.status_code, "The database is not as this release needs it" in board.text) == (503, True)
    assert client.get("/readyz").status_code == 503
    assert (console.status_code, missing in console.text) == (200, True)
    assert "This release cannot serve it" in console.text
    assert "python utils/migrate.py drift" in console.text


def test_models_are_compared_anew_when_the_schema_changes(own: Settings) -> None:
    """What Alembic said about another schema is not repeated."""
    client = client_of(own)
    halves = []
    for statement in ("SELECT 1", "ALTER TABLE task ADD note text", "ALTER TABLE task DROP note"):
        change(own, statement)
        told = client.get("/schema.json").json
        assert told is not None
        halves.append([one["object"] for one in told["drift"]["models"]])
    assert halves == [[], ["column task.note"], []]


def test_pending_stands_apart_with_its_plan(databases: Databases, migrated: Settings) -> None:
    """What an upgrade would do is told in order, with the code."""
    page = Visitor(client_of(migrated._replace(database=databases.new()))).open("/schema")
    assert "behind The database lacks 2 revisions." in page.text
    assert "Next: python utils/migrate.py upgrade" in page.text
    plan = page.text.partition("Pending: what an upgrade would do")[2]
    assert plan.index("0001_baseline") < plan.index("def upgrade() -> None:") < plan.index("0002_add_task_due_on")
    assert "Nothing yet: the first migration writes the first row." in page.text


def test_hazard_of_a_pending_revision_is_weighed_against_the_table(project: Tree) -> None:
    """What the start would refuse the page says beforehand, with the rows, the danger and what to write instead."""
    project.write("0003_index", 'op.create_index("ix_task_title", "task", ["title"])', after="0002_add_task_due_on")
    assert project.migrate("upgrade", "0002").returncode == 0
    assert project.migrate("seal").returncode == 0
    assert project.database is not None
    rows_of(
        project.database,
        "INSERT INTO project (name) VALUES ('P');"
        "INSERT INTO task (title, project_id) SELECT 'T', 1 FROM generate_series(1, 2000); ANALYZE task",
    )
    replica = Replica(project, {}, APP_ENV="development", MIGRATE_ON_START="off", MIGRATE_LARGE_TABLE="1000")
    page = replica.get("/schema")
    assert "0003_index would be refused" in page.text
    assert "index-blocks-writes: task, about 2,000 rows" in page.text
    assert "op.create_index_concurrently" in page.html.partition("What to write instead")[2].partition("</pre>")[0]
    (plan,) = json.loads(replica.get("/schema.json").html)["plan"]
    assert (plan["revision"], plan["file"], plan["refused"]) == ("0003_index", "0003_index.py", True)
    hazard = next(one for one in plan["hazards"] if one["table"])
    assert (hazard["hazard"], hazard["table"], hazard["rows"], hazard["blocks"]) == (
        "index-blocks-writes",
        "task",
        2000,
        True,
    )
    assert "op.create_index_concurrently" in plan["instead"]
    assert plan["code"].startswith("def upgrade() -> None:")


def test_timeline_tells_when_how_long_and_by_which_release(own: Settings) -> None:
    """Of a revision that is applied: the moment, the duration, the waiting, the attempts, the release, and whether the one before works."""
    change(
        own,
        "UPDATE migration_ledger SET started_at = '2026-03-03 14:05+00', duration_ms = 1240, waited_ms = 2000, attempts = 3,"
        " release = 'v7-and-more-than-fits' WHERE revision = '0002_add_task_due_on'",
    )
    page = Visitor(client_of(own)).open("/schema").text.partition("Revisions, newest first")[2]
    assert (
        "0002_add_task_due_on applied A task can have a due date."
        " applied 3 Mar 2026, 14:05 UTC in 1.2 s waited 2.0 s 3 attempts release v7-and-more- previous release works"
    ) in page
    told = client_of(own).get("/schema.json").json
    assert told is not None
    newest = told["revisions"][0]
    assert (newest["applied_at"][:10], newest["duration_ms"], newest["breaking"]) == ("2026-03-03", 1240, False)


def test_what_a_newer_release_did_is_told_and_paged(own: Settings) -> None:
    """Revisions that this code does not have stand on top; what it misses is named, for a program too."""
    change(
        own,
        "INSERT INTO migration_ledger (run, revision, parent, action, outcome, actor, release, breaking)"
        " SELECT 'r', n || '_newer', CASE n WHEN 10 THEN '0002_add_task_due_on' ELSE n - 1 || '_newer' END,"
        " 'upgrade', 'applied', 'ada @ web-1', 'v9', true FROM generate_series(10, 39) n",
        "UPDATE alembic_version SET version_num = '39_newer'",
        "ALTER TABLE task DROP COLUMN description",
    )
    visitor = Visitor(client_of(own))
    page = visitor.open("/schema")
    timeline = page.text.partition("Revisions, newest first")[2]
    assert timeline.startswith(" 39_newer not in this release applied ")
    assert "release v9 previous release breaks 38_newer not in this release" in timeline
    assert "This release cannot serve it: column task.description is gone" in page.text
    assert "0001_baseline applied" in visitor.open("/schema?revisions=2").text
    answer = visitor.client.get("/schema.json?revisions=2")
    told = answer.json
    assert told is not None
    assert (told["sentence"], told["unmet"]) == (
        "the database is ahead of this code",
        ["column task.description is gone"],
    )
    assert told["next"] == "deploy the release that has this revision"
    assert [one["revision"] for one in told["revisions"]][-2:] == ["0002_add_task_due_on", "0001_baseline"]
    assert '</schema.json>; rel="prev"; title="revisions"' in answer.headers.getlist("Link")


def test_file_that_was_edited_is_named(own: Settings) -> None:
    """Beside the flag stands which applied revision means something else now."""
    change(own, "UPDATE migration_ledger SET checksum = 'another' WHERE revision = '0001_baseline'")
    client = client_of(own)
    told = client.get("/schema.json").json
    assert told is not None
    assert (told["flags"], told["edited"]) == (["edited"], ["migrations/versions/0001_baseline.py"])
    assert "<code>migrations/versions/0001_baseline.py</code>" in client.get("/schema").text


def test_ledger_is_filtered_and_paged(own: Settings) -> None:
    """Rows are found by action, outcome, revision and release, twenty-five at a time."""
    change(
        own,
        "INSERT INTO migration_ledger (run, revision, action, outcome, actor, release, error)"
        " SELECT 'r', '0003_' || n, 'upgrade', 'failed', 'ada @ web-1', 'v' || n % 2, 'out of luck' FROM generate_series(1, 60) n",
    )
    visitor = Visitor(client_of(own))
    page = visitor.open("/schema?outcome=failed&release=v1")
    assert "Page 1 of 2" in page.text
    assert "applied by" not in page.text.partition("Ledger: what")[2].partition("Page 1 of")[0]
    page = visitor.open(page.links["Next →"])
    assert page.text.count("out of luck") == 5
    assert "No row matches the filter." in visitor.open("/schema?action=downgrade").text
    answer = visitor.client.get("/schema.json?revision=0003_6")
    assert answer.json is not None
    assert [one["revision"] for one in answer.json["ledger"]] == ["0003_60", "0003_6"]
    assert visitor.client.get("/schema.json").headers["Link"] == '</schema.json?ledger=2>; rel="next"; title="ledger"'


def test_failed_row_shows_what_postgresql_said(own: Settings) -> None:
    """An error of the ledger is shown as text, whatever is in it."""
    change(
        own,
        "INSERT INTO migration_ledger (run, action, outcome, actor, error)"
        " VALUES ('r', 'upgrade', 'failed', '<b>x</b>', '<script>alert(1)</script>')",
    )
    page = client_of(own).get("/schema").text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "<script" not in page


def test_running_migration_is_told_with_what_it_is_at(own: Settings) -> None:
    """While another process holds the migration lock the page says who, for how long, what it is at, and loads itself again."""
    assert own.database is not None
    name = "railhead upgrade @ web-2"
    with session(own.database, name) as holder, at_work(own.database, name, "SELECT pg_sleep(60) /* building */"):
        assert Lock(holder).try_take()
        client = client_of(own)
        answer = client.get("/schema")
        eventually(lambda: "/* building */" in client.get("/schema").text, what="the page tells the statement")
        assert "Another process migrates this database" in answer.text
        assert name in answer.text
        assert "Not looked for while a migration runs." in answer.text
        assert answer.headers["Refresh"] == "4"
        assert "Refresh" not in client.get("/schema?refresh=off").headers


def test_progress_of_an_index_is_told_in_percent(own: Settings) -> None:
    """While an index is built the page shows how much is done, as a number and as a bar, and JSON the same."""
    assert own.database is not None
    change(
        own,
        "CREATE FUNCTION slow(int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.01); RETURN $1; END $$",
        "CREATE TABLE thing AS SELECT n, repeat('x', 1500) FROM generate_series(1, 1000) n",
    )
    name = "railhead upgrade @ web-2"
    with (
        session(own.database, name) as holder,
        at_work(own.database, name, "CREATE INDEX thing_slow ON thing (slow(n))"),
    ):
        assert Lock(holder).try_take()
        client = client_of(own)

        def percent() -> int:
            told = client.get("/schema.json").json
            assert told is not None
            return int(told["work"][0]["percent"]) if told["work"] else 0

        eventually(lambda: 0 < percent() < 100, what="some of the table is done")  # it says 100 before the first page
        page = client.get("/schema").text
    bar = re.search(r'<progress max="100" value="(\d+)" aria-label="building index: scanning table">(\d+) %<', page)
    assert bar, page
    assert 0 < int(bar[1]) == int(bar[2]) < 100
    assert f"building index: scanning table, {bar[1]} %</p>" in page
    assert "<code>CREATE INDEX thing_slow ON thing (slow(n))</code>" in page


def test_index_build_that_waits_shows_its_phase_and_for_whom(project: Tree) -> None:
    """Of an index that a real migration builds the page tells the phase, and the session that is in its way."""
    project.write(
        "0003_index", 'op.create_index_concurrently("ix_task_title", "task", ["title"])', after="0002_add_task_due_on"
    )
    assert project.database is not None
    assert project.migrate("upgrade", "0002").returncode == 0
    with session(project.database, "a long report") as reader, reader.cursor() as cursor:
        cursor.execute("BEGIN ISOLATION LEVEL REPEATABLE READ; UPDATE task SET title = title; SELECT 1 FROM task")
        project.start(sys.executable, "utils/migrate.py")
        replica = Replica(project, {}, APP_ENV="development", MIGRATE_ON_START="off")
        eventually(lambda: "a long report" in replica.get("/schema").text, what="the page names who is in the way")
        page = replica.get("/schema").text
        assert "waiting for writers before build" in page
        (work,) = json.loads(replica.get("/schema.json").html)["work"]
        assert [one["application"] for one in work["blockers"]] == ["a long report"]
        assert "behind The database lacks 1 revision. current" in page, (
            "who migrates already needs no advice to migrate"
        )
        cursor.execute("ROLLBACK")
        eventually(lambda: "ix_task_title" in replica.get("/schema").text.partition("Tables")[2], what="it is built")


def test_locked_table_does_not_hold_up_the_page(own: Settings) -> None:
    """While somebody holds a table for herself the page comes all the same, and says what cannot be read."""
    assert own.database is not None
    with session(own.database) as other, other.cursor() as cursor:
        cursor.execute("BEGIN; LOCK TABLE task IN ACCESS EXCLUSIVE MODE")
        client = client_of(own)
        page = client.get("/schema")
        assert page.status_code == 200
        assert "Somebody holds a table for herself, so the tables cannot be read now." in page.text
        assert client.get("/readyz").status_code == 200
        told = client.get("/schema.json").json
        assert told is not None
        assert (told["state"], told["tables"], told["drift"]) == ("current", None, None)


def test_console_says_why_the_database_is_away(migrated: Settings) -> None:
    """Without a server the page is a 503 with the reason, the next step and the request's id; a program gets a problem."""
    assert migrated.database is not None
    secret = migrated.database.with_(host="127.0.0.1", port="9", password="s3cret")
    client = client_of(migrated._replace(database=secret))
    page = client.get("/schema")
    assert (page.status_code, page.headers["Retry-After"]) == (503, "5")
    assert "see that the server runs" in page.text
    assert f"Error 503, request <code>{page.headers['X-Request-Id']}</code>" in page.text
    problem = client.get("/schema.json")
    assert (problem.status_code, problem.content_type) == (503, "application/problem+json")
    assert "s3cret" not in page.text + problem.text


def test_partitions_are_part_of_their_table(own: Settings) -> None:
    """A partitioned table is one table, with the rows and the size of its partitions."""
    change(
        own,
        "CREATE TABLE event (id int PRIMARY KEY, next int REFERENCES event) PARTITION BY RANGE (id);"
        "CREATE TABLE event_1 PARTITION OF event FOR VALUES FROM (0) TO (100);"
        "CREATE TABLE event_2 PARTITION OF event FOR VALUES FROM (100) TO (200);"
        "INSERT INTO event SELECT n FROM generate_series(0, 199) n; ANALYZE event_1, event_2",
    )
    told = client_of(own).get("/schema.json").json
    assert told is not None
    (event,) = [one for one in told["tables"] if one["name"].startswith("event")]
    assert (event["rows"], event["partitions"]) == (200, 2)
    assert len([one for one in event["constraints"] if one["kind"] == "f"]) == 1


@pytest.mark.parametrize(
    ("count", "words"),
    [(0, "0 bytes"), (999, "999 bytes"), (8192, "8.0 kB"), (1_300_000, "1.2 MB"), (10**16, "9095 TB")],
)
def test_sizes_are_for_people(count: int, words: str) -> None:
    """A size has at most four digits and its unit."""
    assert words_of.size(count) == words


@pytest.mark.parametrize(
    ("spent", "words"), [(40, "40 ms"), (1240, "1.2 s"), (185_000, "3 min 5 s"), (7_800_000, "2 h 10 min")]
)
def test_durations_are_for_people(spent: int, words: str) -> None:
    """A duration has one or two units."""
    assert words_of.seconds(spent) == words
