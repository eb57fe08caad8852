"""What does a person meet in the browser? Barriers that axe finds, what sticks out sideways, where Tab leads."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

WIDTHS = (360, 1440)
SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")


def faults(page: Page, picture: Path) -> list[str]:
    """Return what is wrong with the page that is open, and keep a picture of it."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    result = axe.Axe().run(page)
    wider = page.evaluate("document.documentElement.scrollWidth - innerWidth")
    page.screenshot(path=picture)
    barriers = [f"{picture.name}: {result.generate_report()}"] if result.violations_count else []
    return barriers + ([f"{picture.name}: {wider} px too wide"] if wider > 0 else [])


def press_to(page: Page, target: Locator, within: int = 60) -> None:
    """Press Tab until `target` has the focus."""
    for _ in range(within):
        if target.evaluate("element => element === document.activeElement"):
            return
        page.keyboard.press("Tab")
    raise AssertionError(f"Tab does not lead to {target}")
