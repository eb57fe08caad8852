from __future__ import annotations

from flask import Flask
from flask.testing import FlaskClient
from hypothesis import example, given, settings
from sqlalchemy import Connection
from sqlalchemy.orm import Session

from models import Member, Project, Task
from tests.web.hostile import Request, judge, pairs, plain, requests


def test_no_request_breaks_the_application(app: Flask, session: Session, transaction: Connection) -> None:
    """Whatever is sent, the answer is a page, a redirect on this site or a clear refusal."""
    assert pairs(app) <= attack(app, session, transaction, count=100)


def attack(app: Flask, session: Session, transaction: Connection, count: int) -> set[tuple[str, str]]:
    """Send that many requests, and one to each route, to a board with a task; judge the answers, and what was saved on every page that shows it.

    Returns the rules and methods that were tried.
    """
    app.config["WTF_CSRF_ENABLED"] = False  # so that what is sent reaches the database
    task = Task(title="<script>alert(1)</script>", project=Project(name="P"), assignee=Member(name="M"))
    session.add(task)
    session.commit()
    tried = set()

    @settings(max_examples=count, deadline=None, database=None)
    @given(requests(app, [task.id, task.project_id]))
    def send(sent: Request) -> None:
        tried.add((sent.rule, sent.method))
        before = transaction.begin_nested()
        client = app.test_client()
        with client.open(
            sent.path, method=sent.method, query_string=sent.query, data=sent.form, headers=sent.headers
        ) as answer:
            judge(answer.status_code, dict(answer.headers), answer.get_data(as_text=True))
        if answer.status_code == 303:
            _look_round(client)
        before.rollback()

    for sent in plain(app, task.id):
        send = example(sent)(send)
    send()
    return tried


def _look_round(client: FlaskClient) -> None:
    for path in ("/", "/projects", "/members"):
        answer = client.get(path)
        assert answer.status_code == 200
        judge(answer.status_code, dict(answer.headers), answer.text)
