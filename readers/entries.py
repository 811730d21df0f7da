"""What readers of users' files share: a field that is of its kind, and the first few of many for an error to name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from common.errors import UserError

KINDS = {int: "a whole number", str: "a text", list: "a list"}
NAMED = 5


def field(where: str, entry: Any, name: str, kind: type) -> Any:
    """The value of a field, which is of this kind.

    Args:
        where: file and entry, for the error to name: "train.json, entry 3".
        entry: what should be an object with that field.
        name: the field.
        kind: one of ``KINDS``; true and false are no whole numbers.

    Raises:
        UserError: it is missing or of another kind.
    """
    value = entry.get(name) if isinstance(entry, dict) else None
    if not isinstance(value, kind) or isinstance(value, bool):
        raise UserError(f"{where}: {name!r} is missing or not {KINDS[kind]}")
    return value


def first_few(ids: Sequence[int] | np.ndarray) -> str:
    """The first five of some ids: ``"1, 2, 3, 4, 5, ..."``."""
    return ", ".join(map(str, ids[:NAMED])) + (", ..." if len(ids) > NAMED else "")
