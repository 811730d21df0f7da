"""Arithmetic on boxes, in C where the extension was built and in NumPy where not; the numbers are the same.

Boxes are (x1, y1, x2, y2) in pixels with both corners inside, so that a side is x2 - x1 + 1. Offsets follow Girshick
et al. (arXiv 1311.2524, appendix C).
"""

from __future__ import annotations

import warnings

import numpy as np

try:
    from readers import _boxes
except ImportError:
    _boxes = None
    warnings.warn("the box extension is not built, NumPy does its work; `make clean setup` builds it", stacklevel=2)


def overlaps(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Intersection over union of every pair.

    Args:
        boxes: (N,4).
        others: (K,4).

    Returns:
        (N,K) float64 in [0, 1].
    """
    boxes, others = _float(boxes), _float(others)
    return overlaps_numpy(boxes, others) if _boxes is None else _boxes.overlaps(boxes, others)


def encode(boxes: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Offsets that turn boxes into targets.

    Args:
        boxes: (N,4).
        targets: (N,4).

    Returns:
        (N,4) float64: shift of the centre in sides of the box, logarithm of the ratio of the sides.
    """
    boxes, targets = _float(boxes), _float(targets)
    return encode_numpy(boxes, targets) if _boxes is None else _boxes.encode(boxes, targets)


def decode(boxes: np.ndarray, offsets: np.ndarray, image_hw: np.ndarray) -> np.ndarray:
    """Boxes moved by offsets, and clipped to their image.

    Args:
        boxes: (N,4).
        offsets: (N,4) as ``encode`` gives them.
        image_hw: (N,2) height and width in pixels.

    Returns:
        (N,4) float64.
    """
    boxes, offsets, image_hw = _float(boxes), _float(offsets), _float(image_hw)
    return decode_numpy(boxes, offsets, image_hw) if _boxes is None else _boxes.decode(boxes, offsets, image_hw)


def _float(values: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(values, dtype=np.float64)


def overlaps_numpy(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """``overlaps`` in NumPy."""
    low = np.maximum(boxes[:, None, :2], others[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    shared = np.clip(high - low + 1, 0, None).prod(-1)
    area, other = ((part[:, 2:] - part[:, :2] + 1).prod(-1) for part in (boxes, others))
    return shared / (area[:, None] + other[None] - shared)


def encode_numpy(boxes: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """``encode`` in NumPy."""
    side, target = boxes[:, 2:] - boxes[:, :2] + 1, targets[:, 2:] - targets[:, :2] + 1
    shift = (targets[:, :2] + target / 2) - (boxes[:, :2] + side / 2)
    return np.concatenate((shift / side, np.log(target / side)), axis=1)


def decode_numpy(boxes: np.ndarray, offsets: np.ndarray, image_hw: np.ndarray) -> np.ndarray:
    """``decode`` in NumPy."""
    side = boxes[:, 2:] - boxes[:, :2] + 1
    centre = boxes[:, :2] + side / 2 + offsets[:, :2] * side
    grown = np.exp(offsets[:, 2:]) * side
    moved = np.concatenate((centre - grown / 2, centre + grown / 2 - 1), axis=1)
    return np.clip(moved, 0, np.tile(image_hw[:, ::-1] - 1, 2))
