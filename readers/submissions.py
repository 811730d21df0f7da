"""Submissions to VQA's evaluation server: files that answer every question once."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from common.errors import UserError
from common.files import read_json


def check_submission(path: Path, ids: np.ndarray) -> None:
    """Make sure that a file answers every question exactly once, with a text that is not empty.

    Raises:
        UserError: it does not.
    """
    entries = read_json(path, "a submission")
    said = [entry for entry in entries if isinstance(entry["answer"], str) and entry["answer"].strip()]
    answered = sorted(entry["question_id"] for entry in said)
    if len(answered) != len(entries) or answered != sorted(ids.tolist()):
        raise UserError(f"{path} does not answer each of the {len(ids)} questions once with a text; write it again")
