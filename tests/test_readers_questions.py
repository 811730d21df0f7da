"""Questions in VQA's format, as released and as people write them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from common.errors import UserError
from readers.questions import Questions, read_questions

ASKED = [
    {"question_id": 7, "image_id": 5, "question": "What is it?"},
    {"question_id": "3", "image_id": 4.0, "question": "Is it red?"},
]


def read(folder: Path, content: Any) -> Questions:
    (folder / "q.json").write_text(json.dumps(content))
    return read_questions(folder / "q.json")


@pytest.mark.parametrize(
    ("content", "source"),
    [
        ({"questions": ASKED}, ""),
        (ASKED, ""),
        ({"info": {"url": "http://visualqa.org"}, "questions": ASKED}, "http://visualqa.org"),
        ({"info": "mine", "questions": ASKED}, ""),
        ({"info": {"url": 5}, "questions": ASKED}, ""),
    ],
)
def test_forms_of_the_file(tmp_path: Path, content: Any, source: str) -> None:
    found = read(tmp_path, content)
    assert found.ids.tolist() == [7, 3] and found.images.tolist() == [5, 4] and found.source == source
    assert found.texts == ["What is it?", "Is it red?"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ([], "q.json has no questions; .* under 'questions', or is that list"),
        ({"annotations": ASKED}, "q.json has no questions"),
        (5, "q.json has no questions"),
        ([5], r"q.json, questions\[0\]: 'question_id' is missing"),
        ([ASKED[0] | {"image_id": "5.jpg"}], r"questions\[0\]: 'image_id' is missing or not a whole number"),
        ([ASKED[0], ASKED[1] | {"question": "so \ud83d"}], r"questions\[1\] holds half a character in 'so"),
        ([*ASKED, ASKED[0] | {"question_id": 7.0}], r"question_id 7 twice, in questions\[0\] and questions\[2\]"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, content: Any, said: str) -> None:
    with pytest.raises(UserError, match=said):
        read(tmp_path, content)
