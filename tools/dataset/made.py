"""What ``make dataset`` left word of in a data root: the task that the root was made for."""

from __future__ import annotations

from pathlib import Path

from common.errors import UserError
from common.files import read_json
from readers.feature_pack import DATASET
from tools.dataset.layouts import OWN


def made_for(root: Path) -> str | None:
    """The task that a root was made for, or None where no data set was made.

    Raises:
        UserError: what should say so does not.
    """
    path = root / DATASET
    if not path.exists():
        return None
    held = read_json(path, "what make dataset wrote")
    task = held.get("task") if isinstance(held, dict) else None
    if not isinstance(task, str) or task not in OWN:
        raise UserError(f"{path} names no task ({', '.join(OWN)}); name another root as DATA, or make it anew")
    return task
