"""Gradient estimators by name. A new estimator is one class and its name in ESTIMATORS.

L is the loss, g_i the gate of candidate i and o_i its output in a block, p the softmax of the block's alpha.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

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


def _probabilities(alpha: Tensor) -> Tensor:
    """(K,) softmax of alpha on the CPU, where the generators are."""
    return alpha.float().cpu().softmax(0)


def _draw(probabilities: Tensor, generator: torch.Generator) -> int:
    return int(torch.multinomial(probabilities, 1, generator=generator))


def _one_hot(number: int, count: int, like: Tensor) -> Tensor:
    return F.one_hot(torch.tensor(number), count).to(like)


ESTIMATORS: dict[str, type[Estimator]] = {"full": Full, "two": Two}
