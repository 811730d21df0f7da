"""Geometry of boxes by hand."""

from __future__ import annotations

from math import log

import torch

from space.geometry import normalised_boxes, relation_geometry


def test_pairs_of_boxes_by_hand() -> None:
    # Sides, corners included: 10 x 20 and 40 x 80; centres (4.5, 9.5) and (29.5, 49.5).
    boxes = torch.tensor([[[0, 0, 9, 19], [10, 10, 49, 89]]], dtype=torch.float64)
    same = [log(1e-3), log(1e-3), 0, 0]
    first = [log(25 / 10), log(40 / 20), log(10 / 40), log(20 / 80)]  # by the sides of the one that asks
    second = [log(25 / 40), log(40 / 80), log(40 / 10), log(80 / 20)]
    wanted = torch.tensor([[[same, first], [second, same]]], dtype=torch.float64)
    torch.testing.assert_close(relation_geometry(boxes), wanted)


def test_shares_of_the_image_by_hand() -> None:
    found = normalised_boxes(torch.tensor([[[20.0, 10.0, 60.0, 50.0]]]), torch.tensor([[100.0, 200.0]]))
    torch.testing.assert_close(found, torch.tensor([[[0.1, 0.1, 0.3, 0.5, 0.08]]]))
