"""Dropout as which elements stay: random bits, a byte an element, and the factor that keeps the mean."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

GRAIN = 1 << 8  # values of the 8 random bits that decide over an element


def draw(like: Tensor, p: float) -> tuple[Tensor, float]:
    """Which elements stay when each falls with probability p, to a 256th and at least one.

    On a CPU torch's own dropout draws a floating-point number for every element, which takes as long as the matrix
    product before it; 8 bits of an integer decide as well and come eight at a time. They become numbers of their own
    size and then of like's, because torch's vectorised loops stop at truth values and mixed types.

    Args:
        like: of the shape wanted.
        p: above 0.

    Returns:
        1 where an element stays and 0 where it falls, as int8 (on a GPU in like's dtype); and what to multiply by.
    """
    cut = max(1, round(p * GRAIN))
    scale = GRAIN / max(1, GRAIN - cut)
    if not like.is_cpu:
        return torch.empty_like(like).bernoulli_(1 - cut / GRAIN), scale
    if cut >= GRAIN:
        return torch.zeros_like(like, dtype=torch.int8), scale
    words = torch.empty(like.numel() // 8 + 1, dtype=torch.int64, device=like.device).random_(-(2**63), None)
    return words.view(torch.int8)[: like.numel()].view(like.shape).ge_(cut - GRAIN // 2), scale


def dropout(x: Tensor, p: float) -> Tensor:
    """Zero elements with probability p, to a 256th, and scale the others so that the mean stays."""
    return _Dropout.apply(x, p) if p else x


class Dropout(nn.Dropout):
    """``dropout`` while training."""

    def forward(self, x: Tensor) -> Tensor:
        """Of any shape."""
        return dropout(x, self.p if self.training else 0.0)


class _Dropout(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, p: float) -> Tensor:
        kept, ctx.scale = draw(x, p)
        ctx.save_for_backward(kept)
        return (x * kept.to(x.dtype)).mul_(ctx.scale)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (kept,) = ctx.saved_tensors
        return (gradient * kept.to(gradient.dtype)).mul_(ctx.scale), None
