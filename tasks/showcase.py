"""What a task has to show of its predictions, for whoever draws them: regions by their weight, and lines"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor

from outcome.samples import Box, Line, Prediction
from space.inputs import Inputs
from space.network import Model


def region_predictions(images: np.ndarray, inputs: Inputs, weights: Tensor) -> list[Prediction]:
    """Every sample's image and regions, still without words.

    Args:
        images: (B,) image id of every sample.
        inputs: the batch.
        weights: (B,R) how much each region counts, in all 1; anything at padding.
    """
    index = torch.arange(len(images)) if inputs.image_index is None else inputs.image_index.cpu()
    boxes, pad, hw = (part.cpu()[index] for part in (inputs.boxes, inputs.regions_pad, inputs.image_hw))
    weights = weights.float().cpu().masked_fill(pad, 0)
    relative = weights / weights.amax(1, keepdim=True).clamp(min=1e-9)
    columns = (part.tolist() for part in (boxes, relative, weights, pad))
    return [
        Prediction(
            image, tuple(size), [Box(tuple(box), "region", *w) for box, *w, gone in zip(*own, strict=True) if not gone]
        )
        for image, size, *own in zip(images.tolist(), hw.tolist(), *columns, strict=True)
    ]


def with_lines(shown: Sequence[Prediction], lines: Iterable[Sequence[Line]]) -> list[Prediction]:
    """The same with what was said under each."""
    return [one._replace(lines=own) for one, own in zip(shown, lines, strict=True)]


def pooled(model: Model, images: np.ndarray, inputs: Inputs) -> tuple[Tensor, list[Prediction]]:
    """Run a model with a pooled head: its (B, outputs) logits, and the regions by their weight in the pooling."""
    states = model.network(inputs)
    weights = model.head.regions.weights(states.regions, states.regions_pad)
    return model.head(states).float().cpu(), region_predictions(images, inputs, weights)
