"""Annotations in VQA's format: what has to be there, what may be absent, and that they fit their questions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from common.errors import UserError
from readers.annotations import Annotations, read_annotations
from readers.questions import Questions

QUESTIONS = Questions(Path("q.json"), np.array([7, 3]), np.array([5, 4]), [["what"], ["which"]], "")


def annotation(question: Any, *answers: Any, **more: Any) -> dict[str, Any]:
    return {"question_id": question, "answers": list(answers), **more}


def read(folder: Path, *annotations: Any, key: str | None = "annotations") -> Annotations:
    (folder / "a.json").write_text(json.dumps({key: annotations} if key else annotations))
    return read_annotations(folder / "a.json", QUESTIONS)


def test_they_stand_in_the_order_of_the_questions(tmp_path: Path) -> None:
    told = {"multiple_choice_answer": "red", "question_type": "which", "answer_type": "other", "image_id": "4"}
    found = read(
        tmp_path, annotation("3", {"answer": "red"}, **told), annotation(7.0, {"answer": "dog"}, image_id=None)
    )
    assert found == ([["dog"], ["red"]], ["dog", "red"], ["", "which"], ["", "other"])


def test_plain_texts_and_a_bare_list_are_read_as_meant(tmp_path: Path) -> None:
    found = read(tmp_path, annotation(7, "dog", {"answer": "cat"}), annotation(3, "red"), key=None)
    assert found.answers == [["dog", "cat"], ["red"]]


@pytest.mark.parametrize(
    ("answers", "given", "most_common"),
    [
        (["cat", "dog", "dog"], {}, "dog"),
        (["cat", "dog", "dog", "cat"], {}, "cat"),  # the first given of two
        (["", " ", "", "cat"], {}, "cat"),
        ([""], {}, ""),
        (["cat"], {"multiple_choice_answer": "dog"}, "dog"),
        (["cat"], {"multiple_choice_answer": None}, "cat"),
        (["cat"], {"multiple_choice_answer": " "}, "cat"),
    ],
)
def test_the_most_common_answer_is_counted_where_it_is_not_given(
    tmp_path: Path, answers: list[str], given: dict[str, Any], most_common: str
) -> None:
    assert read(tmp_path, annotation(7, *answers, **given), annotation(3, "red")).most_common == [most_common, "red"]


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"question_id": 3}, r"a.json, annotations\[1\]: 'answers' is missing or not a list"),
        ({"question_id": 3, "answers": "red"}, r"annotations\[1\]: 'answers' is .* not a list \(it is 'red'\)"),
        (annotation(3), r"annotations\[1\]: 'answers' is empty; give at least one answer"),
        (annotation(3, "red", 2), r"annotations\[1\]: answers\[1\] is 2; each of 'answers' is a text"),
        (annotation(3, {"answer": None}), r"annotations\[1\]: answers\[0\] is {'answer': None}; "),
        (annotation(3, "re\ud83d"), r"annotations\[1\] holds half a character in 're"),
        (annotation(3, "red", answer_type="\ud83d"), r"annotations\[1\] holds half a character"),
        (annotation(3, "red", multiple_choice_answer=2), "'multiple_choice_answer' is missing or not a text"),
        (
            annotation(3, "red", image_id=9),
            "the image_id of 1 questions in .* is not that in q.json: question 3 has 9 and 4;",
        ),
        (annotation(7, "red"), r"question_id 7 twice, in annotations\[0\] and annotations\[1\]"),
        (annotation(8, "red"), "1 question ids of .*a.json have no question in q.json: 8;"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path: Path, entry: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        read(tmp_path, annotation(7, "dog"), entry)


def test_every_question_needs_an_answer(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="1 question ids of q.json have no annotation in .*a.json: 3;"):
        read(tmp_path, annotation(7, "dog"))
    with pytest.raises(UserError, match="a.json has no annotations; a file of VQA annotations holds a list of them"):
        read(tmp_path, annotation(7, "dog"), key="questions")
