"""An extractor for the demo's own pictures: what stands out from the background, cut out, as EfficientNet-Lite0 sees it

``make features PICTURES=data/demo/images EXTRACTOR=tools.demo.segments:Segments DATA=...``
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from scipy import ndimage

from pictures.contract import Regions
from pictures.grid import MEAN, SCALE, Grid, Letterbox
from readers.boxes import overlaps

STANDS_OUT = 36  # of 255: by how much a pixel differs from the middle one of its row, which is background
GREYISH = 60  # of 255: colours less saturated are one
HUES = 8
LEAST = 40  # pixels of a segment
MOST = 200  # segments, the largest, as those of noise have no end
SAME = 0.8  # overlap (IoU) from which on two boxes are one
SIDE, MARGIN = 64, 0.1  # pixels of a cut-out, and what it shows around the box, in sides of the box
AT_ONCE = 128  # cut-outs


def segment(rgb: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Boxes of what stands out from a background that changes from top to bottom only.

    Things that touch are one segment, and so is each part of it that has a colour of its own.

    Args:
        rgb: (H,W,3) uint8.

    Returns:
        (R,4) xyxy in pixels, and (R,) pixels of each segment.
    """
    pixels = rgb.astype(np.int16)
    stands = np.abs(pixels - np.median(pixels, axis=1, keepdims=True)).max(axis=2) > STANDS_OUT
    hue, saturation, _ = np.moveaxis(np.asarray(Image.fromarray(rgb).convert("HSV"), np.int16), 2, 0)
    colour = np.where(saturation < GREYISH, HUES, (hue * HUES + 128) // 256 % HUES)
    found = []
    for mask in (stands, *(stands & (colour == one) for one in np.unique(colour[stands]))):
        numbered, _ = ndimage.label(mask)
        sizes = np.bincount(numbered.ravel())[1:]
        for size, (y, x) in zip(sizes, ndimage.find_objects(numbered), strict=True):
            if size >= LEAST:
                found.append((x.start, y.start, x.stop, y.stop, size))
    found = np.array(sorted(found, key=lambda one: -one[4])[:MOST], np.float32).reshape(-1, 5)
    kept: list[int] = []
    overlap = overlaps(found[:, :4], found[:, :4])
    for row in range(len(found)):
        if not (overlap[row, kept] > SAME).any():
            kept.append(row)
    return found[kept, :4], found[kept, 4]


class Segments(Grid):
    """Segments of a picture, the whole picture last; 1,280 numbers each."""

    longest = 1024

    def facts(self) -> dict[str, str]:
        """Those of the grid, but for name and sizes."""
        return {**super().facts(), "extractor": "segments: efficientnet-lite0", "preprocessing": f"cut-outs of {SIDE}"}

    @torch.inference_mode()
    def extract(self, pictures: Sequence[Image.Image]) -> list[Regions]:
        """The segments of each picture."""
        found = [self._with_whole(picture) for picture in pictures]
        cuts = [_cut(picture, box) for picture, (boxes, _) in zip(pictures, found, strict=True) for box in boxes]
        features = np.concatenate([self._features(cuts[at : at + AT_ONCE]) for at in range(0, len(cuts), AT_ONCE)])
        ends = np.cumsum([len(boxes) for boxes, _ in found])[:-1]
        return [Regions(boxes, own, sizes) for (boxes, sizes), own in zip(found, np.split(features, ends), strict=True)]

    @staticmethod
    def _with_whole(picture: Image.Image) -> tuple[np.ndarray, np.ndarray]:
        boxes, sizes = segment(np.asarray(picture))
        return np.vstack([boxes, [[0, 0, *picture.size]]]), np.append(sizes, 0)

    def _features(self, cuts: Sequence[np.ndarray]) -> np.ndarray:
        pixels = torch.from_numpy(np.stack(cuts)).to(self.device).permute(0, 3, 1, 2).float()
        return self.model.extract_features((pixels - MEAN) / SCALE).mean((2, 3)).half().cpu().numpy()


def _cut(picture: Image.Image, box: np.ndarray) -> np.ndarray:
    x1, y1, x2, y2 = box
    around = MARGIN * max(x2 - x1, y2 - y1)
    part = picture.crop(tuple(np.rint([x1 - around, y1 - around, x2 + around, y2 + around]).astype(int).tolist()))
    return np.asarray(Letterbox(*part.size, SIDE, SIDE).draw(part, int(MEAN)))
