"""What is trained for the table: the demo's grounding in a space of 64 architectures, and the searches in it."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

from genotypes.genotype import Genotype
from search.estimators import ESTIMATORS
from search.samplers import SAMPLERS
from space.settings import SpaceSettings

# One block of self-attention reads the words; the decoder, which is searched, is a block shorter than the demo's.
FLAGS = (
    "--task=vgd",
    "--space.encoder.blocks=1",
    "--space.encoder.candidates=[self_att_16]",
    "--space.decoder.blocks=3",
)
TRAINING_SEEDS = (0, 1)
FEW, MANY = 3, 10  # searches of every kind, and of the one that is the default


@dataclass(frozen=True)
class Way:
    """How a supernet is trained.

    Args:
        estimator: of alpha's gradient.
        sampler: of the paths that train the weights.
    """

    estimator: str
    sampler: str

    @property
    def flags(self) -> tuple[str, str]:
        """For the command line of a search."""
        return f"--search.estimator={self.estimator}", f"--search.sampler={self.sampler}"


def rounds(usual: Way) -> list[list[tuple[Way, int]]]:
    """Every search with its seed: those of the usual way first, then all others' first seed, second seed and so on."""
    others = [way for names in product(ESTIMATORS, SAMPLERS) if (way := Way(*names)) != usual]
    return [[(usual, seed) for seed in range(MANY)], *([(way, seed) for way in others] for seed in range(FEW))]


def networks(space: SpaceSettings) -> list[Genotype]:
    """All architectures, in the order in which the table holds them: the last block's candidates follow each other."""
    choices = [[*side.candidates] for side in (space.encoder, space.decoder) for _ in range(side.blocks)]
    cut = space.encoder.blocks
    return [Genotype(None, names[:cut], names[cut:]) for names in product(*choices)]
