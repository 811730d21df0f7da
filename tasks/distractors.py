"""Distractors: regions of other images beside an image's own, among which a phrase has to find what it means, too."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from space.inputs import Inputs

WEIGHT = 0.5  # of a sample among distractors, beside the same sample without


def among_others(inputs: Inputs, lenders: np.ndarray) -> Inputs:
    """Samples, and behind them the same again, each in an image that other images have lent their regions to.

    Regions of a sample stay where they are, and lent ones stand behind them, with boxes scaled to the size of the image
    they come into. An image lends itself nothing.

    Args:
        inputs: B samples, each with a text of its own; images may be in none.
        lenders: (B,k) rows of ``inputs.regions``.

    Returns:
        2B samples.
    """
    own, sample = inputs.image_index, torch.arange(len(lenders))
    regions, boxes, pad = _joined(inputs, torch.cat([own[:, None], torch.from_numpy(lenders)], 1))
    shown = own.unique()
    pad = _stacked(inputs.regions_pad[shown], pad, filler=True)
    return inputs._replace(
        regions=_stacked(inputs.regions[shown], regions).masked_fill(pad.unsqueeze(-1), 0),
        boxes=_stacked(inputs.boxes[shown], boxes).masked_fill(pad.unsqueeze(-1), 0),
        image_hw=inputs.image_hw[torch.cat([shown, own])],
        regions_pad=pad,
        image_index=torch.cat([torch.searchsorted(shown, own), len(shown) + sample]),
        text_index=sample.repeat(2),
    )


def twice(targets: Tensor, regions: int) -> Tensor:
    """(B,R,...) per region -> (2B,regions,...): the same again, and nothing of lent regions."""
    return _filled(targets, regions).repeat(2, *[1] * (targets.dim() - 1))


def _joined(inputs: Inputs, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(B,1+k) images -> the first one's (B,R',D) regions, (B,R',4) boxes and padding, with those of the others."""
    pad, hw = inputs.regions_pad[images], inputs.image_hw[images]
    pad[:, 1:] |= (images[:, 1:] == images[:, :1]).unsqueeze(-1)
    scale = (hw[:, :1] / hw)[..., [1, 0, 1, 0]].unsqueeze(2)
    parts = [part.flatten(1, 2) for part in (inputs.regions[images], inputs.boxes[images] * scale, pad)]
    real_first = parts[-1].sort(dim=1, stable=True).indices[:, : int((~pad).sum((1, 2)).max())]
    regions, boxes, pad = (part[torch.arange(len(images))[:, None], real_first] for part in parts)
    return regions, boxes, pad


def _stacked(some: Tensor, others: Tensor, filler: float = 0) -> Tensor:
    """(n,R,...) and (m,R',...) -> (n+m, the larger,...)."""
    most = max(some.shape[1], others.shape[1])
    return torch.cat([_filled(part, most, filler) for part in (some, others)])


def _filled(part: Tensor, regions: int, filler: float = 0) -> Tensor:
    return F.pad(part, (0, 0) * (part.dim() - 2) + (0, regions - part.shape[1]), value=filler)
