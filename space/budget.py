"""A budget: what an architecture may cost, what those that alpha stands for cost, and how alpha is drawn to it."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence

import torch
from torch import Tensor

from common.errors import UserError
from space.cost import Prices
from space.ops import OPS
from space.settings import Path, SpaceSettings

UNITS = {"parameters": " parameters", "flops": "FLOPs", "latency": "ms"}
SCALES = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


class Budget:
    """What the architectures of a space may cost.

    A cost is the sum of the chosen candidates' prices, and that of relations once where any of them reads boxes.

    Args:
        kind: ``parameters``, ``flops``, or ``latency`` in milliseconds.
        most: the budget, in that.
        weight: how many percent of the loss an expected cost one percent above the budget counts as.
        space: the blocks and their candidates.
        prices: of every candidate.

    Raises:
        UserError: no architecture of the space is as cheap.
    """

    def __init__(self, kind: str, most: float, weight: float, space: SpaceSettings, prices: Prices) -> None:
        self.kind, self.most, self.weight, self.relations = kind, most, weight, prices.relations
        encoder, decoder = space.encoder, space.decoder
        names = [encoder.candidates] * encoder.blocks + [decoder.candidates] * decoder.blocks
        priced = [prices.encoder] * encoder.blocks + [prices.decoder] * decoder.blocks
        self.prices = [
            torch.tensor([of[name] for name in block], dtype=torch.float64)
            for block, of in zip(names, priced, strict=True)
        ]
        self.readers = [torch.tensor([OPS[name].reads_boxes for name in block]) for block in names]
        self.cheapest = self._cheapest()
        least = self.cost(self.cheapest)
        if least > most:
            raise UserError(
                f"search.budget.{kind}={most:.9g} is below the cheapest architecture of this space, which costs "
                f"{self._exactly(least)} at the sizes of the search; raise it to that at least, or change the space"
            )

    @property
    def fingerprint(self) -> str:
        """A short hash of the prices."""
        told = json.dumps([*(prices.tolist() for prices in self.prices), self.relations])
        return hashlib.sha256(told.encode()).hexdigest()[:12]

    def cost(self, path: Path) -> float:
        """Of one architecture."""
        own = sum(float(prices[number]) for prices, number in zip(self.prices, path, strict=True))
        reads = any(bool(readers[number]) for readers, number in zip(self.readers, path, strict=True))
        return own + (self.relations if reads else 0.0)

    def keeps(self, path: Path) -> bool:
        """Whether an architecture is within the budget."""
        return self.cost(path) <= self.most

    def mend(self, path: Path, generator: torch.Generator) -> Path:
        """A path within the budget: this one, with blocks in random order made as the cheapest has them until it is."""
        mended = list(path)
        order = [] if self.keeps(path) else torch.randperm(len(path), generator=generator).tolist()
        for place in order:
            mended[place] = self.cheapest[place]
            if self.keeps(tuple(mended)):
                break
        return tuple(mended)

    def expected(self, alphas: Sequence[Tensor]) -> float:
        """The mean cost of paths drawn by softmax(alpha), exactly: sum_b p_b . c_b + r (1 - prod_b (1 - q_b)).

        c are prices, r that of relations and q_b the probability that block b reads boxes.
        """
        p = [_softmax(alpha) for alpha in alphas]
        own = sum(float(p_b @ prices) for p_b, prices in zip(p, self.prices, strict=True))
        return own + self.relations * (1 - math.prod(self._blind(p)))

    def pull(self, alphas: Sequence[Tensor]) -> list[Tensor]:
        """The (K,) gradients of relu(log(expected cost / budget)) towards every block's alpha.

        The expected cost beside the loss is ProxylessNAS's (arXiv 1812.00332, section 3.3.1), where it is a sum over
        blocks of p . c as well. That it counts as a power of cost / budget, and only above the budget, is MnasNet's
        (arXiv 1807.11626, equations 2 and 3 with alpha = 0): minimising L max(cost / budget, 1)^w is minimising
        log L + w relu(log(cost / budget)), which a step follows that adds w L times these gradients to those of L.
        """
        expected = self.expected(alphas)
        if expected <= self.most:
            return [torch.zeros_like(alpha) for alpha in alphas]
        p = [_softmax(alpha) for alpha in alphas]
        blind, found = self._blind(p), []
        for place, (alpha, p_b) in enumerate(zip(alphas, p, strict=True)):
            others = math.prod(blind[:place]) * math.prod(blind[place + 1 :])
            towards_p = self.prices[place] + self.relations * others * self.readers[place]
            found.append((p_b * (towards_p - p_b @ towards_p) / expected).to(alpha))
        return found

    def _blind(self, p: Sequence[Tensor]) -> list[float]:
        """For every block the probability that it reads no boxes."""
        return [float(p_b[~readers].sum()) for p_b, readers in zip(p, self.readers, strict=True)]

    def _cheapest(self) -> Path:
        """Of the two that can be: the cheapest operation in every block, or the cheapest that reads no boxes."""
        anything = tuple(int(prices.argmin()) for prices in self.prices)
        pairs = zip(self.prices, self.readers, strict=True)
        blind = tuple(int(prices.masked_fill(readers, math.inf).argmin()) for prices, readers in pairs)
        return min(anything, blind, key=self.cost)

    def describe(self) -> str:
        """The budget and what the space has, in a line."""
        uniform = [torch.zeros_like(prices) for prices in self.prices]
        return (
            f"budget {self._amount(self.most)}; architectures cost {self._amount(self.cost(self.cheapest))} at least, "
            f"{self._amount(self.expected(uniform))} on average"
        )

    def verdict(self, path: Path) -> str:
        """Whether an architecture keeps it, such as ``"budget 2.00 GFLOPs: met, 1.71 (86 %)"``."""
        cost, scale = self.cost(path), self._scale()[0]
        word, over = ("met", "") if self.keeps(path) else ("missed", f", {(cost - self.most) / scale:.2f} too many")
        return f"budget {self._amount(self.most)}: {word}, {cost / scale:.2f} ({100 * cost / self.most:.0f} %){over}"

    def as_dict(self, path: Path) -> dict[str, object]:
        """For provenance: of what, how much, and what an architecture has of it."""
        return {"of": self.kind, "most": self.most, "cost": self.cost(path), "met": self.keeps(path)}

    def _scale(self) -> tuple[float, str]:
        """Factor and unit in which the budget is a handy number."""
        unit = UNITS[self.kind]
        if self.kind == "latency":
            return 1.0, f" {unit} a sample"
        factor, letter = next((scale for scale in SCALES if self.most >= scale[0]), (1.0, ""))
        return factor, f" {letter}{unit}"

    def _amount(self, cost: float) -> str:
        scale, unit = self._scale()
        return f"{cost / scale:.2f}{unit}"

    def _exactly(self, cost: float) -> str:
        """Rounded up, so that it can be taken for a budget."""
        if self.kind == "latency":
            return f"{math.ceil(cost * 1e4) / 1e4:.4f} ms a sample"
        return f"{math.ceil(cost):,} {UNITS[self.kind].strip()}"


def _softmax(alpha: Tensor) -> Tensor:
    return alpha.detach().double().cpu().softmax(0)
