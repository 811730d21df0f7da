"""What flows into a network: padded region features and token ids, and which of them make a sample."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Inputs(NamedTuple):
    """A batch of B samples over I images and Q texts, each padded to its own longest.

    Images and texts are stored once even when several samples share them (the negatives of image-text
    matching, several questions about one image); ``image_index`` and ``text_index`` say which rows make a
    sample. Without an index, sample ``b`` is row ``b``.
    """

    regions: Tensor  # (I,R,D) features of any float type, zeros at padding
    boxes: Tensor  # (I,R,4) float xyxy, pixels
    image_hw: Tensor  # (I,2) float height and width, pixels
    regions_pad: Tensor  # (I,R) bool, True = padding
    tokens: Tensor  # (Q,T) int64, 0 = PAD
    tokens_pad: Tensor  # (Q,T) bool, True = padding
    image_index: Tensor | None = None  # (B,) int64
    text_index: Tensor | None = None  # (B,) int64

    def to(self, device: torch.device) -> Inputs:
        """The same batch on another device."""
        return Inputs(*(None if part is None else sent(part, device) for part in self))

    def over(self, images: int) -> Inputs:
        """The same samples over so many images, of which those behind the last are the last again, in no sample."""
        if images == len(self.regions):
            return self
        index = torch.arange(images, device=self.regions.device).clamp_(max=len(self.regions) - 1)
        return Inputs(*(rows(part, index) for part in self[:4]), *self[4:])


def sent(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor on another device, without waiting for what that one is doing, which only pinned memory allows."""
    if device.type == "cuda" and tensor.is_cpu:
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)


def rows(states: Tensor, index: Tensor | None) -> Tensor:
    """``states[index]``, or ``states`` itself where every sample has a row of its own."""
    return states if index is None else states.index_select(0, index)
