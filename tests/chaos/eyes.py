"""What does a person meet in the browser? Barriers that axe finds, what sticks out sideways, where Tab leads."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

Scheme = Literal["light", "dark"]
PHONE, DESK = 360, 1440
SIGHTS: list[tuple[int, Scheme]] = [(PHONE, "light"), (PHONE, "dark"), (DESK, "light"), (DESK, "dark")]


def faults(page: Page, picture: Path, sights: Sequence[tuple[int, Scheme]] = SIGHTS) -> list[str]:
    """Return what is wrong with the page that is open, narrow and wide, light and dark, and keep a picture of each."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    found = []
    for width, scheme in sights:
        page.set_viewport_size({"width": width, "height": 900})
        page.emulate_media(color_scheme=scheme)
        name = f"{picture.stem}-{scheme}-{width}"
        page.screenshot(path=picture.with_stem(name))
        result = axe.run(page)
        if result.violations_count:
            found.append(f"{name}: {result.generate_report()}")
        wider = page.evaluate("document.documentElement.scrollWidth - innerWidth")
        if wider > 0:
            found.append(f"{name}: {wider} px too wide")
    return found


def press_to(page: Page, target: Locator, within: int = 60) -> None:
    """Press Tab until `target` has the focus."""
    for _ in range(within):
        if target.evaluate("element => element === document.activeElement"):
            return
        page.keyboard.press("Tab")
    raise AssertionError(f"Tab does not lead to {target}")
