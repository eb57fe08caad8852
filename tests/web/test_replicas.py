"""The application as it is deployed: gunicorn, several workers, several replicas."""

from __future__ import annotations

import http.client
import json
import signal
import socket
from http.cookies import SimpleCookie
from urllib.parse import urlencode

import pytest

from tests.ground import GUNICORN, Running, Tree, eventually
from tests.web.visitor import Page

PASSWORD = "correct horse battery staple"


class Replica:
    """One gunicorn with two workers, and a browser that keeps its cookies between replicas when told so."""

    def __init__(self, project: Tree, cookies: dict[str, str], **variables: str) -> None:
        """Start it on a port of its own, and wait until it answers."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.cookies = cookies
        self.process: Running = project.start(
            *GUNICORN, "app:create_app()", PORT=str(self.port), APP_ENV="production", **variables
        )
        eventually(self._answers, within=30, what=f"gunicorn answers\n{self.process.stdout}")

    def get(self, path: str) -> Page:
        """Open a page, without following redirects."""
        return self._ask("GET", path, "")

    def post(self, path: str, **fields: str) -> Page:
        """Send a form, as a browser would behind a proxy that ends TLS."""
        return self._ask("POST", path, urlencode(fields))

    def sign_in(self, password: str) -> Page:
        """Type a password."""
        token = self.get("/sign-in").form(sends="password").fields["csrf_token"]
        return self.post("/sign-in", csrf_token=token, password=password)

    def _ask(self, method: str, path: str, body: str) -> Page:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        headers = {
            "Content-Type": "application/x-www-form-urlencoded",
            "Cookie": "; ".join(f"{name}={value}" for name, value in self.cookies.items()),
            "X-Forwarded-Proto": "https",
            "Referer": f"https://127.0.0.1:{self.port}{path}",
        }
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        given = SimpleCookie(answer.headers.get("Set-Cookie", ""))
        self.cookies.update({name: morsel.value for name, morsel in given.items()})
        page = Page(answer.status, path, answer.read().decode(), dict(answer.headers))
        connection.close()
        return page

    def _answers(self) -> bool:
        assert self.process.process.poll() is None, self.process.stdout + self.process.stderr
        try:
            return self._ask("GET", "/healthz", "").status == 200
        except OSError:
            return False


@pytest.fixture
def variables() -> dict[str, str]:
    """What all replicas of one deploy share."""
    return {"ADMIN_PASSWORD": PASSWORD, "SECRET_KEY": "k" * 32}


def test_sign_in_holds_on_every_replica_and_after_a_restart(project: Tree, variables: dict[str, str]) -> None:
    """A cookie and a token from one replica are good on another, and on one that starts later."""
    cookies: dict[str, str] = {}
    first = Replica(project, cookies, **variables)
    assert first.sign_in(PASSWORD).status == 303
    token = first.get("/projects").form(sends="name").fields["csrf_token"]
    first.process.send(signal.SIGTERM)
    assert first.process.wait() == 0
    second = Replica(project, cookies, **variables)
    assert second.post("/projects", csrf_token=token, name="Harbour").status == 303
    assert "Harbour" in second.get("/projects").text


def test_limit_on_wrong_passwords_is_one_for_all_replicas(project: Tree, variables: dict[str, str]) -> None:
    """Guessing at one replica is counted at the other."""
    first, second = Replica(project, {}, **variables), Replica(project, {}, **variables)
    tries = [replica.sign_in("guess").status for replica in (first, second, first, second, first)]
    assert tries == [403] * 5
    assert second.sign_in("guess").status == 429


def test_log_is_one_json_object_a_line_on_standard_output(project: Tree) -> None:
    """In production a platform can read every line, from the migration to the request, with the request's id."""
    replica = Replica(project, {}, LOG_LEVEL="info")
    request_id = replica.get("/").headers["X-Request-Id"]
    eventually(lambda: request_id in replica.process.stdout, what="the request is logged")
    lines = [json.loads(line) for line in replica.process.stdout.splitlines()]
    assert all({"message", "level"} <= line.keys() for line in lines)
    assert {line["logger"] for line in lines} == {"railhead", "gunicorn.error", "gunicorn.access"}
    assert replica.process.stderr == ""


def test_wrong_setting_ends_gunicorn_with_the_message(project: Tree) -> None:
    """gunicorn.conf.py reads the settings first, and says what is wrong with them."""
    ended = project.run(*GUNICORN, "app:create_app()", PORT="eighty")
    assert ended.returncode == 3
    assert "PORT is 'eighty'" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("command", [["routes"], ["shell"], ["--help"], ["no-such-command"]])
def test_flask_commands_do_not_migrate(project: Tree, command: list[str]) -> None:
    """Only what serves requests brings the schema to head."""
    flask = GUNICORN[0].removesuffix("gunicorn") + "flask"
    project.run(flask, *command)
    status = project.migrate("status", "--json")
    assert json.loads(status.stdout)["state"] == "behind"
