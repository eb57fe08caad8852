from __future__ import annotations

from flask import Flask
from hypothesis import given, settings
from sqlalchemy import Connection
from sqlalchemy.orm import Session

from models import Member, Project, Task
from tests.web.hostile import Request, judge, requests


def test_no_request_breaks_the_application(app: Flask, session: Session, transaction: Connection) -> None:
    """Whatever is sent, the answer is a page, a redirect on this site or a clear refusal."""
    attack(app, session, transaction, count=150)


def attack(app: Flask, session: Session, transaction: Connection, count: int) -> None:
    """Send that many requests to a board with a task, and judge each answer."""
    app.config["WTF_CSRF_ENABLED"] = False  # so that what is sent reaches the database
    task = Task(title="<script>alert(1)</script>", project=Project(name="P"), assignee=Member(name="M"))
    session.add(task)
    session.commit()

    @settings(max_examples=count, deadline=None, database=None)
    @given(requests(app, [task.id, task.project_id]))
    def send(sent: Request) -> None:
        before = transaction.begin_nested()
        client = app.test_client()
        with client.open(
            sent.path, method=sent.method, query_string=sent.query, data=sent.form, headers=sent.headers
        ) as answer:
            judge(answer.status_code, dict(answer.headers), answer.get_data(as_text=True))
        before.rollback()

    send()
