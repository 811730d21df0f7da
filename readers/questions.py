"""Files in VQA's format: questions, what people answered to them, and submissions to the evaluation server."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from common.errors import UserError
from common.files import read_json
from readers.entries import field, first_few
from readers.tokens import tokenise


class Questions(NamedTuple):
    """The questions of one file, in its order."""

    path: Path
    ids: np.ndarray  # (Q,) int64
    images: np.ndarray  # (Q,) int64 image ids
    tokens: list[list[str]]


class Annotations(NamedTuple):
    """What people answered, in the order of the questions."""

    answers: list[list[str]]
    most_common: list[str]
    question_types: list[str]
    answer_types: list[str]


def read_questions(path: Path) -> Questions:
    """Read a file of questions in VQA's format.

    Raises:
        UserError: it is missing, malformed or empty, or a question id is in it twice.
    """
    fields = {"question_id": int, "image_id": int, "question": str}
    entries = _entries(path, "questions", fields, "a file of VQA questions")
    ids = _ids(path, "questions", entries)
    images = np.array([entry["image_id"] for entry in entries], np.int64)
    return Questions(path, ids, images, [tokenise(entry["question"]) for entry in entries])


def read_annotations(path: Path, questions: Questions, kinds: bool = True) -> Annotations:
    """Read a file of annotations in VQA's format and put them in the order of the questions.

    Args:
        path: the file.
        questions: what the annotations answer; every question needs its annotation.
        kinds: read the most common answer and the two types, which must be there; without it they are all "".

    Raises:
        UserError: the file is missing, malformed or empty, or does not fit the questions.
    """
    extra = ("multiple_choice_answer", "question_type", "answer_type")
    fields = {"question_id": int, "answers": list, **dict.fromkeys(extra if kinds else (), str)}
    entries = _entries(path, "annotations", fields, "a file of VQA annotations")
    ids = _ids(path, "annotations", entries)
    for one, other, where, lack in (
        (ids, questions.ids, path, f"have no question in {questions.path}"),
        (questions.ids, ids, questions.path, f"have no annotation in {path}"),
    ):
        alone = np.setdiff1d(one, other, assume_unique=True)
        if alone.size:
            raise UserError(
                f"{alone.size} question ids of {where} {lack}: {first_few(alone)}; the two files must fit together"
            )
    place = np.argsort(ids)[np.argsort(np.argsort(questions.ids))]
    answers = [_answers(path, number, entry["answers"]) for number, entry in enumerate(entries)]
    ordered = [entries[i] for i in place]
    texts = ([sys.intern(entry[name]) if kinds else "" for entry in ordered] for name in extra)
    return Annotations([answers[i] for i in place], *texts)


def _entries(path: Path, key: str, fields: Mapping[str, type], what: str) -> list[dict[str, Any]]:
    content = read_json(path, what)
    entries = content.get(key) if isinstance(content, dict) else None
    if not isinstance(entries, list) or not entries:
        raise UserError(f"{path} has no {key}; {what} holds a list of them under {key!r}")
    for number, entry in enumerate(entries):
        where = f"{path}, {key}[{number}]"
        for name, kind in fields.items():
            value = field(where, entry, name, kind)
            entry[name] = value
    return entries


def _ids(path: Path, key: str, entries: Sequence[Mapping[str, Any]]) -> np.ndarray:
    ids = np.array([entry["question_id"] for entry in entries], np.int64)
    found, counts = np.unique(ids, return_counts=True)
    if len(found) < len(ids):
        twice = found[counts > 1][0]
        first, second = np.flatnonzero(ids == twice)[:2]
        raise UserError(
            f"{path} has question_id {twice} twice, in {key}[{first}] and {key}[{second}]; keep one of them"
        )
    return ids


def _answers(path: Path, number: int, given: Sequence[Any]) -> list[str]:
    try:
        # A few thousand different answers make up millions of them.
        answers = [sys.intern(answer["answer"]) for answer in given]
    except (TypeError, KeyError) as error:
        raise UserError(f"{path}, annotations[{number}]: every one of 'answers' needs a text 'answer'") from error
    if not answers:
        raise UserError(f"{path}, annotations[{number}]: 'answers' is empty; somebody must have answered")
    return answers


def check_submission(path: Path, ids: np.ndarray) -> None:
    """Make sure that a file answers every question exactly once, with a text.

    Raises:
        UserError: it does not.
    """
    entries = read_json(path, "a submission")
    answered = sorted(entry["question_id"] for entry in entries if isinstance(entry["answer"], str))
    if len(answered) != len(entries) or answered != sorted(ids.tolist()):
        raise UserError(f"{path} does not answer each of the {len(ids)} questions once with a text; write it again")
