"""What only the long tests of the application need: its sample, and a browser."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest

from tests.chaos.web.page_checks import DESK, Scheme, listen
from tests.project_tree import Tree
from tests.web.replica import Replica
from tests.web.sample import _sample, _sample_workshop, head, project, workshop  # noqa: F401

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """One chromium for all tests in a browser."""
    playwright = pytest.importorskip("playwright.sync_api", reason="requirements-browser.txt is not installed")
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("there is no chromium")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def opened(request: pytest.FixtureRequest, browser: Browser) -> Iterator[Callable[..., Page]]:
    """Start the application with these settings and open a window on it; what a window complains of fails the test.

    The application is the test's `workshop` if it has one, else its `project`.
    """
    tree: Tree = request.getfixturevalue("workshop" if "workshop" in request.fixturenames else "project")
    complaints: list[str] = []

    def open_(*, width: int = DESK, scheme: Scheme = "light", script: bool = False, **variables: str) -> Page:
        replica = Replica(tree, {}, **{"APP_ENV": "development", **variables})
        window = browser.new_context(
            base_url=replica.address,
            viewport={"width": width, "height": 900},
            color_scheme=scheme,
            java_script_enabled=script,
            reduced_motion="reduce",  # a colour that is still on its way has no contrast to speak of
        )
        page = window.new_page()
        listen(page, complaints)
        page.set_default_timeout(10_000)
        return page

    yield open_
    for window in browser.contexts:
        window.close()
    assert not complaints
