"""The supernet: a model whose blocks are choices. Samples paths, reads genotypes off, turns into a fixed network."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence

import torch
from torch import nn

from common.errors import UserError
from search.mixed import MixedOp
from space.inputs import sent
from space.network import Model
from space.settings import Path

Probabilities = dict[str, list[dict[str, float]]]


class Supernet:
    """A model filled with ``MixedOp`` blocks, seen as a distribution over architectures.

    Its alphas are on the CPU, where paths are drawn, wherever its weights are.
    """

    def __init__(self, model: Model) -> None:
        self.model = model
        self.encoder: list[MixedOp] = list(model.network.backbone.encoder)
        self.decoder: list[MixedOp] = list(model.network.backbone.decoder)
        self.device = torch.device("cpu")  # of the weights

    def to(self, device: torch.device) -> Supernet:
        """Move the weights; on a GPU alphas would have to be waited for whenever a path is drawn."""
        alphas = self.alphas
        for block in self.blocks:
            del block.alpha
        self.model.to(device)
        for block, alpha in zip(self.blocks, alphas, strict=True):
            block.alpha = alpha
        self.device = device
        return self

    @property
    def blocks(self) -> list[MixedOp]:
        """All blocks, encoder first."""
        return self.encoder + self.decoder

    @property
    def alphas(self) -> list[nn.Parameter]:
        """The architecture parameters, a (candidates,) vector per block."""
        return [block.alpha for block in self.blocks]

    @property
    def weights(self) -> list[nn.Parameter]:
        """Every other parameter."""
        alphas = {id(alpha) for alpha in self.alphas}
        return [p for p in self.model.parameters() if id(p) not in alphas]

    @property
    def architectures(self) -> int:
        """How many paths there are."""
        return math.prod(len(block.candidates) for block in self.blocks)

    def choose(self, path: Path) -> None:
        """Choose one candidate per block by its number."""
        for block, number in zip(self.blocks, path, strict=True):
            block.active = number

    def blend(self) -> None:
        """Run all candidates of every block, averaged by probability and all of them learning, until ``close``."""
        shares = [block.probabilities for block in self.blocks]
        together = sent(torch.cat(shares), self.device).split([len(one) for one in shares])
        for block, gates in zip(self.blocks, together, strict=True):
            everyone = range(len(block.candidates))
            block.open(everyone, gates, learning=everyone)

    def close(self) -> None:
        """Run one candidate per block again."""
        for block in self.blocks:
            block.close()

    def follow(self, encoder: Sequence[str], decoder: Sequence[str]) -> None:
        """Choose the path of these operations.

        Raises:
            UserError: the space has other blocks, or not these candidates.
        """
        for side, blocks, names in (("encoder", self.encoder, encoder), ("decoder", self.decoder, decoder)):
            if len(blocks) != len(names):
                raise UserError(f"the genotype has {len(names)} {side} blocks, the search space {len(blocks)}")
            for block, name in zip(blocks, names, strict=True):
                if name not in block.names:
                    raise UserError(f"the genotype's {side} holds {name!r}, the search space only {block.names}")
                block.active = block.names.index(name)

    def choose_best(self) -> None:
        """Choose the most probable candidate of every block."""
        for block in self.blocks:
            block.active = int(block.alpha.argmax())

    def start_from(self, encoder: Sequence[str], decoder: Sequence[str], lead: float = 1.0) -> None:
        """Let alpha start with a lead for a hand layout instead of uniform."""
        self.follow(encoder, decoder)
        with torch.no_grad():
            for block in self.blocks:
                block.alpha.zero_()[block.active] = lead

    def choices(self) -> dict[str, nn.Parameter]:
        """The alpha of every block that has a choice, by the block's name, such as ``"decoder 1"``."""
        sides = (("encoder", self.encoder), ("decoder", self.decoder))
        named = {f"{side} {number}": block for side, blocks in sides for number, block in enumerate(blocks, 1)}
        return {name: block.alpha for name, block in named.items() if len(block.candidates) > 1}

    def numbers(self) -> Path:
        """The path chosen now."""
        return tuple(block.active for block in self.blocks)

    def path(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The operations chosen now: encoder, decoder."""
        chosen = [block.names[block.active] for block in self.blocks]
        return tuple(chosen[: len(self.encoder)]), tuple(chosen[len(self.encoder) :])

    def probabilities(self) -> Probabilities:
        """softmax(alpha) of every block by operation name."""
        return {
            side: [dict(zip(block.names, block.probabilities.tolist(), strict=True)) for block in blocks]
            for side, blocks in (("encoder", self.encoder), ("decoder", self.decoder))
        }

    def discretise(self) -> Model:
        """A plain network of the path chosen now, with a copy of its weights."""
        backbone = self.model.network.backbone
        sides = backbone.encoder, backbone.decoder
        try:
            backbone.encoder, backbone.decoder = (
                nn.ModuleList(block.candidates[block.active] for block in side) for side in sides
            )
            return copy.deepcopy(self.model)
        finally:
            backbone.encoder, backbone.decoder = sides
