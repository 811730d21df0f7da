"""What a gradient estimator is: how an architecture step opens the blocks, and what it makes of what comes back."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor


class Opening(NamedTuple):
    """How a block of K candidates stands in one draw: R of them run, and their outputs are summed, each times its gate.

    Without gates the active candidate alone runs, and no graph is made.
    """

    active: int  # the drawn candidate; of a mixture the most probable one
    running: Sequence[int] = ()
    gates: Tensor | None = None  # (R,) the gates' values
    learning: Sequence[int] = ()  # those running with a graph, through which gates of blocks before this one learn
    soft: Tensor | None = None  # (R,) the softmax that passes the gates' gradients on to alpha
    temperature: float = 1.0  # of that softmax


class Estimator(ABC):
    """Opens the blocks in an architecture step, and turns gradients of gates, or losses, into the gradient of alpha.

    A step draws an opening of every block ``draws`` times, runs the loss with each, and moves alpha along the sum of
    the draws' gradients, each times its weight. Without draws there are no architecture steps: alpha stays.
    """

    draws: ClassVar[int] = 1

    @abstractmethod
    def open(self, alpha: Tensor, generator: torch.Generator, progress: float) -> Opening:
        """Draw how a block opens.

        Args:
            alpha: (K,) the block's, detached, on the CPU.
            generator: on the CPU; what is random comes from it alone, so that a resumed run draws the same.
            progress: from 0 in the first architecture step of a search to 1 in the last.
        """

    def weigh(self, losses: Tensor) -> Tensor:
        """(draws,) weights of the draws of a step, given their (draws,) losses; by default those of their mean."""
        return torch.ones_like(losses) / len(losses)

    def alpha_gradient(self, alpha: Tensor, opening: Opening, gate_gradient: Tensor) -> Tensor:
        """(K,) gradient of a draw: dL/dalpha_i = 1/tau sum_j dL/dg_j p_j (delta_ij - p_i), p and tau the opening's.

        Args:
            alpha: (K,) the block's, detached.
            opening: how the block stood.
            gate_gradient: (R,) the loss's with respect to the gates; (0,) where there were none.
        """
        p = opening.soft
        gradient = torch.zeros_like(alpha)
        gradient[opening.running] = p * (gate_gradient - (gate_gradient * p).sum()) / opening.temperature
        return gradient

    def keep_mass(self, alpha: Tensor, before: Tensor, running: Sequence[int]) -> Tensor:
        """Alpha after the optimiser moved it from ``before``; may restore the total probability of those that ran."""
        return alpha

    def state_dict(self) -> dict[str, Any]:
        """What it holds between steps: tensors, numbers and containers of them."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take back what ``state_dict`` gave."""
