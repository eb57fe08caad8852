"""What does a person meet in the browser? Barriers that axe finds, what sticks out sideways, and colours.

BROWSER_PICTURES names a folder in which a picture of every page in every size and scheme is kept, to be looked at.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import ConsoleMessage, Page, Response

Scheme = Literal["light", "dark"]
PHONE, DESK = 360, 1440
SIGHTS: list[tuple[int, Scheme]] = [(PHONE, "light"), (PHONE, "dark"), (DESK, "light"), (DESK, "dark")]
OPPOSITE: list[tuple[int, Scheme]] = [(PHONE, "dark"), (DESK, "light")]
"""Two sights that have nothing in common."""

_SEEN = ("only non-text characters", "due to a pseudo element", "<text")
"""Signs such as →; the dots beside a timeline, which axe takes to be behind its words; words in the picture, see `contrast`."""

_COLOURS = {"runOnly": {"type": "rule", "values": ["color-contrast", "link-in-text-block"]}}
"""What axe has to look at once more when nothing but the colours has changed."""

_PICTURES = os.environ.get("BROWSER_PICTURES")


def faults(page: Page, picture: Path, sights: Sequence[tuple[int, Scheme]] = SIGHTS) -> list[str]:
    """Return what is wrong with the page that is open, narrow and wide, light and dark; of what is wrong there is a picture."""
    axe = pytest.importorskip("axe_playwright_python.base")
    page.evaluate(axe.AXE_SCRIPT)
    found, widths = [], set[int]()
    for width, scheme in sights:
        page.set_viewport_size({"width": width, "height": 900})
        page.emulate_media(color_scheme=scheme)
        seen = axe.AxeResults(
            page.evaluate(
                "rules => axe.run({...rules, resultTypes: ['violations', 'incomplete']})",
                _COLOURS if width in widths else {},
            )
        )
        widths.add(width)
        wrong = [seen.generate_report()] if seen.violations_count else []
        wrong += _unsure(seen.response["incomplete"])
        wider = page.evaluate("document.documentElement.scrollWidth - innerWidth")
        wrong += [f"{wider} px too wide"] if wider > 0 else []
        name = f"{picture.stem}-{scheme}-{width}"
        if wrong or _PICTURES:
            page.screenshot(path=Path(_PICTURES or picture.parent) / f"{name}.png", full_page=True)
        found += [f"{name}: {one}" for one in wrong]
    return found


def _unsure(incomplete: Iterable[dict[str, list[dict[str, object]]]]) -> Iterator[str]:
    """What axe leaves to a person, but for what persons have looked at."""
    for rule in incomplete:
        for node in rule["nodes"]:
            if not any(seen in f"{node['html']} {node['failureSummary']}" for seen in _SEEN):
                yield f"axe is not sure about {rule['id']}: {node['html']} {node['failureSummary']}"


def contrast(page: Page, ink: str, paper: str) -> float:
    """Return how well words filled like `ink` are read on a shape filled like `paper`, as WCAG counts; axe cannot tell in a picture."""
    bright, dim = sorted((_luminance(_fill(page, ink)), _luminance(_fill(page, paper))), reverse=True)
    return (bright + 0.05) / (dim + 0.05)


def _fill(page: Page, selector: str) -> list[float]:
    fill: str = page.locator(selector).first.evaluate("shape => getComputedStyle(shape).fill")
    return [int(part) / 255 for part in fill.removeprefix("rgb(").removesuffix(")").split(",")]


def _luminance(colour: list[float]) -> float:
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in colour]
    return sum(part * weight for part, weight in zip(linear, (0.2126, 0.7152, 0.0722), strict=True))


def colour(page: Page, x: float, y: float) -> str:
    """Return the colour that is really painted at a place of the page, such as #f5f3ee."""
    png = page.screenshot(clip={"x": x, "y": y, "width": 1, "height": 1}, full_page=True)
    at, data = 8, b""
    while at < len(png):  # length, kind, content, checksum
        (length,) = struct.unpack_from(">I", png, at)
        data += png[at + 8 : at + 8 + length] if png[at + 4 : at + 8] == b"IDAT" else b""
        at += length + 12
    return "#" + zlib.decompress(data)[1:4].hex()  # after the filter, which means nothing where there is one pixel


def listen(page: Page, complaints: list[str]) -> None:
    """Note what the console complains of, and whatever cannot be loaded; a page that a person asked for may be an error page."""

    def said(message: ConsoleMessage) -> None:
        if "Failed to load resource: the server responded with" not in message.text:  # `answered` knows more about that
            complaints.append(f"{page.url}: {message.text}")

    def answered(response: Response) -> None:
        if response.status >= 400 and not response.request.is_navigation_request():
            complaints.append(f"{page.url}: {response.status} {response.url}")

    page.on("console", said)
    page.on("response", answered)
