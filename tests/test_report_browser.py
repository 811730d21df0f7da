"""Pages as a browser shows them: sound and narrow enough, tables that sort, pictures that load.

Needs playwright (pip install playwright) and an installed Chromium; elsewhere it is skipped. test_end_to_end.py and
test_evidence_run.py look at the pages of real runs in the same way.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import browser as chromium
import pytest
import tiny_run

from report.facts import run_of
from report.page import of_run, of_several, of_study
from report.studies import studies_of

pytestmark = pytest.mark.skipif(chromium.MISSING, reason="no playwright or no Chromium")


@pytest.fixture(scope="module")
def opened() -> Iterator[Any]:
    with chromium.browser() as started:
        yield started


@pytest.fixture
def pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    monkeypatch.chdir(tmp_path)
    runs = [run_of(tiny_run.search()), run_of(tiny_run.training())]
    tiny_run.study()
    studies = studies_of(Path("logs"), {"vgd"})
    texts = {
        "search": of_run(runs[0]),
        "training": of_run(runs[1]),
        "several": of_several(runs, studies),
        "study": of_study(studies[0], runs),
    }
    for name, text in texts.items():
        Path(f"{name}.html").write_text(text)
    return {name: tmp_path / f"{name}.html" for name in texts}


@pytest.mark.parametrize("name", ["search", "training", "several", "study"])
def test_nothing_is_wrong_and_nothing_overflows(opened: Any, pages: dict[str, Path], name: str) -> None:
    tables = {cell.table for cell in chromium.look(opened, pages[name])}
    assert {
        "search": {"summary", "time"},
        "training": {"summary", "time", "scores", "group", "confusions"},
        "several": {"scores", "comparisons"},
        "study": {"comparisons", "groups", "networks"},
    }[name] <= tables


def test_groups_with_four_baselines_are_uncut_and_beside_each_other_if_they_fit(
    opened: Any, pages: dict[str, Path]
) -> None:
    path = Path("logs/ckpts/result_test/details_trained.json")
    given = json.loads(path.read_text())
    for rows in given["testA"]["groups"].values():
        for row in rows:
            names = ("guessing", "largest region", "most central region", "words alone")
            row |= {"count": 1234, "baselines": dict.fromkeys(names, 12.34)}
    path.write_text(json.dumps(given).replace('"words"', '"words of the phrase"'))
    pages["training"].write_text(of_run(run_of(Path("logs/log/trained"))))
    page = opened.new_page(viewport={"width": 1200, "height": 900})
    page.goto(f"file://{pages['training']}")
    around = "[...document.querySelectorAll('.tables > .scroll')]"
    rows = []
    for zoom in (2, 0.4, 1):  # whatever fonts there are, large enough, small enough, and as it is
        page.evaluate(f"{around}.forEach(one => one.style.zoom = {zoom})")
        rows.append(page.evaluate(f"new Set({around}.map(one => one.getBoundingClientRect().top)).size"))
    assert rows[:2] == [2, 1]
    assert page.evaluate(f"{around}.map(one => one.scrollWidth - one.clientWidth)") == [0, 0]
    page.close()


def test_a_table_sorts_by_a_number_from_the_keyboard(opened: Any, pages: dict[str, Path]) -> None:
    page = opened.new_page()
    page.goto(f"file://{pages['search']}")
    button = page.locator("#time th button", has_text="seconds")
    values = "[...document.querySelectorAll('#time tbody tr')].map(row => +row.cells[1].dataset.value)"
    for order in (sorted([10.5, 4.25, 3.0], reverse=True), [3.0, 4.25, 10.5]):
        button.focus()
        page.keyboard.press("Enter")
        assert page.evaluate(values) == order
    page.close()


def test_pictures_are_shown_as_large_as_their_canvas(opened: Any, pages: dict[str, Path]) -> None:
    page = opened.new_page()
    page.goto(f"file://{pages['training']}")
    size = page.evaluate("(() => {const b = document.querySelector('image').getBBox(); return [b.width, b.height]})()")
    loaded = """async () => {
      const picture = new Image();
      picture.src = document.querySelector('image').getAttribute('href');
      await picture.decode();
      return [picture.naturalWidth, picture.naturalHeight];
    }"""
    assert size == page.evaluate(loaded) == [64, 48]
    page.close()


def test_a_table_is_copied_in_lines_and_tabs(opened: Any, pages: dict[str, Path]) -> None:
    page = opened.new_page()
    page.goto(f"file://{pages['search']}")
    page.evaluate("() => { navigator.clipboard.writeText = async text => { window.copied = text; }; }")
    page.get_by_role("button", name="copy the table Time").click()
    assert page.evaluate("window.copied").splitlines()[:2] == ["part\tseconds\tpercent", "weights\t10.50\t59.2"]
    page.evaluate("() => { navigator.clipboard.writeText = () => Promise.reject(); }")
    page.get_by_role("button", name="copy the table Time").click()
    assert "weights" in page.evaluate("getSelection().toString()")
    page.close()
