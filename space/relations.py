"""What relation attentions read of pairs of boxes: all at once where it is little, else a few images at a time."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from space.graphs import in_graph

WHOLE = 1 << 18  # pairs of boxes whose features may all be in memory: as much as the states of a few blocks
# Otherwise so many at a time: on a CPU so few that they stay in its cache.
BOX_PAIRS, BOX_PAIRS_ELSEWHERE = {"cpu": 1 << 15}, 1 << 20


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
        if in_graph() or images * regions**2 <= WHOLE:
            return reader(self._whole)
        pairs = BOX_PAIRS.get(self.geometry.device.type, BOX_PAIRS_ELSEWHERE)
        parts = self.geometry.split(max(1, pairs // regions**2))
        if not torch.is_grad_enabled():
            return torch.cat([of_some(part) for part in parts])
        return torch.cat([checkpoint(of_some, part, use_reentrant=False, preserve_rng_state=False) for part in parts])
