"""What is said of a data set's questions and answers: where it is true, and nowhere else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from readers.questions import Questions
from tasks.answers import AnswerVocabulary
from tasks.vqa_notes import annotators, coverage, incomplete

VOCABULARY = AnswerVocabulary(["2", "a", "yes"])


def test_ten_answers_are_nothing_to_tell() -> None:
    assert annotators({"train": [["yes"] * 10] * 3, "val": [["no"] * 10]}) == annotators({}) == []
    assert annotators({"train": [["yes"]] * 3, "val": [["no"]]}) == []  # right or wrong, as one expects
    assert annotators({"train": [["yes"] * 3] * 3}) and annotators({"train": [["yes"]], "val": [["no"] * 10]})


def test_other_numbers_of_answers_are_counted() -> None:
    (note,) = annotators({"train": [["yes"] * 10] * 1200, "val": [["no"], ["no"] * 3, ["no"] * 3]})
    assert "not all questions of train and val have 10 answers" in note
    assert "(questions with 10 answers: 1,200, 3 answers: 2, 1 answer: 1);" in note and "min(3, n - 1)" in note
    (note,) = annotators({"val": [["no"] * n for n in range(1, 30)]})
    assert note.count("answers: 1") < 6 and ", ...)" in note


@pytest.mark.parametrize(("known", "told"), [(0, True), (9, True), (10, False), (20, False)])
def test_less_than_half_answerable_is_told(known: int, told: bool) -> None:
    given = [["Yes."] * 3] * known + [["what"] * 3] * (20 - known)
    notes = coverage({"val": given}, VOCABULARY, 8)
    said = f"the known answers (3) cover {5 * known} % of val's questions"
    assert len(notes) == told and all(said in note and "lower data.answer_min" in note for note in notes)


def test_one_known_answer_makes_a_question_answerable() -> None:
    assert coverage({"val": [["what", "who", "yes"]]}, VOCABULARY, 8) == []


def test_agreement_on_another_spelling_is_told() -> None:
    right, lost = ["yes"] * 10, ["Two"] * 10
    (note,) = coverage({"val": [right, lost, lost]}, VOCABULARY, 8)
    assert "2 of val's 3 questions score 0 whatever is answered" in note and "'Two'" in note and "write '2'" in note
    assert coverage({"val": [right] * 9 + [lost]}, VOCABULARY, 8) == []
    assert coverage({"val": [["Two"], ["A"] * 10, ["Two"] * 9 + ["2"]]}, VOCABULARY, 8) == []


def asked(count: int, source: str = "", step: int = 1000) -> Questions:
    images = np.arange(1, count + 1)
    return Questions(Path("test.json"), step * images + 1, images, [], source)


@pytest.mark.parametrize(
    ("questions", "beside_vqa", "told"),
    [
        (asked(5, "http://visualqa.org"), False, True),
        (asked(5), True, True),
        (asked(9, "https://visualqa.org/"), False, True),  # more than all are refused as well
        (asked(8, "http://visualqa.org"), True, False),  # complete
        (asked(5), False, False),  # a data set of one's own
        (asked(5, "http://my.set"), False, False),
        (asked(5, "http://visualqa.org", step=1), True, False),  # a copied head over other numbers
    ],
)
def test_part_of_vqa_s_test_is_told(questions: Questions, beside_vqa: bool, told: bool) -> None:
    notes = incomplete("test", questions, 8, beside_vqa)
    said = f"warning: test has {len(questions.ids)} questions, VQA v2 has 8: the evaluation server refuses"
    assert len(notes) == told and all(said in note for note in notes)
