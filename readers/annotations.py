"""Annotations in VQA's format: what people answered to questions."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from common.errors import UserError, brief
from readers.entries import field, first_few, optional_text, whole_text
from readers.questions import Questions, read_entries, unique_ids


class Annotations(NamedTuple):
    """What people answered, in the order of the questions."""

    answers: list[list[str]]  # at least one a question
    most_common: list[str]
    question_types: list[str]  # "" where the file does not say
    answer_types: list[str]  # "" where the file does not say


class _Annotation(NamedTuple):
    question: int
    image: int | None
    answers: list[str]
    most_common: str
    question_type: str
    answer_type: str


def read_annotations(path: Path, questions: Questions) -> Annotations:
    """Read a file of annotations in VQA's format and put them in the order of the questions.

    Only ``question_id`` and ``answers`` have to be there. Without ``multiple_choice_answer`` the most common answer is
    counted; of several that are equally common it is the first given.

    Args:
        path: the file.
        questions: what the annotations answer; every question needs its annotation.

    Raises:
        UserError: the file is missing, malformed or empty, or does not fit the questions.
    """
    entries = read_entries(path, "annotations", "a file of VQA annotations")
    given = [_annotation(f"{path}, annotations[{number}]", entry) for number, entry in enumerate(entries)]
    ids = unique_ids(path, "annotations", [one.question for one in given])
    _check_questions(path, ids, questions)
    place = np.argsort(ids)[np.argsort(np.argsort(questions.ids))]
    ordered = [given[i] for i in place]
    _check_images(path, ordered, questions)
    return Annotations(
        [one.answers for one in ordered],
        [one.most_common for one in ordered],
        [one.question_type for one in ordered],
        [one.answer_type for one in ordered],
    )


def _annotation(where: str, entry: Any) -> _Annotation:
    question, answers = field(where, entry, "question_id", int), _answers(where, entry)
    image = None if entry.get("image_id") is None else field(where, entry, "image_id", int)
    names = ("multiple_choice_answer", "question_type", "answer_type")
    chosen, *kinds = (sys.intern(optional_text(where, entry, name)) for name in names)
    return _Annotation(question, image, answers, chosen if chosen.strip() else _most_common(answers), *kinds)


def _answers(where: str, entry: Any) -> list[str]:
    given = field(where, entry, "answers", list)
    if not given:
        raise UserError(
            f"{where}: 'answers' is empty; give at least one answer, or leave the question out of both files"
        )
    # A few thousand different answers make up millions of them.
    return [sys.intern(_answer(where, number, one)) for number, one in enumerate(given)]


def _answer(where: str, number: int, given: Any) -> str:
    text = given.get("answer") if isinstance(given, dict) else given
    if not isinstance(text, str):
        raise UserError(
            f"{where}: answers[{number}] is {brief(given)}; each of 'answers' is a text, or has a text 'answer'"
        )
    return whole_text(where, text)


def _most_common(answers: Sequence[str]) -> str:
    counts = Counter(answer for answer in answers if answer.strip())
    return max(counts, key=counts.__getitem__, default="")


def _check_questions(path: Path, ids: np.ndarray, questions: Questions) -> None:
    for one, other, where, lack in (
        (ids, questions.ids, path, f"have no question in {questions.path}"),
        (questions.ids, ids, questions.path, f"have no annotation in {path}"),
    ):
        alone = np.setdiff1d(one, other, assume_unique=True)
        if alone.size:
            raise UserError(
                f"{alone.size} question ids of {where} {lack}: {first_few(alone)}; the two files must fit together"
            )


def _check_images(path: Path, ordered: Sequence[_Annotation], questions: Questions) -> None:
    pairs = zip(ordered, questions.images.tolist(), strict=True)
    wrong = [(one.question, one.image, image) for one, image in pairs if one.image not in (None, image)]
    if wrong:
        question, here, there = wrong[0]
        raise UserError(
            f"the image_id of {len(wrong)} questions in {path} is not that in {questions.path}: question {question} "
            f"has {here} and {there}; the two files must fit together"
        )
