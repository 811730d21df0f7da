"""Submissions: complete ones pass, all others are refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from common.errors import UserError
from readers.submissions import check_submission

IDS = np.array([7, 8])


def check(folder: Path, *answers: tuple[int, Any]) -> None:
    entries = [{"question_id": question, "answer": answer} for question, answer in answers]
    (folder / "result.json").write_text(json.dumps(entries))
    check_submission(folder / "result.json", IDS)


def test_every_question_once_in_any_order(tmp_path: Path) -> None:
    check(tmp_path, (8, "a"), (7, "no"))


@pytest.mark.parametrize(
    "answers",
    [
        [(7, "no")],
        [(7, "no"), (7, "no")],
        [(7, "no"), (8, 2)],
        [(7, "no"), (8, " ")],
        [(7, "no"), (8, "no"), (9, "no")],
    ],
)
def test_others_are_refused(tmp_path: Path, answers: list[tuple[int, Any]]) -> None:
    with pytest.raises(UserError, match="result.json does not answer each of the 2 questions once with a text"):
        check(tmp_path, *answers)
