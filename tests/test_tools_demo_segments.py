"""Segments of the demo's pictures: the things of a scene are found, and cut-outs of one kind of thing look alike."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from readers.boxes import overlaps
from tools.demo.pictures import paint
from tools.demo.scenes import make_scenes
from tools.demo.segments import Segments, segment


def test_nine_of_ten_things_are_found_and_no_background() -> None:
    scenes = make_scenes(40, seed=0)
    best, count = [], 0
    for scene in scenes:
        boxes, sizes = segment(np.asarray(paint(scene)))
        count += len(boxes)
        assert (np.diff(sizes) <= 0).all() and (boxes[:, 2:] > boxes[:, :2]).all()
        best.extend(overlaps(np.array([thing.box for thing in scene.things]), boxes).max(axis=1))
    assert np.mean(np.array(best) > 0.5) > 0.9
    assert count < 2.5 * len(best)


def test_what_touches_is_told_apart_by_its_colour() -> None:
    rgb = np.full((60, 120, 3), 200, np.uint8)
    rgb[20:40, 10:30] = (200, 40, 40)
    rgb[20:40, 30:50] = (40, 40, 200)
    boxes, sizes = segment(rgb)
    assert sorted(boxes.tolist()) == [[10, 20, 30, 40], [10, 20, 50, 40], [30, 20, 50, 40]]
    assert sizes.tolist() == [800, 400, 400]
    assert len(segment(np.full((60, 80, 3), 200, np.uint8))[0]) == 0


def test_a_picture_without_things_is_one_region_and_alike_things_have_alike_features() -> None:
    pytest.importorskip("efficientnet_lite_pytorch")
    rgb = np.full((60, 160, 3), 200, np.uint8)
    plain = Image.fromarray(rgb)
    rgb = rgb.copy()
    for left, colour in ((10, (200, 40, 40)), (60, (200, 40, 40)), (110, (40, 40, 200))):
        rgb[20:40, left : left + 20] = colour
    extractor = Segments(torch.device("cpu"))
    nothing, something = extractor.extract([plain, Image.fromarray(rgb)])
    assert nothing.boxes.tolist() == [[0, 0, 160, 60]] and nothing.features.shape == (1, 1280)
    assert something.boxes[-1].tolist() == [0, 0, 160, 60] and len(something.boxes) == 4
    order = np.argsort(something.boxes[:3, 0])
    red, again, blue = something.features[order].astype(np.float32)
    assert np.abs(red - again).max() < 0.1 * np.abs(red - blue).max()
    assert extractor.facts()["extractor"] != "grid: efficientnet-lite0"
