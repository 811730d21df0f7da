"""A step's batch, which may come in parts and to several processes: its gradients and its numbers are the whole's."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from common.errors import UserError
from engine.distributed import Ranks

ADDS = "loss"  # ends the names of numbers that add up over the parts of a batch; others are means over its samples


def whole_totals(parts: Sequence[Any], ranks: Ranks) -> list[Any]:
    """The parts, each of which knows what the losses of the whole batch are divided by."""
    names = list(parts[0].totals)
    sums = ranks.totals([sum(part.totals[name] for part in parts if part.share) for name in names]) if names else []
    return [part._replace(totals=dict(zip(names, sums, strict=True))) for part in parts]


def learn(
    parts: Sequence[Any], losses_of: Callable[[Any], Mapping[str, Tensor]], backward: Callable[[Tensor], None]
) -> dict[str, Tensor]:
    """Back-propagate the losses of this process's parts, one after the other, so that only one graph is held at a time.

    Args:
        parts: each with the totals of the whole batch.
        losses_of: runs the model on a part; ``loss`` and whatever is to be logged.
        backward: of a loss; gradients add up.

    Returns:
        The numbers by name, detached: this process's summand of those of the whole batch.
    """
    found: dict[str, Tensor] = {}
    for part in parts:
        losses = losses_of(part)
        backward(losses["loss"] if part.share else losses["loss"] * 0)
        for name, value in losses.items():
            weight = float(part.share > 0) if name.endswith(ADDS) else part.share
            found[name] = found.get(name, 0) + value.detach() * weight
    return found


def add_up(numbers: dict[str, Tensor], ranks: Ranks) -> dict[str, Tensor]:
    """Numbers of the whole batch from those of all processes."""
    if ranks.alone:
        return numbers
    values = torch.stack([value.float() for value in numbers.values()])
    ranks.add_tensors([values])
    return dict(zip(numbers, values.unbind(), strict=True))


def fewest_parts(rehearse: Callable[[int], None], most: int) -> int:
    """The fewest parts of a batch that fit into the memory of a GPU: one, or so often halved that they do.

    Args:
        rehearse: takes a step in so many parts that leaves nothing behind.
        most: samples of a batch.

    Raises:
        UserError: not even a single sample fits.
    """
    count = 1
    while True:
        try:
            rehearse(count)
            return count
        except torch.OutOfMemoryError as error:
            if count >= most:
                raise UserError(
                    "not even one sample at a time fits into the GPU's memory; choose a smaller width or fewer "
                    "data.max_regions"
                ) from error
        torch.cuda.empty_cache()
        count *= 2
