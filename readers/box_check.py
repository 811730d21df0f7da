"""Whether regions and true boxes are of the same pixels: asked before training, with the likeliest cause where not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from common.errors import UserError
from readers.box_readings import Marked, coverage, likeliest
from readers.expressions import Expression
from readers.feature_store import FeatureStore
from readers.true_boxes import SLACK, outside

# The demo's regions cover 96 % of its boxes, or 0 to 4 % of the same boxes written wrongly; the published accuracy of
# 84 % on RefCOCO takes regions that cover about as much.
LEAST, FEW, USUAL = 0.2, 0.6, 0.9
GAIN = 0.3  # no wrong reading of right boxes covers so many more of them
IMAGES = 300  # of a split are looked at: 2,000 expressions of RefCOCO, at the price of a few training batches
UNKNOWN = (np.nan, np.nan)  # the size of an image that no file gives
JUDGED = 20  # fewer expressions may miss their regions by chance


class Boxes(NamedTuple):
    """The true boxes of N expressions, and their images."""

    what: str  # whose they are: "train expressions of refs/refcoco/refs(unc).p"
    images: np.ndarray  # (N,) ids
    boxes: np.ndarray  # (N,4) x, y, width, height
    sizes: np.ndarray  # (N,2) width and height of the image as the features have them
    known: np.ndarray  # (N,2) the same as the annotations have them, NaN where they do not


def check_boxes(what: str, expressions: Sequence[Expression], store: FeatureStore, limit: int) -> list[str]:
    """Compare expressions with the features of their images.

    Args:
        what: whose they are, for people: "train expressions of refs/refcoco/refs(unc).p".
        expressions: at least one; all of their images have features.
        store: the features.
        limit: at most so many regions of an image, the first ones.

    Returns:
        Lines for the log about what is unusual but may be meant.

    Raises:
        UserError: so few boxes have a region that nothing could be learned or scored, a box lies outside its image, or
            image sizes have width and height exchanged.
    """
    images = np.array([one.image for one in expressions], np.int64)
    boxes = np.array([one.bbox for one in expressions], np.float64)
    known = np.array([one.size or UNKNOWN for one in expressions], np.float64)
    given = Boxes(what, images, boxes, store.sizes(images)[:, ::-1].astype(np.float64), known)
    lines = _check_coverage(given, store, limit) + _check_sizes(given)
    _check_inside(given, expressions)
    return lines


def _sample(given: Boxes, store: FeatureStore, limit: int) -> list[Marked]:
    """Some images, the same at every call, with all of their boxes."""
    images = np.unique(given.images)
    if len(images) > IMAGES:
        images = np.sort(np.random.default_rng(0).choice(images, IMAGES, replace=False))
    order = np.argsort(given.images, kind="stable")
    first, last = (np.searchsorted(given.images[order], images, side) for side in ("left", "right"))
    found = []
    for image, start, end in zip(images, first, last, strict=True):
        rows = order[start:end]
        regions = store.boxes(image, limit).astype(np.float64)
        found.append(Marked(regions, given.boxes[rows], given.sizes[rows[0]], given.known[rows[0]]))
    return found


def _check_coverage(given: Boxes, store: FeatureStore, limit: int) -> list[str]:
    sample = _sample(given, store, limit)
    share, judged = coverage(sample), sum(len(image.boxes) for image in sample)
    said = f"{100 * share:.1f} % of {judged:,} {given.what} have a region that overlaps the true box by half"
    if share >= FEW or judged < JUDGED:
        return [f"note: {said}; the others train nothing"] if share < USUAL else []
    reading, better = likeliest(sample)
    if better >= share + GAIN:
        would = f"{reading.said}{_sizes(given)} it would be {100 * better:.1f} %"
        raise UserError(f"only {said}; {would}: {reading.remedy}")
    if share < LEAST:
        raise UserError(
            f"only {said}, and no other form, order or scale of the boxes makes it many more: "
            "make sure that the features are of these images, and have enough regions (data.max_regions)"
        )
    return [f"note: only {said}; the others train nothing, so better regions would help more than longer training"]


def _check_sizes(given: Boxes) -> list[str]:
    differ = _differing(given)
    exchanged = differ & (np.abs(given.sizes[:, ::-1] - given.known) <= SLACK).all(axis=1)
    if 2 * exchanged.sum() > len(differ):
        raise UserError(
            f"width and height are exchanged in the features or in the annotations of the {given.what}{_sizes(given)}: "
            "mend image_w and image_h of the features, or width and height of the annotations"
        )
    if not differ.any():
        return []
    count, of = len(np.unique(given.images[differ])), len(np.unique(given.images))
    return [f"note: {count:,} of {of:,} images of {given.what} have two sizes{_sizes(given)}"]


def _differing(given: Boxes) -> np.ndarray:
    """(N,) whether features and annotations give an image another size."""
    return (np.abs(given.sizes - given.known) > SLACK).any(axis=1)


def _sizes(given: Boxes) -> str:
    """The first image whose sizes differ, in brackets; nothing where there is none."""
    differ = _differing(given)
    if not differ.any():
        return ""
    row = int(differ.argmax())
    (width, height), (wide, high) = given.sizes[row], given.known[row]
    there, here = f"{width:g} x {height:g} in the features", f"{wide:g} x {high:g} in the annotations"
    return f" (image {given.images[row]} is {there}, {here})"


def _check_inside(given: Boxes, expressions: Sequence[Expression]) -> None:
    """Hold the boxes against their images, whose sizes the features know where the annotations do not."""
    sizes = np.where(np.isnan(given.known), given.sizes, given.known)
    wrong = outside(given.boxes, sizes)
    if wrong.any() and not outside(given.boxes, sizes[:, ::-1]).any():
        raise UserError(
            f"{wrong.sum():,} of {len(wrong):,} {given.what} have boxes that lie outside their images, none would if "
            "width and height were exchanged: mend image_w and image_h of the features, or the annotations' sizes"
        )
    if wrong.any():
        row = int(wrong.argmax())
        width, height = sizes[row]
        raise UserError(
            f"{expressions[row].box_at}: the box {expressions[row].bbox} (x, y, width, height) lies outside its image "
            f"of {width:g} x {height:g} pixels ({wrong.sum():,} of {len(wrong):,} {given.what} have such boxes); "
            "mend it or leave it out"
        )
