"""One architecture step: open the gates, back-propagate to them, move alpha."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from search.estimators import Estimator
from search.supernet import Supernet


def arch_step(
    supernet: Supernet,
    losses: Iterable[Callable[[], Tensor]],
    estimator: Estimator,
    optimiser: torch.optim.Optimizer,
    generator: torch.Generator,
) -> Tensor:
    """Move alpha once along the estimated gradient of the loss; weights and their gradients are not touched.

    Args:
        supernet: its blocks' alphas are moved in place.
        losses: run the model on one part of an architecture batch each and return its scalar loss. Their gradients add
            up, so that parts only bound how much memory graphs take at a time. Where losses are means the parts must be
            of equal size; the sum is then a multiple of the whole's gradient, of which Adam takes no notice.
        estimator: which candidates run, and what their gates' gradients mean.
        optimiser: over ``supernet.alphas``; Adam(0.1, betas (0, 0.999)) in the paper.
        generator: draws the path.

    Returns:
        The sum of the losses, detached.
    """
    open_gates(supernet, estimator, generator)
    try:
        gates = [block.gates for block in supernet.blocks]
        total = torch.zeros((), device=gates[0].device)
        for loss_of in losses:
            loss = loss_of()
            loss.backward(inputs=gates)
            total += loss.detach()
        for block in supernet.blocks:
            gradient = torch.zeros_like(block.gates) if block.gates.grad is None else block.gates.grad
            block.alpha.grad = estimator.alpha_gradient(block.alpha.detach(), block.running, gradient.float())
        before = [alpha.detach().clone() for alpha in supernet.alphas]
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        with torch.no_grad():
            for block, old in zip(supernet.blocks, before, strict=True):
                block.alpha.copy_(estimator.keep_mass(block.alpha, old, block.running))
    finally:
        supernet.close()
    return total


def open_gates(supernet: Supernet, estimator: Estimator, generator: torch.Generator) -> None:
    """Choose for every block which candidates run and which of them is active, and set its binary gates."""
    for block in supernet.blocks:
        p = block.probabilities
        running = estimator.running(p, generator)
        active = int(torch.multinomial(p[running], 1, generator=generator))
        gates = torch.zeros(len(running), device=block.alpha.device)
        gates[active] = 1.0
        block.active = running[active]
        block.open(running, gates.requires_grad_(), learning=[block.active])
