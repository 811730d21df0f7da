"""Selectors: which architecture a search comes out with, once its supernet is trained.

A new selector is one class here and its name in SELECTORS.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from itertools import product
from operator import methodcaller

import numpy as np
import torch

from common.copies import spread
from common.errors import UserError
from search.judge import Judge
from search.supernet import Supernet
from search.tuning import Tuner
from space.budget import Budget
from space.settings import Path

MOST = 10_000  # architectures that are all judged


class Selector(ABC):
    """Picks a path of a supernet.

    Args:
        supernet: trained.
        judge: scores paths of it.
        generator: of whatever is drawn.
        tuner: trains paths on their own.
        budget: what the path may cost, for selectors that keep to it.
    """

    def __init__(
        self,
        supernet: Supernet,
        judge: Judge,
        generator: torch.Generator,
        tuner: Tuner,
        budget: Budget | None = None,
    ) -> None:
        self.supernet, self.judge, self.generator, self.tuner = supernet, judge, generator, tuner
        self.budget = budget

    @classmethod
    def check(cls, architectures: int) -> None:
        """Refuse, before anything is trained, a space of so many architectures.

        Raises:
            UserError: the selector could not pick from it.
        """

    @abstractmethod
    def pick(self) -> Path:
        """The path the search comes out with."""


class Argmax(Selector):
    """The most probable candidate of every block, as published (arXiv 2004.12070, section 3.4), whatever it costs."""

    def pick(self) -> Path:
        """Without judging any."""
        return tuple(int(block.alpha.argmax()) for block in self.supernet.blocks)


class Exact(Selector):
    """The architecture with the lowest loss of all that keep the budget."""

    @classmethod
    def check(cls, architectures: int) -> None:
        """At most some 10,000 can all be judged."""
        if architectures > MOST:
            raise UserError(
                f"search.selector=exact judges every architecture, and this space has {architectures:,}, more than "
                f"{MOST:,}; choose search.selector=evolution"
            )

    def ranked(self) -> list[Path]:
        """Every path that may be picked, the lowest loss first."""
        paths = list(product(*(range(len(block.candidates)) for block in self.supernet.blocks)))
        if self.budget is not None:
            paths = list(filter(self.budget.keeps, paths))
        return [paths[number] for number in self.judge.losses(paths).mean(1).argsort(kind="stable")]

    def pick(self) -> Path:
        """By judging every path."""
        return self.ranked()[0]


class Evolution(Selector):
    """Regularised evolution (arXiv 1802.01548, algorithm 1), begun with paths drawn by their probability.

    The oldest of the population dies; the best of a sample has a child, which differs from it in few blocks. Whoever is
    over the budget is mended before being judged.
    """

    population, sample, mutation, generations = 100, 25, 0.05, 10

    def ranked(self) -> list[Path]:
        """All that ever lived, the lowest loss first."""
        drawn = [self._affordable(self._drawn()) for _ in range(self.population - 1)]
        known: dict[Path, float] = {}
        likeliest = self._affordable(Argmax(self.supernet, self.judge, self.generator, self.tuner).pick())
        alive = deque([likeliest, *drawn], maxlen=self.population)
        self._judge(list(alive), known)
        for _ in range(self.generations):
            born = [self._child(min(self._some(alive), key=known.__getitem__)) for _ in range(self.sample)]
            self._judge(born, known)
            alive.extend(born)
        return sorted(known, key=known.__getitem__)

    def pick(self) -> Path:
        """The best of all that ever lived."""
        return self.ranked()[0]

    def _judge(self, paths: list[Path], known: dict[Path, float]) -> None:
        new = [path for path in dict.fromkeys(paths) if path not in known]
        if new:
            known.update(zip(new, self.judge.losses(new).mean(1).tolist(), strict=True))

    def _drawn(self) -> Path:
        return tuple(
            int(torch.multinomial(block.probabilities, 1, generator=self.generator)) for block in self.supernet.blocks
        )

    def _some(self, alive: deque[Path]) -> list[Path]:
        return [alive[i] for i in torch.randperm(len(alive), generator=self.generator)[: self.sample].tolist()]

    def _child(self, parent: Path) -> Path:
        """The parent with every block mutated at the rate, and one at least."""
        changes = torch.rand(len(parent), generator=self.generator) < self.mutation
        changes[int(torch.randint(len(parent), (1,), generator=self.generator))] = True
        choices = [
            int(torch.randint(len(block.candidates), (1,), generator=self.generator)) for block in self.supernet.blocks
        ]
        return self._affordable(tuple(np.where(changes.numpy(), choices, parent).tolist()))

    def _affordable(self, path: Path) -> Path:
        return path if self.budget is None else self.budget.mend(path, self.generator)


class Halving(Selector):
    """Trains the best eight decoders from the supernet's weights, and after every round drops the worse half.

    Successive halving (arXiv 1502.07943, algorithm 1), by the training loss over the second half of a round. A supernet
    cannot teach every candidate what takes long to learn; a path that has its weights to itself shows in a hundred
    steps or two whether it would learn it, but not in fewer, so that rounds are equally long.

    Attributes:
        rounds: what each path of a round lost over its second half, infinite for one that diverged.
    """

    finalists, share = 8, 20  # a round takes each of them one step for so many weight steps of the search

    def pick(self) -> Path:
        """The one that is left."""
        judging = Exact if self.supernet.architectures <= MOST else Evolution
        alive = self._finalists(judging(self.supernet, self.judge, self.generator, self.tuner, self.budget).ranked())
        rounds, steps = (len(alive) - 1).bit_length(), max(1, self.tuner.planned_steps // self.share)
        running = {path: self.tuner.begin(path, rounds * steps) for path in alive}
        self.rounds: list[dict[Path, float]] = []
        for number in range(1, rounds + 1):
            what = f"halving, round {number} of {rounds}, {len(running)} networks, each"
            trained = spread(methodcaller("train", steps, what), [*running.values()], None)
            self.rounds.append({})
            for (path, network), (losses, state) in zip(running.items(), trained, strict=True):
                network.load_state_dict(state)  # a copy of this process may have trained it
                self.rounds[-1][path] = float(sum(losses[steps // 2 :]).nan_to_num(*[torch.inf] * 3))
            best = sorted(running, key=self.rounds[-1].__getitem__)
            running = {path: running[path] for path in best[: -(-len(best) // 2)]}
        return next(iter(running))

    def _finalists(self, ranked: list[Path]) -> list[Path]:
        """The best ones that differ in their decoder, if it has a choice; the best encoder goes with each."""
        encoder = len(self.supernet.encoder)
        decoders: dict[Path, Path] = {}
        for path in ranked:
            decoders.setdefault(path[encoder:], path)
        return (ranked if len(decoders) == 1 else [*decoders.values()])[: self.finalists]


SELECTORS: dict[str, type[Selector]] = {
    "argmax": Argmax,
    "exact": Exact,
    "evolution": Evolution,
    "halving": Halving,
}
