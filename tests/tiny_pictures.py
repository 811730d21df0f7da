"""Tiny pictures, and an extractor of a few numbers: the mean colours of the four quarters of a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from pictures.contract import Extractor, Regions


class Quarters(Extractor):
    """Four regions of three numbers. The brighter a quarter, the higher it ranks."""

    batch = 3
    longest = 64

    def facts(self) -> dict[str, str]:
        return {"extractor": type(self).__name__, "weights": "none", "preprocessing": "none"}

    def extract(self, pictures: Sequence[Image.Image]) -> list[Regions]:
        return [self._regions(picture) for picture in pictures]

    def _regions(self, picture: Image.Image) -> Regions:
        width, height = picture.size
        x, y = width / 2, height / 2
        boxes = np.array([(0, 0, x, y), (x, 0, width, y), (0, y, x, height), (x, y, width, height)])
        pixels = np.asarray(picture, np.float32)
        features = np.stack([pixels[int(b) : int(d), int(a) : int(c)].mean((0, 1)) for a, b, c, d in boxes])
        return Regions(boxes, features, features.mean(1))


class Others(Quarters):
    """The same by another name."""


def picture(path: Path, seed: int, size: tuple[int, int] = (40, 30)) -> Path:
    """A picture of coloured blocks, which no other seed gives."""
    path.parent.mkdir(parents=True, exist_ok=True)
    blocks = np.random.default_rng(seed).integers(0, 256, (5, 5, 3), dtype=np.uint8)
    Image.fromarray(blocks).resize(size, Image.Resampling.NEAREST).save(path)
    return path


def folder(where: Path, count: int) -> Path:
    """A folder of so many pictures."""
    for number in range(count):
        picture(where / f"{number:03d}.png", number)
    return where
