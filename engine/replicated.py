"""A fixed network in several processes: PyTorch's DistributedDataParallel around a task's loss."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from engine.distributed import Ranks
from engine.learning import learn
from engine.runtime import undrawn


class Replicated:
    """Back-propagates so that every process has the gradients of the whole batch.

    Alone it is the plain way back. Among several processes DistributedDataParallel sums gradients while others are
    still being computed; weights that no loss of this network reaches, such as those of texts where no block reads
    them, are left out, so that nobody waits for them.

    Args:
        losses_of: runs the model on a part of a batch; ``loss`` and whatever is to be logged.
        model: whose gradients; the same in all processes.
        ranks: the processes.
    """

    def __init__(self, losses_of: Callable[[Any], Mapping[str, Tensor]], model: nn.Module, ranks: Ranks) -> None:
        self.losses_of, self.model, self.ranks = losses_of, model, ranks
        self._parallel: DistributedDataParallel | None = None

    def learn(self, parts: Sequence[Any], scaler: torch.amp.GradScaler) -> dict[str, Tensor]:
        """See ``engine.learning.learn``."""
        if self.ranks.alone:
            return learn(parts, self.losses_of, lambda loss: scaler.scale(loss).backward())
        if self._parallel is None:
            self._parallel = self._wrapped(parts[0])
        left = len(parts)

        def losses_of(part: Any) -> Mapping[str, Tensor]:
            nonlocal left
            left -= 1
            # Gradients travel once, with those of the last part.
            with self._parallel.no_sync() if left else contextlib.nullcontext():
                return self._parallel(part)

        # It takes the mean over processes, whose losses add up to that of the batch.
        return learn(parts, losses_of, lambda loss: scaler.scale(loss * self.ranks.size).backward())

    def _wrapped(self, part: Any) -> DistributedDataParallel:
        """Of a module that is the loss, and that knows of no weights but those that a first run reaches."""
        device = next(self.model.parameters()).device
        with undrawn(device):
            self.losses_of(part)["loss"].backward()
        asleep = [name for name, weight in self.model.named_parameters() if weight.grad is None]
        self.model.zero_grad(set_to_none=True)
        loss = _Loss(self.losses_of, self.model)
        names = [f"model.{name}" for name in asleep]
        DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(loss, names)
        on = [device] if device.type == "cuda" else None
        return DistributedDataParallel(loss, device_ids=on)


class _Loss(nn.Module):
    """A task's loss with the model's weights in it."""

    def __init__(self, losses_of: Callable[[Any], Mapping[str, Tensor]], model: nn.Module) -> None:
        super().__init__()
        self.losses_of, self.model = losses_of, model

    def forward(self, part: Any) -> Mapping[str, Tensor]:
        return self.losses_of(part)
