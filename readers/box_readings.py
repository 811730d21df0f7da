"""Other ways to read true boxes, tried where no regions lie under them: another form, order or scale, or an offset."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product
from typing import NamedTuple

import numpy as np

from readers.boxes import overlaps
from readers.true_boxes import corners

OVERLAP = 0.5  # least intersection over union at which a region counts as covering a box
CELL = 8  # pixels within which two shifts are one and the same
SIMILAR = 0.2  # greatest difference of logarithms at which two sides are equally long


class Marked(NamedTuple):
    """An image, what a detector found in it and what people marked in it."""

    regions: np.ndarray  # (R,4) x1, y1, x2, y2
    boxes: np.ndarray  # (K,4) as written, meant to be x, y, width, height
    size: np.ndarray  # (2,) width and height in pixels as the features have them
    known: np.ndarray  # (2,) the same as the annotations have them, NaN where they do not


class Reading(NamedTuple):
    """A way to read boxes."""

    said: str  # for people: "read as x1, y1, x2, y2"
    remedy: str
    corners: Callable[[Marked], np.ndarray]  # (K,4) x1, y1, x2, y2 in pixels of the features' image


def coverage(sample: Sequence[Marked], reading: Reading | None = None) -> float:
    """The share of all boxes that some region of their image overlaps by half, in [0, 1].

    Args:
        sample: some images.
        reading: how to read the boxes; as x, y, width, height in pixels if not given.
    """
    read = (reading or _MEANT).corners
    return float(np.concatenate([_best_overlaps(image.regions, read(image)) >= OVERLAP for image in sample]).mean())


def likeliest(sample: Sequence[Marked]) -> tuple[Reading, float]:
    """The reading that covers most boxes, and their share. Of readings as good within one percent the simplest."""
    shares = [(reading, coverage(sample, reading)) for reading in (*READINGS, _moved(sample), _enlarged(sample))]
    return max(shares, key=lambda one: round(one[1], 2))


def _best_overlaps(regions: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    # A wrong reading may turn corners about; such a box is as thin as can be.
    upright = np.concatenate((boxes[:, :2], np.maximum(boxes[:, :2], boxes[:, 2:])), axis=1)
    return overlaps(regions, upright).max(axis=0)


def _centred(boxes: np.ndarray) -> np.ndarray:
    return corners(np.concatenate((boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, 2:]), axis=1))


class _Form(NamedTuple):
    said: str
    exchanged: str  # what it is called with x and y exchanged
    corners: Callable[[np.ndarray], np.ndarray]


class _Scale(NamedTuple):
    said: str
    remedy: str  # what mends it besides writing boxes as they are meant
    factors: Callable[[Marked], np.ndarray]  # (2,) from what is written to pixels of the features' image, x and y


# Each list begins with what is meant; the likelier mistakes come first.
_FORMS = (
    _Form("x, y, width, height", "y, x, height, width", corners),
    _Form("x1, y1, x2, y2", "y1, x1, y2, x2", lambda boxes: boxes),
    _Form("centre x, centre y, width, height", "centre y, centre x, height, width", _centred),
)
_WRITE = "write x, y, width, height in pixels"
_RESIZE = "scale bbox, image_w and image_h of the features to the pictures that were annotated"
_SCALES = (
    _Scale("", "", lambda image: np.ones(2)),
    _Scale(" from 0 to 1", "", lambda image: image.size),
    _Scale(" from 0 to 100", "", lambda image: image.size / 100),
    _Scale(" from 0 to 1000", "", lambda image: image.size / 1000),
    _Scale(" scaled to the image sizes of the features", _RESIZE, lambda image: image.size / image.known),
)


def _reading(scale: _Scale, exchanged: bool, form: _Form) -> Reading:
    def read(image: Marked) -> np.ndarray:
        boxes = image.boxes[:, [1, 0, 3, 2]] if exchanged else image.boxes
        return form.corners(boxes * np.tile(scale.factors(image), 2))

    rewrite = _WRITE if exchanged or form is not _FORMS[0] or not scale.remedy else ""
    said = f"read as {form.exchanged if exchanged else form.said}{scale.said}"
    return Reading(said, " and ".join(filter(None, (rewrite, scale.remedy))), read)


_MEANT, *READINGS = (_reading(*parts) for parts in product(_SCALES, (False, True), _FORMS))


def _moved(sample: Sequence[Marked]) -> Reading:
    """All boxes moved by the shift that most pairs of a region and a box of its shape have in common."""
    shift = _commonest(np.concatenate([_shifts(image) for image in sample]), CELL)
    return Reading(
        f"moved by {shift[0]:.0f} pixels in x and {shift[1]:.0f} in y",
        "take the border or the cut off the pictures that either of them comes from, or move the boxes",
        lambda image: corners(image.boxes) + np.tile(shift, 2),
    )


def _shifts(image: Marked) -> np.ndarray:
    """(pairs,2) from the centre of a box to that of a region that is about as wide and as high."""
    (middle, side), (centre, length) = _pairs(image)
    alike = (np.abs(np.log(length / side)) < SIMILAR).all(axis=-1)
    return (centre - middle)[alike]


def _enlarged(sample: Sequence[Marked]) -> Reading:
    """All boxes times the factor that most pairs of a region and a box have in common, in place and in both sides."""
    factor = np.exp(_commonest(np.concatenate([_factors(image) for image in sample]), SIMILAR))[0]
    return Reading(
        f"multiplied by {factor:.2f}",
        "write them in pixels of the pictures that the features were extracted from",
        lambda image: corners(image.boxes * factor),
    )


def _factors(image: Marked) -> np.ndarray:
    """(pairs,1) logarithm of the factor from a box to a region, where its four numbers are about the same."""
    (middle, side), (centre, length) = _pairs(image)
    with np.errstate(all="ignore"):  # a centre that is not positive has no logarithm, and is then no pair
        ratios = np.log(np.concatenate((centre / middle, length / side), axis=-1))
    alike = ratios.max(axis=-1) - ratios.min(axis=-1) < SIMILAR
    return ratios[alike].mean(axis=-1, keepdims=True)


def _pairs(image: Marked) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """Centres and sides of boxes (1,K,2) and of regions (R,1,2), so that together they are those of all pairs."""
    both = corners(image.boxes)[None], image.regions[:, None]
    one, other = (((box[..., :2] + box[..., 2:]) / 2, box[..., 2:] - box[..., :2] + 1) for box in both)
    return one, other


def _commonest(values: np.ndarray, cell: float) -> np.ndarray:
    """(D,) what most of (N,D) values are within one cell of; zeros where there are none."""
    if not len(values):
        return np.zeros(values.shape[1])
    cells, votes = np.unique(np.round(values / cell), axis=0, return_counts=True)
    near = np.abs(values - cells[votes.argmax()] * cell).max(axis=1) <= cell
    return np.median(values[near], axis=0)
