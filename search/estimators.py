"""Gradient estimators: how an architecture step opens the gates and turns their gradients into alpha's.

A new estimator is one class here and its name in ESTIMATORS.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor


class Estimator(ABC):
    """Which candidates of a block run in an architecture step, and what their gates' gradients say of alpha.

    An estimator holds nothing between steps: it is told what it needs.
    """

    @abstractmethod
    def running(self, probabilities: Tensor, generator: torch.Generator) -> list[int]:
        """Numbers of the candidates that run, given all (K,) probabilities."""

    def alpha_gradient(self, alpha: Tensor, running: Sequence[int], gate_gradient: Tensor) -> Tensor:
        """(K,) gradient: dL/dalpha_i = sum_j dL/dg_j p_j (delta_ij - p_i) with p the softmax over those running."""
        p = alpha[running].softmax(0)
        gradient = torch.zeros_like(alpha)
        gradient[running] = p * (gate_gradient - (gate_gradient * p).sum())
        return gradient

    def keep_mass(self, alpha: Tensor, before: Tensor, running: Sequence[int]) -> Tensor:
        """Alpha after the optimiser moved it from ``before``; may restore the total probability of those running."""
        return alpha


class Full(Estimator):
    """All candidates run (ProxylessNAS, equation 4)."""

    def running(self, probabilities: Tensor, generator: torch.Generator) -> list[int]:
        """Every candidate."""
        return list(range(len(probabilities)))


class Two(Estimator):
    """Two sampled candidates run, and their total probability stays (ProxylessNAS, section 3.2.1).

    Memory and time no longer grow with the number of candidates.
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


ESTIMATORS: dict[str, type[Estimator]] = {"full": Full, "two": Two}
