"""Words on a sheet: lines that fit in every script, fonts that have the characters, and what no font has."""

from __future__ import annotations

import warnings
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest

from outcome.samples import Line, Prediction
from tools.lettering import Lettering, plain
from tools.sheet import draw_sheet

UNASSIGNED = "\u0378"  # a code point of no character, which no font has


@pytest.mark.parametrize(
    "text",
    [
        "what is " + "very " * 30 + "long?",
        "W" * 200,
        "图片里有多少个红色的大球站在蓝色方块的旁边" * 3,
        "ما هو لون الكرة الكبيرة اللامعة " * 4,
    ],
)
def test_lines_fit_and_hold_the_whole_text(text: str) -> None:
    lettering = Lettering([text], 200)
    lines = lettering.wrap(text, 2.0, 8.5, "bold")
    assert len(lines) > 2 and "".join(lines).replace(" ", "") == text.replace(" ", "")
    widths = [lettering.width(line, 8.5, "bold") for line in lines]
    assert max(widths) <= 2.0 and min(widths[:-1]) > 1.2


def test_words_are_kept_whole_where_they_fit_and_marks_with_what_they_mark() -> None:
    lettering = Lettering([], 200)
    assert lettering.wrap("one two", lettering.width("one t", 8), 8) == ["one", "two"]
    assert lettering.wrap("", 1.0, 8) == [""]
    voiced = "か\u3099"  # two code points, one sign
    assert lettering.wrap(2 * voiced, 0.2, 8) == [voiced, voiced]


def test_what_cannot_be_written_is_left_out() -> None:
    assert plain("a\x00\ud800 \n b\t") == "a b"


def test_a_second_font_comes_in_where_the_usual_one_lacks_a_character() -> None:
    common, rare = Lettering(["$x_1$ привет مرحبا"], 200), Lettering(["\u20e5"], 200)
    assert len(common.families) == 1 and common.note() is None
    # STIX comes with matplotlib too.
    assert len(rare.families) == 2 and rare.note() is None


def test_what_no_font_has_is_said_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shown = [Prediction(n, (100.0, 100.0), [], f"what {UNASSIGNED}?", [Line(UNASSIGNED, True)]) for n in range(2)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        draw_sheet(shown, {}, tmp_path / "sheet.png")
    said = capsys.readouterr()
    assert said.out.startswith("note: no installed font has some symbols (such as ") and said.out.count("\n") == 1
    assert said.err == ""


def test_dollars_and_underscores_are_letters_and_scores_are_explained(tmp_path: Path) -> None:
    def sheet(text: str, note: str) -> np.ndarray:
        shown = [Prediction(1, (100.0, 100.0), [], text, [Line("yes", True, note)])]
        return matplotlib.image.imread(draw_sheet(shown, {}, tmp_path / "sheet.png"))

    formula, letters = sheet("$\\badcommand{x$", "true: 3"), sheet("$x^2$ _", "true: 3")
    assert formula.shape == letters.shape and (formula != letters).any()
    assert len(sheet("x", "0.93")) > len(formula)  # a line more, which says what the number is
