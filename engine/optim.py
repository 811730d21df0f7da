"""Optimiser and learning rate. The rate is a pure function of the step, so a resumed run cannot forget it."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import nn

from common.numbers import above_zero, whole
from engine.distributed import Ranks

Epochs, EpochNumber = whole(1, 1_000_000), whole(0, 1_000_000)
Samples, Steps = whole(1, 1_000_000), whole(0, 1_000_000_000)
Rate, Amount = above_zero(100), above_zero(1e9)


@dataclass(kw_only=True)
class Training:
    """How weights are trained.

    The values here are the published ones (arXiv 2004.12070, section 4.2), as far as they are the same for all tasks.

    Args:
        epochs: passes over the training samples.
        batch_size: samples a step, of all processes together.
        accumulate: parts in which a process takes its share of a batch, one after the other, so that large batches fit
            into memory; the gradients are those of the whole batch. auto takes the fewest that fit into a GPU.
        lr: base learning rate of Adam.
        warmup_epochs: in epoch e of the first ones the rate is (e+1)/(warmup_epochs+1) of the base.
        warmup_steps: linear warm-up over so many steps instead; for small sets, whose epochs are short.
        decay_epochs: epochs (0-based) at whose start the rate is multiplied by decay.
        decay: see decay_epochs.
        cosine: let the rate fall along half a cosine to a hundredth over the whole run instead.
        clip: largest norm of the gradient.
        val_images: at most so many images of the validation split are scored after an epoch; null for all.
        val_every: validate after every so many epochs, and after the last.
        save_minutes: at most so many minutes of work are lost by a kill.
    """

    epochs: Epochs = 13
    batch_size: Samples = 64
    accumulate: Samples | Literal["auto"] = 1
    lr: Rate = 1e-4
    warmup_epochs: EpochNumber = 3
    warmup_steps: Steps | None = None
    decay_epochs: list[EpochNumber] = field(default_factory=list)
    decay: Rate = 0.2
    cosine: bool = False
    clip: Amount = 1.0
    val_images: Samples | None = None
    val_every: Epochs = 1
    save_minutes: Amount = 10.0


def rate(training: Training, step: int, steps_per_epoch: int) -> float:
    """The learning rate of the 0-based ``step`` of a run."""
    epoch = step // steps_per_epoch
    if training.warmup_steps is not None:
        factor = min(1.0, (step + 1) / max(1, training.warmup_steps))
    else:
        factor = min(1.0, (epoch + 1) / (training.warmup_epochs + 1))
    factor *= training.decay ** sum(epoch >= start for start in training.decay_epochs)
    if training.cosine:
        progress = step / max(1, training.epochs * steps_per_epoch)
        factor *= 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
    return training.lr * factor


@contextlib.contextmanager
def memory_held(weights: Iterable[torch.Tensor], copies: int) -> Iterator[None]:
    """Take the memory of so many copies of the weights: Adam's two moments, and gradients on their way to others."""
    held = [torch.empty_like(weight, requires_grad=False) for weight in weights for _ in range(copies)]
    yield
    del held


def adam(parameters: Iterable[nn.Parameter]) -> torch.optim.Adam:
    """Adam with the published betas and epsilon; its rate is set before every step."""
    return torch.optim.Adam(parameters, betas=(0.9, 0.98), eps=1e-9, fused=True)


def step(
    optimiser: torch.optim.Optimizer,
    lr: float,
    clip: float,
    scaler: torch.amp.GradScaler | None = None,
    ranks: Ranks | None = None,
) -> torch.Tensor:
    """Clip the gradients that exist, move the weights that have one, forget the gradients.

    Of several processes, which have all run the same operations, the gradients are added up first. A weight whose
    operation was not sampled has no gradient at all and stays where it is, moments included. So do all weights where
    the gradients of float16 are not finite, and the scaler then takes a smaller scale.

    Returns:
        The gradient's norm before clipping.
    """
    scaler = scaler or torch.amp.GradScaler(enabled=False)
    active = [p for group in optimiser.param_groups for p in group["params"] if p.grad is not None]
    if ranks is not None:
        ranks.add_tensors(p.grad for p in active)
    scaler.unscale_(optimiser)
    norm = nn.utils.clip_grad_norm_(active, clip)
    for group in optimiser.param_groups:
        group["lr"] = lr
    scaler.step(optimiser)
    scaler.update()
    optimiser.zero_grad(set_to_none=True)
    return norm.nan_to_num(0.0, 0.0) if scaler.is_enabled() else norm
