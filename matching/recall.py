"""Retrieval metrics from a matrix of scores: recall@K, median and mean rank, both directions, named protocols."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from common.errors import UserError

RECALLS = (1, 5, 10)
PER_IMAGE = 5  # captions, in every published protocol


class Protocol(NamedTuple):
    """A published way of evaluating: pools of so many images, so many times, the metrics averaged."""

    images: int
    folds: int


PROTOCOLS = {"flickr-1k": Protocol(1000, 1), "coco-1k": Protocol(1000, 5), "coco-5k": Protocol(5000, 1)}


def ranks(scores: np.ndarray, image_of: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """1-based ranks of the right answers; equal scores count against them, so a constant scorer gains nothing, and so
    does one whose scores are NaN.

    Args:
        scores: (I,C) of every image with every caption, higher matches better.
        image_of: (C,) the image row each caption belongs to.

    Returns:
        (I,) rank of each image's best own caption, and (C,) rank of each caption's own image.
    """
    own = image_of[None] == np.arange(len(scores))[:, None]
    best_own = np.where(own, scores, -np.inf).max(1, keepdims=True)
    # Not "greater or equal", which NaN never is.
    to_text = 1 + (~(scores < best_own) & ~own).sum(1)
    right = scores[image_of, np.arange(len(image_of))]
    to_image = (~(scores < right[None])).sum(0)
    return to_text, to_image


def metrics(scores: np.ndarray, image_of: np.ndarray) -> dict[str, float]:
    """Recalls in percent, median and mean rank for image-to-text (i2t) and text-to-image (t2i), and ``rsum``."""
    found: dict[str, float] = {}
    for way, rank in zip(("i2t", "t2i"), ranks(scores, image_of), strict=True):
        for k in RECALLS:
            found[f"{way}_r{k}"] = 100 * float(np.mean(rank <= k))
        found[f"{way}_median"] = float(np.median(rank))
        found[f"{way}_mean"] = float(np.mean(rank))
    found["rsum"] = sum(found[f"{way}_r{k}"] for way in ("i2t", "t2i") for k in RECALLS)
    return found


def chance(counts: np.ndarray) -> float:
    """The expected recall sum of random scores; ``counts`` (I,) captions of each image."""
    images, captions = len(counts), counts.sum()
    tried = np.arange(max(RECALLS))
    # Of the first k captions none is an image's own with the probability that k draws without replacement all miss.
    missed = np.clip(1 - counts[:, None] / np.maximum(captions - tried, 1), 0, 1).cumprod(1)
    to_text = sum(1 - missed[:, k - 1].mean() for k in RECALLS)
    return 100 * float(to_text + sum(min(1.0, k / images) for k in RECALLS))


def folds(protocol: str | None, counts: np.ndarray) -> list[np.ndarray]:
    """Rows of the images of every fold; without a protocol all images are one pool.

    Args:
        protocol: one of ``PROTOCOLS``, or None.
        counts: (I,) captions of each image.

    Raises:
        UserError: the protocol is unknown, or the split has not the size it is defined for.
    """
    images = len(counts)
    if protocol is None:
        return [np.arange(images)]
    if protocol not in PROTOCOLS:
        raise UserError(f"data.protocol={protocol!r} is unknown; choose one of {', '.join(PROTOCOLS)}")
    size, count = PROTOCOLS[protocol]
    if images != size * count or (counts != PER_IMAGE).any():
        raise UserError(
            f"protocol {protocol} is defined for {size * count} images with {PER_IMAGE} captions each, this split has "
            f"{images} with {counts.min()} to {counts.max()}; leave data.protocol out or use the full split"
        )
    return list(np.arange(images).reshape(count, size))


def positions(values: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Where each wanted value stands in ``values``."""
    order = np.argsort(values)
    return order[np.searchsorted(values, wanted, sorter=order)]
