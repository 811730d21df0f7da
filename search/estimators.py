"""Gradient estimators by name. A new estimator is one class and its name in ESTIMATORS.

L is the loss, g_i the gate of candidate i and o_i its output in a block, p the softmax of the block's alpha.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from search.contract import Estimator, Opening


class BinaryGates(Estimator):
    """Of those running one is drawn and has the gate 1, the others 0 (ProxylessNAS, arXiv 1812.00332, section 3.2).

    dL/dalpha_i = sum_j dL/dg_j p_j (delta_ij - p_i), with p the softmax over those running: the gates' gradients are
    taken for those of p (equation 4). Candidates that were not drawn run for their gates' gradients alone, without a
    graph.
    """

    @abstractmethod
    def running(self, probabilities: Tensor, generator: torch.Generator) -> list[int]:
        """Numbers of the candidates that run, given all (K,) probabilities."""

    def open(self, alpha: Tensor, generator: torch.Generator, progress: float) -> Opening:
        """One of those running, drawn by probability, has the gate 1."""
        p = _probabilities(alpha)
        running = self.running(p, generator)
        drawn = _draw(p[running], generator)
        active = running[drawn]
        return Opening(active, running, _one_hot(drawn, len(running), alpha), [active], alpha[running].softmax(0))


class Full(BinaryGates):
    """All candidates run (ProxylessNAS, equation 4).

    In the mean the gradient of the expected loss of paths where L is linear in the gates of every block; else biased.
    """

    def running(self, probabilities: Tensor, generator: torch.Generator) -> list[int]:
        """Every candidate."""
        return list(range(len(probabilities)))


class Two(BinaryGates):
    """Two sampled candidates run, and their total probability stays (ProxylessNAS, section 3.2.1).

    Memory and time no longer grow with the number of candidates. Where a block has more than two, neither the pairs nor
    the one drawn of a pair come as often as p would have it, so that the gradient is biased where L is linear too.
    """

    def running(self, probabilities: Tensor, generator: torch.Generator) -> list[int]:
        """Two candidates, drawn without replacement by probability."""
        if len(probabilities) < 2:
            return list(range(len(probabilities)))
        return torch.multinomial(probabilities, 2, generator=generator).tolist()

    def keep_mass(self, alpha: Tensor, before: Tensor, running: Sequence[int]) -> Tensor:
        """Shift the two alphas equally so that the sum of their exponentials is what it was."""
        alpha = alpha.clone()
        alpha[running] += before[running].logsumexp(0) - alpha[running].logsumexp(0)
        return alpha


class Darts(Estimator):
    """The output of a block is the mixture sum_i p_i o_i (DARTS, arXiv 1806.09055, equation 2).

    dL/dalpha_i = sum_j <dL/do, o_j> p_j (delta_ij - p_i), exact for the mixture's loss, which is the expected loss of
    paths only where L is linear in the gates. First order: weights are taken as they are. Memory: a graph goes through
    all candidates of all blocks.
    """

    def open(self, alpha: Tensor, generator: torch.Generator, progress: float) -> Opening:
        """All candidates run and learn; nothing is drawn."""
        p, everyone = alpha.softmax(0), list(range(len(alpha)))
        return Opening(int(p.argmax()), everyone, p.clone(), everyone, p)


class Gdas(Estimator):
    """Straight-through Gumbel softmax (GDAS, arXiv 1910.04465), averaged over draws of the Gumbel noise G.

    Forward g = one_hot(argmax y), backward as if g were y = softmax((alpha + G) / tau), with tau going linearly from 10
    in the first architecture step to 0.1 in the last. Where L is linear in the gates the bias vanishes as tau falls,
    while the variance grows as 1 / tau. Candidates that were not drawn run for their gates' gradients alone, without a
    graph; the paper's shortcut of not running them would about halve the gradient of a linear L.
    """

    draws = 4
    HOTTEST, COLDEST = 10.0, 0.1

    def open(self, alpha: Tensor, generator: torch.Generator, progress: float) -> Opening:
        """All candidates run; the one that has the largest alpha with its noise has the gate 1."""
        temperature = (1 - progress) * self.HOTTEST + progress * self.COLDEST
        noise = -torch.empty(len(alpha)).exponential_(generator=generator).log()
        soft = ((alpha + noise.to(alpha)) / temperature).softmax(0)
        active = int(soft.argmax())
        gates = _one_hot(active, len(alpha), alpha)
        return Opening(active, list(range(len(alpha))), gates, [active], soft, temperature)


class Reinforce(Estimator):
    """The score function with a baseline b (REINFORCE, Williams 1992), averaged over paths drawn from p.

    dL/dalpha_i = (L - b) (delta_ik - p_i) with k the drawn candidate: unbiased for the expected loss of paths. b is a
    moving average of the loss over the steps before; in the first step the mean loss of its other paths. Paths run
    forward only, without a graph, one candidate a block.
    """

    draws = 8
    KEPT = 0.9  # of the baseline, in a step

    def __init__(self) -> None:
        self.baseline: float | None = None

    def open(self, alpha: Tensor, generator: torch.Generator, progress: float) -> Opening:
        """One candidate, drawn by probability, runs alone."""
        return Opening(_draw(_probabilities(alpha), generator))

    def weigh(self, losses: Tensor) -> Tensor:
        """(draws,) how far the losses lie above the baseline, which takes them in afterwards."""
        mean, others = float(losses.mean()), (losses.sum() - losses) / (len(losses) - 1)
        above = losses - (others if self.baseline is None else self.baseline)
        self.baseline = mean if self.baseline is None else self.KEPT * self.baseline + (1 - self.KEPT) * mean
        return above / len(losses)

    def alpha_gradient(self, alpha: Tensor, opening: Opening, gate_gradient: Tensor) -> Tensor:
        """(K,) gradient of the drawn candidate's log-probability."""
        return _one_hot(opening.active, len(alpha), alpha) - alpha.softmax(0)

    def state_dict(self) -> dict[str, Any]:
        """The baseline."""
        return {"baseline": self.baseline}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take it back."""
        self.baseline = state["baseline"]


class Still(Estimator):
    """Alpha stays where it is, uniform or led by ``search.start``: the control of a search."""

    draws = 0

    def open(self, alpha: Tensor, generator: torch.Generator, progress: float) -> Opening:
        """The most probable candidate; as there are no draws, nobody asks."""
        return Opening(int(alpha.argmax()))


def _probabilities(alpha: Tensor) -> Tensor:
    """(K,) softmax of alpha on the CPU, where the generators are."""
    return alpha.float().cpu().softmax(0)


def _draw(probabilities: Tensor, generator: torch.Generator) -> int:
    return int(torch.multinomial(probabilities, 1, generator=generator))


def _one_hot(number: int, count: int, like: Tensor) -> Tensor:
    return F.one_hot(torch.tensor(number), count).to(like)


ESTIMATORS: dict[str, type[Estimator]] = {
    "full": Full,
    "two": Two,
    "darts": Darts,
    "gdas": Gdas,
    "reinforce": Reinforce,
    "none": Still,
}
