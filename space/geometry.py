"""Where regions lie: the geometry between boxes for relation attention, and normalised boxes as features."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

CLOSEST = 1e-3  # centres nearer than this share of the query's side count as this near
WHOLE = 1 << 18  # pairs of boxes whose features may all be in memory: as much as the states of a few blocks
# Otherwise so many at a time: on a CPU so few that they stay in its cache.
BOX_PAIRS, BOX_PAIRS_ELSEWHERE = {"cpu": 1 << 15}, 1 << 20


def relation_geometry(boxes: Tensor) -> Tensor:
    """Geometry of every pair of boxes, row i the query (Hu et al., Relation Networks, arXiv 1711.11575, equation 5).

    Args:
        boxes: (I,R,4) xyxy in pixels, corners included, so that a side is x2 - x1 + 1.

    Returns:
        (I,R,R,4): log max(|dx|/w_i, 1e-3), log max(|dy|/h_i, 1e-3), log(w_i/w_j), log(h_i/h_j).
    """
    side = boxes[..., 2:] - boxes[..., :2] + 1  # (I,R,2) width, height
    centre = (boxes[..., :2] + boxes[..., 2:]) / 2
    apart = (centre.unsqueeze(2) - centre.unsqueeze(1)).abs() / side.unsqueeze(2)
    ratio = side.log().unsqueeze(2) - side.log().unsqueeze(1)
    return torch.cat((apart.clamp(min=CLOSEST).log(), ratio), dim=-1)


def normalised_boxes(boxes: Tensor, image_hw: Tensor) -> Tensor:
    """Boxes as shares of their image.

    Args:
        boxes: (I,R,4) xyxy in pixels.
        image_hw: (I,2) height and width in pixels.

    Returns:
        (I,R,5): x1/W, y1/H, x2/W, y2/H, area of the box/area of the image.
    """
    shares = boxes / image_hw.flip(-1).repeat(1, 2).unsqueeze(1)
    area = (shares[..., 2] - shares[..., 0]) * (shares[..., 3] - shares[..., 1])
    return torch.cat((shares, area.unsqueeze(-1)), dim=-1)


class Relation(nn.Module):
    """Relation features of pairs of boxes, shared by all relation attentions: relu(Linear(4 -> width)(geometry))."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(4, width)

    def forward(self, geometry: Tensor) -> Tensor:
        """(I,R,R,4) -> (I,R,R,width)."""
        return self.linear(geometry).relu()


class Relations:
    """What relation attentions read: the features of every pair of regions of I images.

    Where the pairs are many (of 64 images with 100 regions each the features would outweigh the states of several
    blocks) they are never in memory all at once: a reader gets them for a few images at a time, and while training once
    more on the way back.

    Args:
        geometry: (I,R,R,4).
        features: (i,R,R,4) -> (i,R,R,64) for any number of images.
        keep: remember what readers made of them without a graph, for networks that are read often between two steps.
    """

    def __init__(self, geometry: Tensor, features: Callable[[Tensor], Tensor], keep: bool = False) -> None:
        self.geometry, self.features, self.keep = geometry, features, keep
        self.known: dict[Callable[[Tensor], Tensor], Tensor] = {}
        self.learning = torch.is_grad_enabled()

    def read(self, reader: Callable[[Tensor], Tensor]) -> Tensor:
        """What the reader makes of the features of all images; row i of it must depend on image i alone."""
        if torch.is_grad_enabled() or not self.keep:
            return self._read(reader)
        if reader not in self.known:
            self.known[reader] = self._read(reader)
        return self.known[reader]

    @cached_property
    def _whole(self) -> Tensor:
        # A candidate that runs without a graph may be the first to ask, and others need one.
        with torch.set_grad_enabled(self.learning):
            return self.features(self.geometry)

    def _read(self, reader: Callable[[Tensor], Tensor]) -> Tensor:
        def of_some(geometry: Tensor) -> Tensor:
            return reader(self.features(geometry))

        images, regions = self.geometry.shape[:2]
        if images * regions**2 <= WHOLE:
            return reader(self._whole)
        pairs = BOX_PAIRS.get(self.geometry.device.type, BOX_PAIRS_ELSEWHERE)
        parts = self.geometry.split(max(1, pairs // regions**2))
        if not torch.is_grad_enabled():
            return torch.cat([of_some(part) for part in parts])
        return torch.cat([checkpoint(of_some, part, use_reentrant=False, preserve_rng_state=False) for part in parts])
