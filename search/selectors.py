"""Selectors: which architecture a search comes out with, once its supernet is trained.

A new selector is one class here and its name in SELECTORS.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from itertools import product

import numpy as np
import torch

from common.errors import UserError
from search.judge import Judge
from search.supernet import Path, Supernet

MOST = 10_000  # architectures that are all judged


class Selector(ABC):
    """Picks a path of a supernet.

    Args:
        supernet: trained.
        judge: scores paths of it.
        generator: of whatever is drawn.
    """

    def __init__(self, supernet: Supernet, judge: Judge, generator: torch.Generator) -> None:
        self.supernet, self.judge, self.generator = supernet, judge, generator

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
    """The most probable candidate of every block, as published (arXiv 2004.12070, section 3.4)."""

    def pick(self) -> Path:
        """Without judging any."""
        return tuple(int(block.alpha.argmax()) for block in self.supernet.blocks)


class Exact(Selector):
    """The architecture with the lowest loss of all."""

    @classmethod
    def check(cls, architectures: int) -> None:
        """At most some 10,000 can all be judged."""
        if architectures > MOST:
            raise UserError(
                f"search.selector=exact judges every architecture, and this space has {architectures:,}, more than "
                f"{MOST:,}; choose search.selector=evolution"
            )

    def pick(self) -> Path:
        """By judging every path."""
        paths = list(product(*(range(len(block.candidates)) for block in self.supernet.blocks)))
        return paths[int(self.judge.losses(paths).mean(1).argmin())]


class Evolution(Selector):
    """Regularised evolution (arXiv 1802.01548, algorithm 1), begun with paths drawn by their probability.

    The oldest of the population dies; the best of a sample has a child, which differs from it in few blocks.
    """

    population, sample, mutation, generations = 100, 25, 0.05, 10

    def pick(self) -> Path:
        """The best of all that ever lived."""
        drawn = [self._drawn() for _ in range(self.population - 1)]
        known: dict[Path, float] = {}
        alive = deque([Argmax(self.supernet, self.judge, self.generator).pick(), *drawn], maxlen=self.population)
        self._judge(list(alive), known)
        for _ in range(self.generations):
            born = [self._child(min(self._some(alive), key=known.__getitem__)) for _ in range(self.sample)]
            self._judge(born, known)
            alive.extend(born)
        return min(known, key=known.__getitem__)

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
        return tuple(np.where(changes.numpy(), choices, parent).tolist())


SELECTORS: dict[str, type[Selector]] = {"argmax": Argmax, "exact": Exact, "evolution": Evolution}
