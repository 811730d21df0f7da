"""The search as the loop sees it: weight steps on sampled paths, architecture steps, a genotype every epoch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from common.errors import UserError
from engine import optim
from engine.batches import EndlessBatches, first_images, steps_per_epoch
from engine.learning import add_up, learn, whole_totals
from engine.runtime import Runtime
from genotypes.genotype import Genotype
from search.arch_step import arch_step, rehearse
from search.diagnosis import Diagnosis, alpha_numbers, stable_epochs
from search.estimators import ESTIMATORS
from search.samplers import SAMPLERS
from search.settings import SearchSettings
from search.supernet import Supernet
from search.team import Team
from space.budget import Budget
from space.network import Model
from tasks.base import Batch, Split, Task, eval_mode

# Samples that go through open gates together, which take several times the memory of a sampled path; on other devices,
# to which parts cost time, the whole batch.
TOGETHER = {"cpu": 32}


def split_by_image(split: Split, share: float, rng: np.random.Generator) -> tuple[Split, Split]:
    """Divide a split by image: ``share`` of its images and the others, at least two on each side.

    Raises:
        UserError: there are fewer than four images.
    """
    images = rng.permutation(np.unique(split.image_ids))
    if len(images) < 4:
        raise UserError(
            "a search needs at least four training images, two for weights and two for the architecture; "
            f"there are {len(images)}"
        )
    cut = min(max(2, round(share * len(images))), len(images) - 2)
    first = np.isin(split.image_ids, images[:cut])
    return split.subset(np.flatnonzero(first)), split.subset(np.flatnonzero(~first))


class SearchStage:
    """Alternates between weights and architecture on two parts of the training data, split by image.

    Args:
        task: the task searched on.
        supernet: its weights are on the runtime's device.
        settings: the search section.
        runtime: device, precision, random streams.
        report: called after every epoch with all genotypes so far, one per epoch.
        budget: what the architecture may cost; None for whatever it takes.

    Raises:
        UserError: there are too few images, or no architecture step fits into the epochs.
    """

    def __init__(
        self,
        task: Task,
        supernet: Supernet,
        settings: SearchSettings,
        runtime: Runtime,
        report: Callable[[list[Genotype]], None],
        budget: Budget | None = None,
    ) -> None:
        self.task, self.supernet, self.settings, self.runtime, self.report = task, supernet, settings, runtime, report
        self.budget = budget
        self.split, self.arch_split = split_by_image(task.split("train"), settings.weight_share, runtime.rng("halves"))
        self.planned_steps = settings.arch_steps(steps_per_epoch(len(self.split), settings.batch_size))
        val = task.split("val")
        self.val = val.subset(first_images(val.image_ids, settings.val_images))
        self.arch_batches = EndlessBatches(self.arch_split, settings.batch_size, runtime, "arch")
        self.optimiser, self.scaler = optim.adam(supernet.weights), runtime.scaler()
        self.count = 1
        self.alpha_optimiser = torch.optim.Adam(supernet.alphas, lr=settings.alpha_lr, betas=(0.0, 0.999), fused=True)
        self.estimator = ESTIMATORS[settings.estimator]()
        self.sampler = SAMPLERS[settings.sampler]()
        self.team = Team(supernet, self._backward)
        self.generator = runtime.generator("paths")
        self.weight_steps = self.arch_steps = 0
        self.began = {name: alpha.detach().clone() for name, alpha in supernet.choices().items()}
        self.start = supernet.probabilities()
        self.history: list[Genotype] = []
        self.chance: dict[str, float] = {}  # what guessing would score on the validation split

    def start_epoch(self, epoch: int) -> None:
        """Each part mines its own negatives, with the most probable path."""
        self.supernet.choose_best()
        with eval_mode(self.supernet.model), self.runtime.autocast():
            self.split.refresh(self.supernet.model, epoch, self.runtime.rng("refresh weights", epoch))
            if self._moves_alpha(epoch):
                self.arch_split.refresh(self.supernet.model, epoch, self.runtime.rng("refresh arch", epoch))

    def train_step(self, parts: Sequence[Batch], lr: float, epoch: int) -> Mapping[str, Tensor]:
        """A weight step on sampled paths and, every so many of them, an architecture step."""
        ranks = self.runtime.ranks
        parts = whole_totals(parts, ranks)
        if self.weight_steps < self.settings.blend_steps:
            self.supernet.blend()
            found = self._backward(parts)
            self.supernet.close()
        else:
            found = self.team.learn(self.sampler.draw(self.supernet.blocks, self.generator), parts)
        norm = optim.step(self.optimiser, lr, self.settings.clip, self.scaler, ranks)
        self.weight_steps += 1
        if self._moves_alpha(epoch) and self.weight_steps % self.settings.alpha_every == 0:
            with self.runtime.part("architecture"):
                self._arch_step()
        return {**add_up(found, ranks), "grad_norm": norm}

    def rehearse(self, parts: Sequence[Batch], everything: bool = False) -> None:
        """A weight step's way there and back, on the path that stands chosen or on all candidates at once.

        Args:
            parts: of a batch.
            everything: an architecture step's too.
        """
        blends = self.weight_steps < self.settings.blend_steps
        if blends:
            self.supernet.blend()
        try:
            learn(parts, partial(self.losses, self.supernet.model), lambda loss: loss.backward())
        finally:
            self.supernet.close()
            self.optimiser.zero_grad()
        if everything and self.settings.moves_alpha:
            rehearse(self.supernet, [partial(self.supernet_loss, part) for part in parts], self.estimator)

    def replicas(self) -> Iterable[Tensor]:
        """The supernet's weights and alphas."""
        return self.supernet.model.parameters()

    def _backward(self, parts: Sequence[Batch], share: float = 1.0) -> dict[str, Tensor]:
        def backward(loss: Tensor) -> None:
            self.scaler.scale(loss * share if share < 1 else loss).backward()

        return learn(parts, partial(self.losses, self.supernet.model), backward)

    def _moves_alpha(self, epoch: int) -> bool:
        return self.settings.moves_alpha and epoch >= self.settings.alpha_start

    def _arch_step(self) -> None:
        together, ranks = TOGETHER.get(self.runtime.device.type, self.settings.batch_size), self.runtime.ranks
        count = max(self.count, -(-self.settings.batch_size // (together * ranks.size)))
        parts = whole_totals([*self.arch_batches.parts(self.arch_steps, count)], ranks)
        losses = (partial(self.supernet_loss, part) for part in parts)
        progress = self.arch_steps / max(1, self.planned_steps - 1)
        how = self.estimator, self.alpha_optimiser, self.generator, progress, self.settings.beta_decay, self.budget
        scale = self.scaler.get_scale() if self.scaler.is_enabled() else None
        if arch_step(self.supernet, losses, *how, ranks, scale) is None:
            self.scaler.update(scale / 2)
        self.arch_steps += 1

    def losses(self, model: Model, batch: Batch) -> dict[str, Tensor]:
        """The losses of a model on a batch from anywhere, in the runtime's precision."""
        with self.runtime.autocast():
            return self.task.loss(model, batch.to(self.runtime.device))

    def supernet_loss(self, batch: Batch) -> Tensor:
        """The loss of the supernet, as it stands open, on a batch or a part of one from anywhere."""
        loss = self.losses(self.supernet.model, batch)["loss"]
        return loss if batch.share else loss * 0

    def end_epoch(self, epoch: int, validate: bool) -> tuple[Mapping[str, Mapping[str, float]], bool]:
        """Note the genotype; score its path on the validation split; stop if it has converged."""
        self.team.dismiss()
        self.supernet.choose_best()
        self.history.append(self.genotype())
        self.report(self.history)
        converged, scored = self._converged(), {}
        if validate or converged:
            scored["val"] = self.validated()
        noted = alpha_numbers(self.diagnosis())
        if self.budget is not None:
            noted["search"]["budget_share"] = 100 * self.budget.expected(self.supernet.alphas) / self.budget.most
        return {**scored, **noted}, converged

    def diagnosis(self) -> Diagnosis:
        """What became of alpha so far."""
        return Diagnosis(self.history, self.start, self.unmoved())

    def validated(self) -> dict[str, float]:
        """Metrics of the path chosen now on the validation split."""
        with eval_mode(self.supernet.model), self.runtime.autocast():
            found = self.task.evaluate(self.supernet.model, self.val, self.settings.batch_size)
        self.chance = found.chance
        return found.metrics

    def genotype(self) -> Genotype:
        """The path chosen now, with all probabilities and whether the search has moved any of them."""
        encoder, decoder = self.supernet.path()
        provenance = {"architecture_steps": self.arch_steps, "moved": len(self.unmoved()) < len(self.began)}
        return Genotype(self.task.name, encoder, decoder, None, provenance, self.supernet.probabilities())

    def unmoved(self) -> list[str]:
        """The blocks with a choice whose alpha is still exactly where this search began."""
        return [name for name, alpha in self.supernet.choices().items() if torch.equal(alpha, self.began[name])]

    def _converged(self) -> bool:
        patience = self.settings.patience
        if patience is None:
            return False
        return stable_epochs(self.history) >= patience

    def state_dict(self) -> dict[str, Any]:
        """Weights, optimisers, pools of both parts, path generator, estimator, counters and the genotypes so far."""
        return {
            "model": self.supernet.model.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "alpha_optimiser": self.alpha_optimiser.state_dict(),
            "scaler": self.scaler.state_dict(),
            "split": self.split.state_dict(),
            "arch_split": self.arch_split.state_dict(),
            "generator": self.generator.get_state(),
            "estimator": self.estimator.state_dict(),
            "steps": [self.weight_steps, self.arch_steps],
            "history": [genotype.as_dict() for genotype in self.history],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take everything back."""
        self.supernet.model.load_state_dict(state["model"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.alpha_optimiser.load_state_dict(state["alpha_optimiser"])
        self.scaler.load_state_dict(state["scaler"])
        self.split.load_state_dict(state["split"])
        self.arch_split.load_state_dict(state["arch_split"])
        self.generator.set_state(state["generator"])
        self.estimator.load_state_dict(state["estimator"])
        self.weight_steps, self.arch_steps = state["steps"]
        self.history = [Genotype.from_dict(genotype) for genotype in state["history"]]
