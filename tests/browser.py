"""Pages in a headless Chromium: nothing it complains of or asks for outside, no overflow, and what they show.

Needs playwright (the extra ``browser``) and an installed Chromium; elsewhere nothing is opened.
"""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

try:
    from playwright.sync_api import sync_playwright
except ImportError:
    sync_playwright = None

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
MISSING = sync_playwright is None or CHROMIUM is None
LOOKS = [(width, scheme) for width in (1200, 390) for scheme in ("light", "dark")]
CELLS = """[...document.querySelectorAll('[data-value]')].map(cell => {
  const own = [...cell.childNodes].filter(node => node.nodeType === Node.TEXT_NODE);
  const table = cell.closest('table');
  return [table.id || table.className, Number(cell.dataset.value), own.map(node => node.textContent).join('')];
})"""


class Cell(NamedTuple):
    """A number of a table: the table's name, the number and what is shown of it."""

    table: str
    value: float
    text: str


@contextlib.contextmanager
def browser() -> Iterator[Any]:
    """A Chromium of one's own."""
    with sync_playwright() as started:
        opened = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


def look(opened: Any, path: Path) -> list[Cell]:
    """Look at a page as wide as a screen and as a phone, by day and by night; its numbers."""
    cells: list[Cell] = []
    for width, scheme in LOOKS:
        context = opened.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        page, said = context.new_page(), []
        page.on("console", lambda message, said=said: said.append(message.text))
        page.on("pageerror", lambda error, said=said: said.append(str(error)))
        page.on("request", lambda one, said=said: said.append(one.url) if one.url[:5] not in ("file:", "data:") else 0)
        page.goto(f"file://{path.resolve()}")
        page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
        assert page.evaluate("document.documentElement.scrollWidth") == width
        light = page.evaluate("getComputedStyle(document.body).backgroundColor").removeprefix("rgb(")
        assert (int(light.split(",")[0]) > 128) == (scheme == "light")
        cells = [Cell(*cell) for cell in page.evaluate(CELLS)]
        context.close()
        assert said == []
    for cell in cells:
        shown, *margin = cell.text.replace(",", "").replace("%", "").split("±")
        # Beside its margin a number has as many digits as that.
        least = 0.501 * 10.0 ** -len(shown.strip().partition(".")[2]) if margin else 0.05
        assert abs(float(shown) - cell.value) <= max(least, 0.006 * abs(cell.value)), cell
    return cells


def check_pages(*paths: Path) -> dict[Path, list[Cell]]:
    """Look at pages where there is a browser; their numbers."""
    if MISSING:
        return {}
    with browser() as opened:
        return {path: look(opened, path) for path in paths}


def numbers_of(*paths: Path) -> set[float]:
    """Every number in some JSON files."""
    return {number for path in paths for number in _leaves(json.loads(path.read_text()))}


def _leaves(value: Any) -> Iterator[float]:
    if isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _leaves(part)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield float(value)
