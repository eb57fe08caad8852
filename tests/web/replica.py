"""gunicorn as it is deployed, on a port of its own, and somebody who talks to it."""

from __future__ import annotations

import http.client
import socket
from http.cookies import SimpleCookie
from urllib.parse import urlencode

from tests.processes import Running, eventually
from tests.project_tree import GUNICORN, Tree
from tests.web.visitor import Page


class Replica:
    """One gunicorn; the cookies it is given may be shared with another, as behind one address."""

    def __init__(
        self, project: Tree, cookies: dict[str, str], application: str = "app:create_app()", **variables: str
    ) -> None:
        """Start it on a port of its own, and wait until it answers."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.cookies = cookies
        self.process: Running = project.start(
            *GUNICORN, application, **{"PORT": str(self.port), "APP_ENV": "production", **variables}
        )
        eventually(self._answers, within=30, what=f"gunicorn answers\n{self.process.stdout}")

    @property
    def address(self) -> str:
        """Where it is, without a slash at the end."""
        return f"http://127.0.0.1:{self.port}"

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
        for given in answer.headers.get_all("Set-Cookie", []):
            self.cookies.update({name: morsel.value for name, morsel in SimpleCookie(given).items()})
        page = Page(answer.status, path, answer.read().decode(), dict(answer.headers))
        connection.close()
        return page

    def _answers(self) -> bool:
        assert self.process.process.poll() is None, self.process.stdout + self.process.stderr
        try:
            return self._ask("GET", "/healthz", "").status == 200
        except OSError:
            return False
