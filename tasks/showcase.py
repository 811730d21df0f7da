"""What a task has to show of its predictions: plain facts about an image, which tools/show.py draws."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from space.inputs import Inputs
from space.network import Model


class Box(NamedTuple):
    """A box in an image."""

    xyxy: tuple[float, float, float, float]  # pixels
    role: str = "region"  # or predicted, or true
    weight: float = 0.0  # of a region, the one that counts most having 1
    probability: float | None = None  # of a region, which add up to 1, and of a predicted box


class Line(NamedTuple):
    """A line under an image."""

    text: str
    right: bool | None = None  # None: neither right nor wrong
    note: str = ""  # a number that belongs to it


class Answer(NamedTuple):
    """One of the answers that a network could give."""

    text: str
    probability: float


class Prediction(NamedTuple):
    """One image with what the network made of it."""

    image: int  # its id
    hw: tuple[float, float]  # height and width, pixels
    boxes: list[Box]
    text: str = ""  # what was asked of the network
    lines: Sequence[Line] = ()  # what it said
    answers: Sequence[Answer] = ()  # the same where it chose among answers, best first
    score: float | None = None  # the same where it judged how well text and image match: a logit


class Output(NamedTuple):
    """One output of an exported network.

    Args:
        shape: names or lengths of its axes, "batch" first.
        meaning: for whoever uses it.
        unsure: called with all outputs; (B,) bool, the samples for which rounding alone can make another of this one.
    """

    shape: tuple[str | int, ...]
    meaning: str
    unsure: Callable[..., Tensor] | None = None


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
