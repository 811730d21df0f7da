"""Retrieval metrics from a matrix of scores: recall@K, median and mean rank, both directions, named protocols."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from common.errors import UserError

RECALLS = (1, 5, 10)
PER_IMAGE = 5  # captions, in every published protocol
BEST = 3  # captions of an image that are remembered


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


def metrics(to_text: np.ndarray, to_image: np.ndarray) -> dict[str, float]:
    """Recalls in percent, median and mean rank for image-to-text (i2t) and text-to-image (t2i), and ``rsum``.

    Args:
        to_text: (I,) rank of each image's best own caption, as ``ranks`` gives it.
        to_image: (C,) rank of each caption's own image.
    """
    found: dict[str, float] = {}
    for way, rank in (("i2t", to_text), ("t2i", to_image)):
        for k in RECALLS:
            found[f"{way}_r{k}"] = 100 * float(np.mean(rank <= k))
        found[f"{way}_median"] = float(np.median(rank))
        found[f"{way}_mean"] = float(np.mean(rank))
    found["rsum"] = sum(found[f"{way}_r{k}"] for way in ("i2t", "t2i") for k in RECALLS)
    return found


def chance_within(counts: np.ndarray) -> dict[str, np.ndarray]:
    """The share of ranks within 1, 2, ... that random scores give, each way; ``counts`` (I,) captions of each image."""
    images, captions = len(counts), int(counts.sum())
    several, images_with = np.unique(counts, return_counts=True)
    # Of the first k captions none is an image's own with the probability that k draws without replacement all miss.
    missed = np.clip(1 - several[:, None] / (captions - np.arange(captions)), 0, 1).cumprod(1)
    return {"i2t": 1 - images_with @ missed / images, "t2i": np.arange(1, images + 1) / images}


def chance(counts: np.ndarray) -> dict[str, float]:
    """The metrics that random scores are expected to give; of the median that of all ranks there can be."""
    found: dict[str, float] = {}
    for way, within in chance_within(counts).items():
        found |= {f"{way}_r{k}": 100 * float(within[min(k, len(within)) - 1]) for k in RECALLS}
        found |= {f"{way}_median": float(1 + (within < 0.5).sum()), f"{way}_mean": float(1 + (1 - within).sum())}
    return {**found, "rsum": sum(found[f"{way}_r{k}"] for way in ("i2t", "t2i") for k in RECALLS)}


def within(rank: np.ndarray, most: int) -> np.ndarray:
    """(most,) percent of ranks within 1, 2, ..."""
    return 100 * (rank[:, None] <= np.arange(1, most + 1)).mean(0)


class Piece(NamedTuple):
    """What a pool's scores say of each of its C captions, and of its images at the first caption of each."""

    captions: np.ndarray  # (C,) their numbers in the split
    to_image: np.ndarray  # (C,) rank of its own image
    to_text: np.ndarray  # (C,) rank of the image's best own caption, elsewhere NaN
    certainty: np.ndarray  # (C,) probability of the image that matches best
    margin: np.ndarray  # (C,) logits between the image's best own caption and the best other, elsewhere NaN
    best: np.ndarray  # (C,k) numbers of the captions that match its image best, the best first

    @property
    def ranks(self) -> tuple[np.ndarray, np.ndarray]:
        """(I,) of each image's best own caption, and (C,) of each caption's own image."""
        return self.to_text[~np.isnan(self.to_text)], self.to_image

    @classmethod
    def of(cls, scores: np.ndarray, image_of: np.ndarray, captions: np.ndarray) -> Piece:
        """Of (I,C) logits, the (C,) image row of every caption, and the captions' numbers."""
        to_text, to_image = ranks(scores, image_of)
        own = image_of[None] == np.arange(len(scores))[:, None]
        apart = np.where(own, scores, -np.inf).max(1) - np.where(own, -np.inf, scores).max(1)
        _, first = np.unique(image_of, return_index=True)
        of_images = np.full((2, len(captions)), np.nan)
        of_images[:, first] = to_text, apart
        certainty = 1 / (1 + np.exp(-scores.max(0).astype(np.float64)))
        best = captions[highest(scores, BEST)][image_of]
        return cls(captions, to_image.astype(float), of_images[0], certainty, of_images[1], best)

    @classmethod
    def of_all(cls, pieces: Sequence[Piece]) -> Piece:
        """Several pools as one, in the order of the split."""
        whole = cls(*map(np.concatenate, zip(*pieces, strict=True)))
        order = np.argsort(whole.captions)
        return cls(*(part[order] for part in whole))


def highest(scores: np.ndarray, count: int) -> np.ndarray:
    """(I,count) columns of the highest of (I,C) scores, the highest first; all of them where there are fewer."""
    found = []
    for row in scores:  # one at a time: the places of all would take twice the memory of the scores
        some = np.argpartition(-row, min(count, len(row)) - 1)[:count]
        found.append(some[np.argsort(-row[some], kind="stable")])
    return np.array(found)


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
