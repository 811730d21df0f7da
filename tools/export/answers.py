"""What exported networks give: for each task, in ANSWERS, its head and its outputs as a user has them"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from space.heads import Matcher, PooledClassifier, RegionPointer
from space.inputs import Inputs
from tasks.vgd import OFFSET_SCALE

CLOSE = 1e-5  # probabilities that differ by less of themselves are alike


@dataclass(frozen=True)
class Output:
    """One output of the file.

    Args:
        shape: names or lengths of its axes, "batch" first.
        meaning: for the reader of the JSON.
        unsure: called with all outputs; (B,) bool, the samples for which rounding alone can make another of this one.
    """

    shape: tuple[str | int, ...]
    meaning: str
    unsure: Callable[..., Tensor] | None = None


@dataclass(frozen=True)
class Answers:
    """What a task's network answers.

    Args:
        head: called with the number of labels, width, pool_hidden and dropout; gives the task's head.
        outputs: by name, in order.
        made: what the head gave and the inputs -> the outputs in their order.
    """

    head: Callable[[int, int, int, float], nn.Module]
    outputs: dict[str, Output]
    made: Callable[[Any, Inputs], tuple[Tensor, ...]]


def moved(boxes: Tensor, offsets: Tensor, image_hw: Tensor) -> Tensor:
    """Boxes moved by a network's offsets and clipped to their image, as ``readers.boxes.decode`` does it.

    Args:
        boxes: (B,4) xyxy, pixels.
        offsets: (B,4) in units of OFFSET_SCALE.
        image_hw: (B,2) pixels.

    Returns:
        (B,4) xyxy, pixels.
    """
    offsets = offsets * torch.tensor(OFFSET_SCALE, dtype=offsets.dtype)
    side = boxes[:, 2:] - boxes[:, :2] + 1
    centre = boxes[:, :2] + side / 2 + offsets[:, :2] * side
    grown = offsets[:, 2:].exp() * side
    corners = torch.cat((centre - grown / 2, centre + grown / 2 - 1), 1)
    return corners.clamp(min=0).minimum(image_hw.flip(1).repeat(1, 2) - 1)


def _grounded(made: tuple[Tensor, Tensor], inputs: Inputs) -> tuple[Tensor, Tensor]:
    scores, offsets = made
    best = scores.argmax(1)[:, None, None].expand(-1, 1, 4)
    box, offset = (part.gather(1, best).squeeze(1) for part in (inputs.boxes, offsets))
    return moved(box, offset, inputs.image_hw), scores.softmax(1)


def _undecided(box: Tensor, probabilities: Tensor) -> Tensor:
    """Where two regions are as probable, either may become the box."""
    most = probabilities.amax(1, keepdim=True)
    return (probabilities > (1 - CLOSE) * most).sum(1) > 1


ANSWERS: dict[str, Answers] = {
    "itm": Answers(
        lambda labels, width, pool_hidden, dropout: Matcher(width, pool_hidden, dropout),
        {
            "score": Output(
                ("batch",), "how well text and image match: a logit, whose sigmoid is the probability that they do"
            )
        },
        lambda made, inputs: (made.squeeze(1),),
    ),
    "vqa": Answers(
        lambda labels, width, pool_hidden, dropout: PooledClassifier(width, pool_hidden, labels, dropout),
        {"probabilities": Output(("batch", "answers"), "of each answer on its own, in the order of `answers`")},
        lambda made, inputs: (made.sigmoid(),),
    ),
    "vgd": Answers(
        lambda labels, width, pool_hidden, dropout: RegionPointer(width, pool_hidden, dropout),
        {
            "box": Output(
                ("batch", 4),
                "x1 y1 x2 y2 of what the phrase means, in pixels of the image, both corners inside: the most probable "
                "region, moved and clipped to the image",
                _undecided,
            ),
            "probabilities": Output(("batch", "regions"), "of each region to be meant; they sum to 1, padding has 0"),
        },
        _grounded,
    ),
}
