"""Training of single architectures from the supernet's weights, for those who pick among a few of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from common.progress import track
from engine import optim
from engine.batches import EndlessBatches
from engine.learning import add_up, learn, whole_totals
from engine.runtime import Runtime, undrawn
from search.supernet import Supernet
from space.network import Model
from space.settings import Path

WARM_UP = 0.1  # of the steps, until Adam's new moments mean something


@dataclass(frozen=True)
class Tuner:
    """Trains paths on their own, on the samples that trained the supernet's weights.

    Every path sees the same batches in the same order at the same rate, and a step draws from the same seed, so
    that losses over the same steps can be compared (training speed as an estimate, arXiv 2006.04492).

    Args:
        supernet: gives each path the weights to start from, and keeps its own.
        split: the samples.
        losses: of a model on a batch; ``loss`` is what it learns by.
        settings: batch size, rate, clipping and epochs of the search; the rate falls along half a cosine.
        runtime: device, random streams and the processes that share every batch.
        count: parts in which a process takes its share of a batch.
    """

    supernet: Supernet
    split: Any
    losses: Callable[[Model, Any], Mapping[str, Tensor]]
    settings: optim.Training
    runtime: Runtime
    count: int = 1

    def begin(self, path: Path, steps: int) -> Tuned:
        """A copy of a path's network, to be trained for so many steps at most."""
        self.supernet.choose(path)
        return Tuned(self, self.supernet.discretise().train(), steps)

    @property
    def planned_steps(self) -> int:
        """Weight steps of all epochs of the search."""
        return self.settings.epochs * EndlessBatches(self.split, self.settings.batch_size, self.runtime, "").steps


class Tuned:
    """A path's network in training."""

    def __init__(self, tuner: Tuner, model: Model, steps: int) -> None:
        self.tuner, self.model, self.steps, self.taken = tuner, model, steps, 0
        self.optimiser, self.scaler = optim.adam(model.parameters()), tuner.runtime.scaler()
        self.batches = EndlessBatches(tuner.split, tuner.settings.batch_size, tuner.runtime, "tuning")

    def train(self, steps: int, what: str) -> tuple[list[Tensor], dict[str, Any]]:
        """Take so many steps, with progress; their losses, and the state."""
        return [self.step() for _ in track(range(steps), what)], self.state_dict()

    def state_dict(self) -> dict[str, Any]:
        """What training goes on from, but for the scale of float16, which is a GPU's and stays where it is."""
        return {"model": self.model.state_dict(), "optimiser": self.optimiser.state_dict(), "taken": self.taken}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there."""
        self.model.load_state_dict(state["model"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.taken = state["taken"]

    def step(self) -> Tensor:
        """Take a step; its loss, detached."""
        settings, runtime = self.tuner.settings, self.tuner.runtime
        parts = whole_totals([*self.batches.parts(self.taken, self.tuner.count)], runtime.ranks)
        losses = partial(self.tuner.losses, self.model)
        with undrawn(runtime.device):
            torch.manual_seed(int(runtime.rng("tuning", self.taken).integers(2**62)))
            found = learn(parts, losses, lambda loss: self.scaler.scale(loss).backward())
        optim.step(self.optimiser, settings.lr * self._factor(), settings.clip, self.scaler, runtime.ranks)
        self.taken += 1
        return add_up(found, runtime.ranks)["loss"]

    def _factor(self) -> float:
        progress = self.taken / self.steps
        return min(1.0, (self.taken + 1) / (WARM_UP * self.steps)) * 0.5 * (1 + math.cos(math.pi * progress))
