"""A visitor with a browser that has no JavaScript: opens pages, reads them, fills the forms that are really there."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import NamedTuple

from flask.testing import FlaskClient


class Form(NamedTuple):
    """A form of a page, with what a browser would send of it."""

    action: str
    method: str
    fields: dict[str, str]


class Page(HTMLParser):
    """What a visitor sees: status, title, text, links, forms."""

    def __init__(self, status: int, address: str, html: str, headers: dict[str, str]) -> None:
        """Read `html`, which came from `address`."""
        super().__init__()
        self.status, self.address, self.html, self.headers = status, address, html, headers
        self.text = ""
        self.title = ""
        self.links: dict[str, str] = {}
        self.forms: list[Form] = []
        self.buttons: dict[str, dict[str, str]] = {}
        self._open: list[str] = []
        self._link: str | None = None
        self._select: str | None = None
        self._textarea: str | None = None
        self.feed(html)
        self.text = " ".join(self.text.split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note links, forms and fields."""
        given = {name: value or "" for name, value in attrs}
        self._open.append(tag)
        if tag == "a":
            self._link = given.get("href", "")
        elif tag == "form":
            self.forms.append(Form(given.get("action") or self.address, given.get("method", "get"), {}))
        elif tag == "button" and "aria-label" in given:
            self.buttons[given["aria-label"]] = given
        elif self.forms:
            self._field(tag, given)

    def _field(self, tag: str, given: dict[str, str]) -> None:
        fields = self.forms[-1].fields
        if tag == "input" and given.get("name"):
            fields[given["name"]] = given.get("value", "")
        elif tag == "select":
            self._select = given["name"]
        elif tag == "textarea":
            self._textarea = given["name"]
            fields[given["name"]] = ""
        elif tag == "option" and self._select and ("selected" in given or self._select not in fields):
            fields[self._select] = given.get("value", "")

    def handle_endtag(self, tag: str) -> None:
        """Close what is open."""
        self._link = None if tag == "a" else self._link
        self._select = None if tag == "select" else self._select
        self._textarea = None if tag == "textarea" else self._textarea
        if tag in self._open:
            del self._open[len(self._open) - 1 - self._open[::-1].index(tag) :]

    def handle_data(self, data: str) -> None:
        """Collect what can be read."""
        if "title" in self._open and "svg" not in self._open:
            self.title += data
        elif self._textarea:
            self.forms[-1].fields[self._textarea] += data.removeprefix("\r\n")  # as browsers do with the first
        else:
            self.text += data
        if self._link is not None and data.strip():
            self.links[data.strip()] = self._link

    def form(self, *, sends: str) -> Form:
        """Return the form that has a field called `sends`."""
        return next(form for form in self.forms if sends in form.fields)


class Visitor:
    """Goes from page to page."""

    def __init__(self, client: FlaskClient) -> None:
        """Start with no page."""
        self.client = client

    def open(self, path: str) -> Page:
        """Open a page, following redirects."""
        response = self.client.get(path, follow_redirects=True)
        return Page(response.status_code, response.request.full_path, response.text, dict(response.headers))

    def send(self, form: Form, **fields: str) -> Page:
        """Send a form with these fields changed, following redirects."""
        sent = form.fields | fields
        response = self.client.post(form.action, data=sent, follow_redirects=True)
        return Page(response.status_code, response.request.full_path, response.text, dict(response.headers))

    def add_project(self, name: str, **fields: str) -> Page:
        """Add a project the way people do."""
        return self.send(self.open("/projects").form(sends="name"), name=name, **fields)

    def add_member(self, name: str, **fields: str) -> Page:
        """Add a member the way people do."""
        return self.send(self.open("/members").form(sends="name"), name=name, **fields)

    def add_task(self, title: str, **fields: str) -> Page:
        """Add a task the way people do."""
        return self.send(self.open("/tasks/new").form(sends="title"), title=title, **fields)
