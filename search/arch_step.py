"""One architecture step: open the gates, back-propagate to them, move alpha."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from engine.distributed import Ranks
from search.contract import Estimator, Opening
from search.supernet import Supernet
from space.budget import Budget
from space.inputs import sent


def arch_step(
    supernet: Supernet,
    losses: Iterable[Callable[[], Tensor]],
    estimator: Estimator,
    optimiser: torch.optim.Optimizer,
    generator: torch.Generator,
    progress: float = 0.0,
    beta_decay: float = 0.0,
    budget: Budget | None = None,
    ranks: Ranks | None = None,
    scale: float | None = None,
) -> Tensor | None:
    """Move alpha once along the estimated gradient of the loss; weights and their gradients are not touched.

    Args:
        supernet: its blocks' alphas are moved in place.
        losses: run the model on one part of an architecture batch each and return its scalar loss. Their gradients add
            up, so that parts only bound how much memory graphs take at a time.
        estimator: which candidates run, and what is made of their gates' gradients or of the loss.
        optimiser: over ``supernet.alphas``; Adam(0.1, betas (0, 0.999)) in the paper.
        generator: draws paths and noise.
        progress: of the search's architecture steps, from 0 in the first to 1 in the last.
        beta_decay: weight of the sum over blocks of logsumexp(alpha), added to the loss (arXiv 2203.01665).
        budget: draws alpha to architectures that cost less, while their expected cost is above it.
        ranks: the processes that have other parts of the batch; None for none.
        scale: of the losses on their way back, which keeps gradients of float16 above zero; None in other precisions.

    Returns:
        The sum of the losses, detached, averaged over the estimator's draws; NaN where it has none. None where a scaled
        gradient is not finite: alpha then stays.
    """
    blocks = supernet.blocks
    draws = [_openings(supernet, estimator, generator, progress) for _ in range(estimator.draws)]
    found: list[Tensor | float] = [0.0] * len(draws)
    with _gates_alone(supernet):
        for loss_of in losses:
            for number, openings in enumerate(draws):
                found[number] = found[number] + _run(loss_of, open_gates(supernet, openings), scale)
    totals, gradients = _fetch(found, draws, ranks or Ranks())
    if scale and not all(torch.isfinite(of_gates).all() for draw in gradients for of_gates in draw):
        return None
    weights = estimator.weigh(totals)
    for number, block in enumerate(blocks):
        drawn = [(openings[number], of_gates[number]) for openings, of_gates in zip(draws, gradients, strict=True)]
        block.alpha.grad = _gradient(block.alpha.detach(), drawn, weights, estimator, beta_decay)
    if budget is not None:
        # As a share of the loss, so that one weight suits losses that are sums and losses that are means.
        share = budget.weight * abs(float(totals.mean()))
        for alpha, pull in zip(supernet.alphas, budget.pull(supernet.alphas), strict=True):
            alpha.grad += share * pull.to(alpha)
    _move(supernet, draws, estimator, optimiser)
    return totals.mean()


def rehearse(supernet: Supernet, losses: Iterable[Callable[[], Tensor]], estimator: Estimator) -> None:
    """What an architecture step holds in memory at its most, without moving anything."""
    generator = torch.Generator().manual_seed(0)
    with _gates_alone(supernet):
        for loss_of in losses if estimator.draws else ():
            _run(loss_of, open_gates(supernet, _openings(supernet, estimator, generator, 0.0)), None)


def _openings(supernet: Supernet, estimator: Estimator, generator: torch.Generator, progress: float) -> list[Opening]:
    """How every block opens in one draw."""
    return [estimator.open(block.alpha.detach(), generator, progress) for block in supernet.blocks]


def open_gates(supernet: Supernet, openings: Sequence[Opening]) -> Tensor | None:
    """Let every block stand as one draw has it.

    Returns:
        (R of all blocks,) the gates where the weights are, for gradients; None where no block has any.
    """
    values = [opening.gates for opening in openings if opening.gates is not None]
    gates = sent(torch.cat(values), supernet.device).requires_grad_() if values else None
    parts = iter(gates.split([len(one) for one in values]) if values else ())
    for block, opening in zip(supernet.blocks, openings, strict=True):
        block.active = opening.active
        if opening.gates is None:
            block.close()
        else:
            block.open(opening.running, next(parts), opening.learning)
    return gates


@contextmanager
def _gates_alone(supernet: Supernet) -> Iterator[None]:
    """Let weights need no gradients, as a function with its own way back is not told which of them are asked for.

    Afterwards the blocks stand closed.
    """
    learning = [weight for weight in supernet.weights if weight.requires_grad]
    for weight in learning:
        weight.requires_grad_(False)
    try:
        yield
    finally:
        for weight in learning:
            weight.requires_grad_()
        supernet.close()


def _run(loss_of: Callable[[], Tensor], gates: Tensor | None, scale: float | None) -> Tensor:
    """(1 + R of all blocks,) a part's loss and its gates' gradients; without gates it runs without a graph."""
    with torch.set_grad_enabled(gates is not None):
        loss = loss_of()
    if gates is None:
        return loss.view(1)
    (loss * scale if scale else loss).backward(inputs=[gates])
    return torch.cat((loss.detach().view(1), gates.grad / scale if scale else gates.grad))


def _fetch(
    found: Sequence[Tensor], draws: Sequence[Sequence[Opening]], ranks: Ranks
) -> tuple[Tensor, list[Sequence[Tensor]]]:
    """What draws gave, on the CPU: (draws,) losses, and of every draw the (R,) gradients of each block's gates.

    This waits for a GPU, once: which weights the next step runs depends on it.
    """
    if not found:
        return torch.zeros(0), []
    whole = torch.cat(tuple(found)).cpu()
    ranks.add_tensors([whole])
    own = whole.split([len(one) for one in found])
    sizes = [[0 if opening.gates is None else len(opening.gates) for opening in openings] for openings in draws]
    losses = torch.stack([one[0] for one in own])
    return losses, [one[1:].split(size) for one, size in zip(own, sizes, strict=True)]


def _move(
    supernet: Supernet, draws: Sequence[Sequence[Opening]], estimator: Estimator, optimiser: torch.optim.Optimizer
) -> None:
    """Take the optimiser's step, as far as the estimator lets it."""
    before = [alpha.detach().clone() for alpha in supernet.alphas]
    optimiser.step()
    optimiser.zero_grad(set_to_none=True)
    with torch.no_grad():
        for number, (block, old) in enumerate(zip(supernet.blocks, before, strict=True)):
            ran = dict.fromkeys(candidate for draw in draws for candidate in draw[number].running)
            block.alpha.copy_(estimator.keep_mass(block.alpha, old, list(ran)))


def _gradient(
    alpha: Tensor, drawn: Sequence[tuple[Opening, Tensor]], weights: Tensor, estimator: Estimator, beta_decay: float
) -> Tensor:
    """(K,) a block's gradient: the draws' by weight, and that of beta_decay * logsumexp(alpha)."""
    gradient = beta_decay * alpha.softmax(0)
    for (opening, of_gates), weight in zip(drawn, weights, strict=True):
        gradient += weight * estimator.alpha_gradient(alpha, opening, of_gates)
    return gradient
