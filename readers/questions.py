"""Questions about images in VQA's format, and what its other files have in common with theirs."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from common.errors import UserError
from common.files import read_json
from readers.entries import field


class Questions(NamedTuple):
    """The questions of one file, in its order."""

    path: Path
    ids: np.ndarray  # (Q,) int64
    images: np.ndarray  # (Q,) int64 image ids
    texts: list[str]
    source: str  # the data set's address as the file's head has it in info.url, "" where it has none


def read_questions(path: Path) -> Questions:
    """Read a file of questions in VQA's format.

    Raises:
        UserError: it is missing, malformed or empty, or a question id is in it twice.
    """
    what = "a file of VQA questions"
    content = read_json(path, what)
    ids, images, texts = [], [], []
    for number, entry in enumerate(_entries(path, content, "questions", what)):
        where = f"{path}, questions[{number}]"
        ids.append(field(where, entry, "question_id", int))
        images.append(field(where, entry, "image_id", int))
        texts.append(field(where, entry, "question", str))
    return Questions(path, unique_ids(path, "questions", ids), np.array(images, np.int64), texts, _source(content))


def read_entries(path: Path, key: str, what: str) -> list[Any]:
    """The list that a file in VQA's format has under ``key``; a file may also be that list alone.

    Raises:
        UserError: the file is missing, malformed or empty.
    """
    return _entries(path, read_json(path, what), key, what)


def _entries(path: Path, content: Any, key: str, what: str) -> list[Any]:
    entries = content.get(key) if isinstance(content, dict) else content
    if not isinstance(entries, list) or not entries:
        raise UserError(f"{path} has no {key}; {what} holds a list of them under {key!r}, or is that list")
    return entries


def _source(content: Any) -> str:
    info = content.get("info") if isinstance(content, dict) else None
    url = info.get("url") if isinstance(info, dict) else None
    return url if isinstance(url, str) else ""


def unique_ids(path: Path, key: str, ids: list[int]) -> np.ndarray:
    """(Q,) int64 the question ids of a file.

    Raises:
        UserError: one is there twice.
    """
    array = np.array(ids, np.int64)
    found, counts = np.unique(array, return_counts=True)
    if len(found) < len(array):
        twice = found[counts > 1][0]
        first, second = np.flatnonzero(array == twice)[:2]
        raise UserError(
            f"{path} has question_id {twice} twice, in {key}[{first}] and {key}[{second}]; keep one of them"
        )
    return array
