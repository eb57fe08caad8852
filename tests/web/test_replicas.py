"""The application as it is deployed, and the commands of Flask beside it."""

from __future__ import annotations

import json
import signal
import sys

import pytest

from tests.forked_tree import Workshop
from tests.processes import eventually
from tests.project_tree import Tree
from tests.web.replica import Replica

FLASK = (sys.executable, "-c", "import sys; from flask.cli import main; sys.argv[0] = 'flask'; main()")


def test_log_is_one_json_object_a_line_on_standard_output(project: Tree) -> None:
    """In production a platform can read every line, from the migration to the end, with a request's id."""
    replica = Replica(project, {}, LOG_LEVEL="info")
    refused = replica.post("/projects", name="without a token")
    request_id = refused.headers["X-Request-Id"]
    assert refused.headers["Server"] == "gunicorn", "without a version, which would tell what it can be attacked with"
    eventually(lambda: " 400 " in replica.process.stdout, what="the request is logged")
    replica.process.send(signal.SIGTERM)
    assert replica.process.wait() == 0
    lines = [json.loads(line) for line in replica.process.stdout.splitlines()]
    assert all({"message", "level"} <= line.keys() for line in lines)
    assert {line["logger"] for line in lines} == {"railhead", "gunicorn.error", "gunicorn.access", "app"}
    assert [line["logger"] for line in lines if request_id in line["message"]] == ["app", "gunicorn.access"]
    assert replica.process.stderr == ""


@pytest.mark.parametrize("command", [["routes"], ["shell"], ["--help"], ["no-such-command"]])
def test_flask_commands_do_not_migrate(workshop: Workshop, command: list[str]) -> None:
    """Only what serves requests brings the schema to head."""
    workshop.run(*FLASK, *command)
    status = workshop.migrate("status", "--json")
    assert json.loads(status.stdout)["state"] == "behind"
