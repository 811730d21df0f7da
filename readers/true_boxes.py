"""True boxes as people write them, each read as it is meant or told by its place: x, y, width, height in pixels."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from common.errors import UserError, brief

SLACK = 2.0  # pixels by which a box may overshoot its image: annotators' tools round
_NAMES = (("x", "y", "w", "h"), ("x", "y", "width", "height"))
_WANTED = "it should be four numbers: x, y, width, height in pixels"


def read_box(where: str, entry: dict[str, Any]) -> list[float]:
    """The ``bbox`` of an entry: x, y, width, height.

    Four numbers, or texts of them, may stand in a list, in one text ("10 20 30 40"), or under their names x, y, w, h.

    Args:
        where: file and entry, for the error to name.
        entry: an expression or an annotation.

    Raises:
        UserError: it is missing, not four finite numbers, or empty.
    """
    given = entry.get("bbox")
    box = [_number(value) for value in _four(given)]
    if len(box) != 4 or not all(map(math.isfinite, box)):
        raise UserError(f"{where}: 'bbox' is {'missing' if given is None else brief(given)}; {_WANTED}")
    if box[2] <= 0 or box[3] <= 0:
        raise UserError(f"{where}: the box {brief(given)} is empty; it should be x, y, width, height in pixels")
    return box


def _four(given: Any) -> list[Any] | tuple[Any, ...]:
    if isinstance(given, str):
        return given.strip("[]() ").replace(",", " ").split()
    if isinstance(given, dict):
        return next(([given[name] for name in names] for names in _NAMES if given.keys() == set(names)), [])
    return given if isinstance(given, list | tuple) else []


def _number(value: Any) -> float:
    """A number or a text of one; NaN for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return math.nan
    try:
        return float(value)
    except (ValueError, OverflowError):
        return math.nan


def corners(boxes: np.ndarray) -> np.ndarray:
    """(N,4) x, y, width, height to (N,4) x1, y1, x2, y2 with both corners inside."""
    return np.concatenate((boxes[:, :2], boxes[:, :2] + boxes[:, 2:] - 1), axis=1)


def outside(boxes: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Which boxes lie outside their image by more than ``SLACK``.

    Args:
        boxes: (N,4) x, y, width, height in pixels.
        sizes: (N,2) width and height of each box's image, NaN where they are not known.

    Returns:
        (N,) bool.
    """
    before, beyond = boxes[:, :2] < -SLACK, boxes[:, :2] + boxes[:, 2:] > sizes + SLACK
    return (before | beyond).any(axis=1)
