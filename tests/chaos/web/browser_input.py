"""How does a person use a page? With a mouse, or with nothing but a keyboard: what a test does, it does with either."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING

import pytest

from tests.chaos.web.page_checks import OPPOSITE

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page


class Mouse:
    """Clicks."""

    def __init__(self, page: Page) -> None:
        """Use `page`."""
        self.page = page

    def press(self, target: Locator) -> None:
        """Press a button, follow a link."""
        target.click()

    def write(self, field: Locator, text: str) -> None:
        """Put `text` where something else may stand."""
        field.fill(text)

    def choose(self, select: Locator, label: str) -> None:
        """Choose from a list."""
        select.select_option(label)

    def pick(self, field: Locator, day: date) -> None:
        """Say a date."""
        field.fill(day.isoformat())


class Keyboard(Mouse):
    """Goes everywhere with Tab, and never touches the mouse."""

    def press(self, target: Locator) -> None:
        """Press a button, follow a link."""
        self._go(target)
        self.page.keyboard.press("Enter")

    def write(self, field: Locator, text: str) -> None:
        """Put `text` where something else may stand."""
        self._go(field)
        self.page.keyboard.press("ControlOrMeta+a")
        self.page.keyboard.type(text)

    def choose(self, select: Locator, label: str) -> None:
        """Choose from a list."""
        self._go(select)
        self.page.keyboard.type(label)
        assert select.evaluate("list => list.selectedOptions[0].label") == label

    def pick(self, field: Locator, day: date) -> None:
        """Say a date."""
        self._go(field)
        self.page.keyboard.type(f"{day:%m%d%Y}")  # the browser of the tests is American
        assert field.input_value() == day.isoformat()

    def _go(self, target: Locator, within: int = 120) -> None:
        """Press Tab until `target` has the focus, and shows that it has it."""
        wanted = target.element_handle()
        self.page.wait_for_load_state()  # before the style sheet is there the browser shows the focus in its own way
        for _ in range(within):
            focused, outline = wanted.evaluate(
                "element => [element === document.activeElement, getComputedStyle(element).outlineStyle]"
            )
            if focused:
                assert outline == "solid", f"{target} does not show that it has the focus"
                return
            self.page.keyboard.press("Tab")
        raise AssertionError(f"Tab does not lead to {target}")


HANDS = pytest.mark.parametrize("hand", [Mouse, Keyboard])
SIZES = pytest.mark.parametrize(("width", "scheme"), OPPOSITE)
