"""Pages as a browser shows them: nothing it complains of or asks for outside, no overflow on a phone, tables that sort.

Needs playwright (pip install playwright) and an installed Chromium; elsewhere it is skipped.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tiny_run

from report.facts import run_of
from report.page import of_run, of_several
from report.studies import studies_of

playwright = pytest.importorskip("playwright.sync_api")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    monkeypatch.chdir(tmp_path)
    runs = [run_of(tiny_run.search()), run_of(tiny_run.training())]
    tiny_run.study()
    texts = [*map(of_run, runs), of_several(runs, studies_of(Path("logs"), {"vgd"}))]
    for number, text in enumerate(texts):
        Path(f"{number}.html").write_text(text)
    return [tmp_path / f"{number}.html" for number in range(len(texts))]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1200, 390])
def test_nothing_is_wrong_and_nothing_overflows(browser: Any, pages: list[Path], width: int, scheme: str) -> None:
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page, said = context.new_page(), []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: said.append(request.url) if not request.url.startswith("file:") else None)
    for path in pages:
        page.goto(f"file://{path}")
        page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
        assert page.evaluate("document.documentElement.scrollWidth") == width
        light = page.evaluate("getComputedStyle(document.body).backgroundColor").removeprefix("rgb(")
        assert (int(light.split(",")[0]) > 128) == (scheme == "light")
    context.close()
    assert said == []


def test_a_table_sorts_by_a_number_from_the_keyboard(browser: Any, pages: list[Path]) -> None:
    page = browser.new_page()
    page.goto(f"file://{pages[0]}")
    button = page.locator("#time th button", has_text="seconds")
    values = "[...document.querySelectorAll('#time tbody tr')].map(row => +row.cells[1].dataset.value)"
    for order in (sorted([10.5, 4.25, 3.0], reverse=True), [3.0, 4.25, 10.5]):
        button.focus()
        page.keyboard.press("Enter")
        assert page.evaluate(values) == order
    page.close()
