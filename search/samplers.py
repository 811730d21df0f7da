"""Samplers: which paths of the supernet train its weights.

A new sampler is one class here and its name in SAMPLERS.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch

from search.mixed import MixedOp
from space.settings import Path


class Sampler(ABC):
    """Draws the paths of a weight step."""

    @abstractmethod
    def draw(self, blocks: Sequence[MixedOp], generator: torch.Generator) -> list[Path]:
        """The paths whose gradients one step of the weights averages."""


class Alpha(Sampler):
    """One path, every block by softmax(alpha), as published (arXiv 2004.12070, section 3.4)."""

    def draw(self, blocks: Sequence[MixedOp], generator: torch.Generator) -> list[Path]:
        """A path that becomes surer as alpha does."""
        return [tuple(int(torch.multinomial(block.probabilities, 1, generator=generator)) for block in blocks)]


class Uniform(Sampler):
    """One path, all candidates alike, whatever alpha says (single path one-shot, arXiv 1904.00420)."""

    def draw(self, blocks: Sequence[MixedOp], generator: torch.Generator) -> list[Path]:
        """A path of a uniform distribution."""
        return [tuple(int(torch.randint(len(block.candidates), (1,), generator=generator)) for block in blocks)]


class Fair(Sampler):
    """As many paths as a block has candidates, each candidate in one of them (strict fairness, arXiv 1907.01845).

    Where blocks have different numbers of candidates, those of the shorter ones take turns.
    """

    def draw(self, blocks: Sequence[MixedOp], generator: torch.Generator) -> list[Path]:
        """Paths of random permutations."""
        most = max(len(block.candidates) for block in blocks)
        return list(zip(*(_turns(len(block.candidates), most, generator) for block in blocks), strict=True))


def _turns(candidates: int, turns: int, generator: torch.Generator) -> list[int]:
    rounds = [torch.randperm(candidates, generator=generator) for _ in range(-(-turns // candidates))]
    return torch.cat(rounds)[:turns].tolist()


SAMPLERS: dict[str, type[Sampler]] = {"alpha": Alpha, "uniform": Uniform, "fair": Fair}
