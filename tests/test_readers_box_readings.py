"""Readings of true boxes: each mistake that people make is made, and its cause is the one that is named."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from readers.box_readings import Marked, coverage, likeliest

SIZES = [(640.0, 480.0), (300.0, 500.0), (512.0, 384.0)]


def marked(count: int = 12) -> list[Marked]:
    """Images in which regions cover most boxes: four boxes each, of which one has no region."""
    rng, found = np.random.default_rng(0), []
    for number in range(count):
        size = np.array(SIZES[number % 3])
        corner, side = rng.uniform(0.05, 0.4, (10, 2)) * size, rng.uniform(0.1, 0.5, (10, 2)) * size
        regions = np.concatenate((corner, corner + side - 1), axis=1)
        boxes = np.concatenate((corner, side), axis=1)[:4] + rng.uniform(-3, 3, (4, 4))
        boxes[3] = [0.9 * size[0], 0.9 * size[1], 0.05 * size[0], 0.02 * size[1]]
        found.append(Marked(regions, boxes, size, size))
    return found


def rewritten(write: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> list[Marked]:
    """The same images with boxes that ``write`` makes of x, y, width, height and the size of the image."""
    return [image._replace(boxes=write(image.boxes, image.size)) for image in marked()]


def as_corners(boxes: np.ndarray) -> np.ndarray:
    return np.concatenate((boxes[:, :2], boxes[:, :2] + boxes[:, 2:]), axis=1)


def as_centres(boxes: np.ndarray) -> np.ndarray:
    return np.concatenate((boxes[:, :2] + boxes[:, 2:] / 2, boxes[:, 2:]), axis=1)


def exchanged(boxes: np.ndarray) -> np.ndarray:
    return boxes[:, [1, 0, 3, 2]]


def test_the_share_that_regions_cover() -> None:
    assert coverage(marked()) == 0.75
    image = Marked(np.array([[0.0, 0, 9, 9]]), np.array([[0.0, 0, 10, 5], [0, 0, 10, 4.9]]), np.ones(2), np.ones(2))
    assert coverage([image]) == 0.5  # half counts, less does not


@pytest.mark.parametrize(
    ("write", "said"),
    [
        (lambda boxes, size: as_corners(boxes), "read as x1, y1, x2, y2"),
        (lambda boxes, size: as_centres(boxes), "read as centre x, centre y, width, height"),
        (lambda boxes, size: exchanged(boxes), "read as y, x, height, width"),
        (lambda boxes, size: exchanged(as_corners(boxes)), "read as y1, x1, y2, x2"),
        (lambda boxes, size: boxes / np.tile(size, 2), "read as x, y, width, height from 0 to 1"),
        (lambda boxes, size: as_corners(boxes) / np.tile(size, 2), "read as x1, y1, x2, y2 from 0 to 1"),
        (
            lambda boxes, size: as_centres(boxes) / np.tile(size, 2),
            "read as centre x, centre y, width, height from 0 to 1",
        ),
        (lambda boxes, size: 100 * boxes / np.tile(size, 2), "read as x, y, width, height from 0 to 100"),
        (lambda boxes, size: 1000 * boxes / np.tile(size, 2), "read as x, y, width, height from 0 to 1000"),
        (
            lambda boxes, size: exchanged(1000 * as_corners(boxes) / np.tile(size, 2)),
            "read as y1, x1, y2, x2 from 0 to 1000",
        ),
        (lambda boxes, size: boxes + [120, -90, 0, 0], "moved by -120 pixels in x and 90 in y"),
        (lambda boxes, size: 2 * boxes, "multiplied by 0.50"),
        (lambda boxes, size: 0.3 * boxes, "multiplied by 3.3"),
    ],
)
def test_the_mistake_is_named(write: Callable[[np.ndarray, np.ndarray], np.ndarray], said: str) -> None:
    sample = rewritten(write)
    reading, share = likeliest(sample)
    assert reading.said.startswith(said) and coverage(sample) < 0.4 < 0.7 < share == coverage(sample, reading)
    assert reading.remedy == "write x, y, width, height in pixels" or said.startswith(("moved", "multiplied"))


@pytest.mark.parametrize("form", [lambda boxes: boxes, as_corners])
def test_pictures_of_another_size_are_named(form: Callable[[np.ndarray], np.ndarray]) -> None:
    """The features are of pictures of 600 x 600, which the annotations know as they were."""
    sample = [
        image._replace(
            regions=image.regions * np.tile(600 / image.size, 2), size=np.full(2, 600.0), boxes=form(image.boxes)
        )
        for image in marked()
    ]
    reading, share = likeliest(sample)
    assert reading.said.endswith(" scaled to the image sizes of the features") and share > 0.7
    assert "scale bbox, image_w and image_h of the features" in reading.remedy
    assert ("write x, y, width, height" in reading.remedy) == (form is as_corners)


def test_sizes_that_are_not_known_are_not_scaled_to() -> None:
    unknown = [image._replace(known=np.full(2, np.nan), regions=image.regions / 3) for image in marked()]
    reading, share = likeliest(unknown)
    assert reading.said.startswith("multiplied by 0.3") and share > 0.7


def test_regions_that_are_nowhere_near_have_no_cause() -> None:
    rng = np.random.default_rng(1)
    shuffled = [
        image._replace(boxes=np.concatenate((rng.uniform(0, 200, (9, 2)), rng.uniform(5, 150, (9, 2))), axis=1))
        for image in marked(40)
    ]
    assert likeliest(shuffled)[1] < coverage(shuffled) + 0.15
