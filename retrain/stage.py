"""Retraining as the loop sees it: a plain network, the best epoch kept."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from torch import Tensor

from engine import optim
from engine.batches import first_images
from engine.learning import add_up, learn, whole_totals
from engine.replicated import Replicated
from engine.runtime import Runtime
from retrain.settings import RetrainSettings
from space.network import Model
from tasks.base import Batch, Task, eval_mode


class RetrainStage:
    """Trains a fixed network from scratch and remembers its best epoch on the validation split.

    Args:
        task: the task trained on.
        model: lives on the runtime's device.
        settings: the retrain section.
        runtime: device, precision, random streams.
        keep: called after an epoch that scored better than all before it, with epoch and metrics.
    """

    def __init__(
        self,
        task: Task,
        model: Model,
        settings: RetrainSettings,
        runtime: Runtime,
        keep: Callable[[int, Mapping[str, float]], None],
    ) -> None:
        self.task, self.model, self.settings, self.runtime, self.keep = task, model, settings, runtime, keep
        self.split = task.split("train")
        val = task.split("val")
        self.val = val.subset(first_images(val.image_ids, settings.val_images))
        self.optimiser, self.scaler = optim.adam(model.parameters()), runtime.scaler()
        self.count = 1
        self.replicated = Replicated(self._losses, model, runtime.ranks)
        self.best = float("-inf")
        self.chance: dict[str, float] = {}  # what guessing would score on the validation split

    def start_epoch(self, epoch: int) -> None:
        """Let the split prepare itself with the model as it stands."""
        with eval_mode(self.model), self.runtime.autocast():
            self.split.refresh(self.model, epoch, self.runtime.rng("refresh", epoch))

    def train_step(self, parts: Sequence[Batch], lr: float, epoch: int) -> Mapping[str, Tensor]:
        """One step of Adam."""
        found = self.replicated.learn(whole_totals(parts, self.runtime.ranks), self.scaler)
        norm = optim.step(self.optimiser, lr, self.settings.clip, self.scaler)
        return {**add_up(found, self.runtime.ranks), "grad_norm": norm}

    def rehearse(self, parts: Sequence[Batch], everything: bool = False) -> None:
        """The step's way there and back, which is everything that is done."""
        learn([part.to(self.runtime.device) for part in parts], self._losses, lambda loss: loss.backward())
        self.optimiser.zero_grad()

    def replicas(self) -> Iterable[Tensor]:
        """The network's weights."""
        return self.model.parameters()

    def _losses(self, part: Batch) -> dict[str, Tensor]:
        with self.runtime.autocast():
            return self.task.loss(self.model, part)

    def end_epoch(self, epoch: int, validate: bool) -> tuple[Mapping[str, Mapping[str, float]], bool]:
        """Score the validation split; keep the model if it is the best so far."""
        if not validate:
            return {}, False
        with eval_mode(self.model), self.runtime.autocast():
            found = self.task.evaluate(self.model, self.val, self.settings.batch_size)
        metrics, self.chance = found.metrics, found.chance
        if metrics[self.task.objective] > self.best:
            self.best = metrics[self.task.objective]
            self.keep(epoch, metrics)
        return {"val": metrics}, False

    def state_dict(self) -> dict[str, Any]:
        """Weights, optimiser, the split's pools and the best score."""
        return {
            "model": self.model.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "scaler": self.scaler.state_dict(),
            "split": self.split.state_dict(),
            "best": self.best,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take everything back."""
        self.model.load_state_dict(state["model"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.scaler.load_state_dict(state["scaler"])
        self.split.load_state_dict(state["split"])
        self.best = state["best"]
