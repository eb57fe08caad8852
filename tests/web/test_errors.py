from __future__ import annotations

import json
import logging
import re
import time
import uuid
from collections.abc import Iterator

import psycopg2
import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import select
from sqlalchemy.orm import Session

from app import create_app
from models import Base, Member, Project, Task
from railhead.dsn import Dsn
from railhead.settings import Settings
from tests.databases import rows_of
from tests.web.conftest import PASSWORD
from tests.web.visitor import Page, Visitor


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    """A plain client."""
    return app.test_client()


def test_unknown_address_is_a_page_with_the_request_id(client: FlaskClient) -> None:
    """An error page names the request, as the header does."""
    response = client.get("/nope")
    assert response.status_code == 404
    assert "There is nothing here" in response.text
    assert response.headers["X-Request-Id"] in response.text


def test_wrong_method_says_which_are_right(client: FlaskClient) -> None:
    """405 keeps its Allow header."""
    response = client.post("/")
    assert response.status_code == 405
    assert "GET" in response.headers["Allow"]


def test_too_large_a_form_is_refused(visitor: Visitor) -> None:
    """More than 128 KiB is refused with a page that says so."""
    page = visitor.add_project("x" * 140_000)
    assert (page.status, "That is too much at once" in page.text) == (413, True)


@pytest.mark.parametrize(("path", "accept"), [("/nope.json", "*/*"), ("/nope", "application/json")])
def test_programs_get_a_problem(client: FlaskClient, path: str, accept: str) -> None:
    """Who asks for JSON gets an RFC 9457 problem."""
    response = client.get(path, headers={"Accept": accept})
    assert response.content_type == "application/problem+json"
    problem = json.loads(response.text)
    assert (problem["status"], problem["title"], problem["instance"]) == (404, "Not Found", path)
    assert problem["request_id"] == response.headers["X-Request-Id"]


def test_form_without_token_is_refused(app: Flask, locked: Flask, session: Session) -> None:
    """A form that this site did not hand out changes nothing, wherever it is sent to and with whatever token."""
    task = Task(title="Order boxes", project=Project(name="Harbour"), assignee=Member(name="Ada"))
    session.add(task)
    session.commit()
    before = [session.execute(select(table)).all() for table in Base.metadata.sorted_tables]
    number = {"tasks": task.id, "projects": task.project_id, "members": task.assignee_id}
    rules = [rule for rule in app.url_map.iter_rules() if "POST" in (rule.methods or ())]
    assert len(rules) >= 11
    for rule in rules:
        path = re.sub("<.*?>", str(number.get(rule.endpoint.split(".")[0])), rule.rule)
        for client in (app.test_client(), locked.test_client()):
            client.get("/projects")  # so that there is a session, whose token is not sent
            for token in ({}, {"csrf_token": ""}, {"csrf_token": "made-up"}):
                sent = {"name": "x", "title": "x", "status": "done", "password": PASSWORD, **token}
                response = client.post(path, data=sent)
                assert (response.status_code, "This form has expired" in response.text) == (400, True), path
    session.expire_all()
    assert [session.execute(select(table)).all() for table in Base.metadata.sorted_tables] == before


@pytest.mark.parametrize(
    ("neighbour", "referrer", "status"),
    [
        ("10.0.0.1", "https://board.example/projects", 303),
        ("10.0.0.1", "https://evil.example/projects", 400),
        ("8.8.8.8", "https://board.example/projects", 400),
        ("8.8.8.8", "https://10.1.1.1/projects", 303),
    ],
)
def test_forwarded_host_is_believed_from_a_neighbour_alone(
    visitor: Visitor, neighbour: str, referrer: str, status: int
) -> None:
    """Behind a proxy the site has the name that the proxy forwards; for who comes straight from the internet its own."""
    client = visitor.client
    client.environ_base |= {"REMOTE_ADDR": neighbour, "HTTP_X_FORWARDED_HOST": "board.example"}
    page = client.get("/projects", base_url="https://10.1.1.1")
    token = Page(200, "/projects", page.text, {}).form(sends="name").fields["csrf_token"]
    response = client.post(
        "/projects",
        base_url="https://10.1.1.1",
        data={"csrf_token": token, "name": "Harbour"},
        headers={"Referer": referrer},
    )
    assert response.status_code == status


@pytest.mark.parametrize(
    "path", ["/tasks/1", "/tasks/1/delete", "/projects/1", f"/tasks/{2**63}", "/tasks/-1", "/tasks//1", "/tasks/"]
)
def test_what_is_not_there_is_404(client: FlaskClient, path: str) -> None:
    """No number and no odd path makes the application stumble."""
    assert client.get(path).status_code == 404


def test_fault_of_ours_is_logged_with_the_request_and_shows_nothing(
    app: Flask, caplog: pytest.LogCaptureFixture
) -> None:
    """A 500 page leaks nothing; the log has the traceback under the same id."""
    app.add_url_rule("/broken", view_func=lambda: 1 / 0)
    with caplog.at_level(logging.ERROR, "app"):
        response = app.test_client().get("/broken")
    assert response.status_code == 500
    assert "division" not in response.text
    assert f"(request {response.headers['X-Request-Id']})" in caplog.text
    assert "ZeroDivisionError" in caplog.text


def test_request_id_of_the_proxy_is_kept_when_it_looks_like_one(client: FlaskClient) -> None:
    """An id from outside is used only when it can do no harm in a log."""
    assert client.get("/", headers={"X-Request-Id": "abc-123.DEF"}).headers["X-Request-Id"] == "abc-123.DEF"
    assert client.get("/", headers={"X-Request-Id": "<script> x"}).headers["X-Request-Id"].isalnum()


def test_every_answer_carries_the_security_headers(client: FlaskClient) -> None:
    """Pages, errors, problems and static files alike."""
    for path in ("/", "/nope", "/nope.json", "/static/style.css", "/healthz"):
        with client.get(path) as response:
            headers = response.headers
        assert headers["Content-Security-Policy"].startswith("default-src 'none'; style-src 'self';")
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "same-origin"


def test_https_is_kept_in_production(locked: Flask) -> None:
    """Behind a proxy that ends TLS, production answers with HSTS."""
    client = locked.test_client()
    assert "Strict-Transport-Security" in client.get("/", headers={"X-Forwarded-Proto": "https"}).headers
    assert "Strict-Transport-Security" not in client.get("/").headers


def test_pages_hold_no_inline_script_or_style(visitor: Visitor) -> None:
    """The strict policy has nothing to forbid."""
    visitor.add_project("Harbour")
    page = visitor.add_task("Order boxes", due_on="2020-01-01")
    for address in ("/", "/projects", "/members", "/tasks/new", page.links["Order boxes"], "/nope"):
        html = visitor.open(address).html
        assert "<script" not in html
        assert " style=" not in html
        assert "<style" not in html
        assert " on" + "click" not in html


def test_absent_server_is_503_within_seconds(migrated: Settings) -> None:
    """A server that refuses connections costs a moment, and the page says that it is the database."""
    assert migrated.database is not None
    away = migrated.database.with_(host="127.0.0.1", port="9")
    client = create_app(migrated._replace(database=away)).test_client()
    started = time.monotonic()
    response = client.get("/")
    assert time.monotonic() - started < 4
    assert (response.status_code, response.headers["Retry-After"]) == (503, "5")
    assert "The database does not answer" in response.text
    assert client.get("/healthz").status_code == 200


def test_database_without_our_tables_is_503(server: Dsn, migrated: Settings) -> None:
    """A schema that is not ours is the database's trouble, not a fault of the request."""
    app = create_app(migrated._replace(database=server))
    assert app.test_client().get("/").status_code == 503
    app.extensions["engine"].dispose()


def test_connection_that_the_server_closed_is_replaced_unseen(migrated: Settings, server: Dsn) -> None:
    """A restart between two requests is nobody's error."""
    app = create_app(migrated)
    client = app.test_client()
    assert client.get("/").status_code == 200
    connection = psycopg2.connect(server)
    try:
        with connection.cursor() as cursor:
            name = migrated.database.parameters()["dbname"] if migrated.database else ""
            cursor.execute("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = %s", [name])
    finally:
        connection.close()
    assert client.get("/").status_code == 200
    app.extensions["engine"].dispose()


@pytest.fixture
def poor(migrated: Settings) -> Iterator[str]:
    """A role that may use the board's tables, and is dropped afterwards."""
    assert migrated.database is not None
    role = f"railhead_web_{uuid.uuid4().hex[:8]}"
    rows_of(
        migrated.database,
        f"CREATE ROLE {role} LOGIN PASSWORD 'poor'; GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}",
    )
    yield role
    rows_of(migrated.database, f"DROP OWNED BY {role}; DROP ROLE {role}")


def test_server_without_room_is_503_until_there_is_some(migrated: Settings, poor: str) -> None:
    """Too many connections are the database's trouble, for the board, the console and the platform; it passes by itself."""
    assert migrated.database is not None
    app = create_app(migrated._replace(database=migrated.database.with_(user=poor, password="poor")))
    client = app.test_client()
    rows_of(migrated.database, f"ALTER ROLE {poor} CONNECTION LIMIT 0")
    for path in ("/", "/schema", "/readyz"):
        assert client.get(path).status_code == 503, path
    assert "The database does not answer" in client.get("/").text
    assert "the server has no connection left for us" in client.get("/schema").text.lower()
    rows_of(migrated.database, f"ALTER ROLE {poor} CONNECTION LIMIT -1")
    assert [client.get(path).status_code for path in ("/", "/schema", "/readyz")] == [200] * 3
    app.extensions["engine"].dispose()


def test_read_only_server_is_503_and_saves_nothing(migrated: Settings) -> None:
    """A write that a read-only server refuses is not reported as done."""
    assert migrated.database is not None
    app = create_app(migrated._replace(database=migrated.database.with_(options="-c default_transaction_read_only=on")))
    visitor = Visitor(app.test_client())
    page = visitor.add_project("Harbour")
    assert (page.status, "look whether it is there" in page.text) == (503, True)
    assert visitor.open("/projects").status == 200
    app.extensions["engine"].dispose()


@pytest.mark.parametrize("host", ["x" * 300, "a b", "evil.example:port"])
def test_impossible_host_is_refused(client: FlaskClient, host: str) -> None:
    """A Host header that names no host is the client's mistake."""
    assert client.get("/nope", headers={"Host": host}).status_code in {400, 404}


def test_redirects_do_not_repeat_the_host(client: FlaskClient) -> None:
    """What a client claims to be our host leads nobody away."""
    answer = client.get("/sign-in", headers={"Host": "evil.example"})
    assert answer.headers["Location"] == "/"
