"""True boxes: every way of writing four numbers is read, anything else is told with its place."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from common.errors import UserError
from readers.true_boxes import corners, outside, read_box


@pytest.mark.parametrize(
    "given",
    [
        [1, 2.5, 30, 40],
        (1, 2.5, 30, 40),
        ["1", "2.5", "30", "40.0"],
        "1 2.5 30 40",
        "[1, 2.5, 30.0, 40]",
        {"x": 1, "y": 2.5, "w": 30, "h": 40},
        {"height": "40", "width": 30, "y": 2.5, "x": 1},
    ],
)
def test_boxes_as_people_write_them(given: Any) -> None:
    box = read_box("file, entry 0", {"bbox": given, "iscrowd": 1, "segmentation": {"counts": [0], "size": [9, 9]}})
    assert box == [1, 2.5, 30, 40] and all(type(side) is float for side in box)


@pytest.mark.parametrize("given", [[-0.5, -0.5, 10, 10], [3, 4, 0.25, 0.01], [1e-3, 0, 1, 1]])
def test_fractions_of_a_pixel_are_legal(given: list[float]) -> None:
    assert read_box("", {"bbox": given}) == given


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (None, "'bbox' is missing; it should be four numbers: x, y, width, height in pixels"),
        (5, "'bbox' is 5; it should be four numbers"),
        ([1, 2, 3], r"'bbox' is \[1, 2, 3\]; it should be four"),
        ([1, 2, 3, "a"], "should be four"),
        ([1, 2, 3, True], "should be four"),
        ([1, 2, 3, None], "should be four"),
        ([1, 2, 3, [4]], "should be four"),
        ([1, 2, 3, float("nan")], "should be four"),
        ([1, 2, 3, "inf"], "should be four"),
        ([1, 2, 3, 10**400], "should be four"),
        ("1 2 3", "'bbox' is '1 2 3'; it should be four"),
        ("left of it", "should be four"),
        ({"x1": 1, "y1": 2, "x2": 3, "y2": 4}, "'bbox' is {'x1': 1, .*should be four"),
        ([1, 2, 0, 4], r"the box \[1, 2, 0, 4\] is empty"),
        ([1, 2, 3, -4], "is empty"),
    ],
)
def test_anything_else_is_told_in_one_short_line(given: Any, said: str) -> None:
    with pytest.raises(UserError, match=f"^file, entry 3: .*{said}") as caught:
        read_box("file, entry 3", {"bbox": given})
    assert len(str(caught.value)) < 180


def test_corners_are_both_inside() -> None:
    assert corners(np.array([[10.5, 20, 28, 19]])).tolist() == [[10.5, 20, 37.5, 38]]


def test_boxes_outside_their_image() -> None:
    boxes = np.array([[0, 0, 100, 50], [-2, -2, 104, 54], [-2.1, 0, 9, 9], [0, 0, 9, 52.1], [95, 0, 9, 9]], float)
    assert outside(boxes, np.tile([100.0, 50.0], (5, 1))).tolist() == [False, False, True, True, True]
    assert outside(boxes, np.full((5, 2), np.nan)).tolist() == [False, False, True, False, False]
