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
        like: of the shape wanted, on a CPU.
        p: above 0.

    Returns:
        1 where an element stays and 0 where it falls, as int8; and what to multiply by.
    """
    cut, scale = _grains(p)
    if cut >= GRAIN:
        return torch.zeros_like(like, dtype=torch.int8), scale
    words = torch.empty(like.numel() // 8 + 1, dtype=torch.int64, device=like.device).random_(-(2**63), None)
    return words.view(torch.int8)[: like.numel()].view(like.shape).ge_(cut - GRAIN // 2), scale


def _grains(p: float) -> tuple[int, float]:
    """How many of the grains mean that an element falls, and the factor that keeps the mean."""
    cut = max(1, round(p * GRAIN))
    return cut, GRAIN / max(1, GRAIN - cut)


def drop(x: Tensor, p: float) -> tuple[Tensor, Tensor, float]:
    """x after dropout with p above 0, which elements stayed, and what they were multiplied by; on a GPU in one call."""
    if x.is_cpu:
        kept, scale = draw(x, p)
        return (x * kept.to(x.dtype)).mul_(scale), kept, scale
    cut, scale = _grains(p)
    return *torch.native_dropout(x, cut / GRAIN, True), scale


def drop_back(gradient: Tensor, kept: Tensor, scale: float) -> Tensor:
    """The gradient of what ``drop`` was given."""
    if gradient.is_cpu:
        return (gradient * kept.to(gradient.dtype)).mul_(scale)
    return torch.ops.aten.native_dropout_backward(gradient, kept, scale)


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
        dropped, kept, ctx.scale = drop(x, p)
        ctx.save_for_backward(kept)
        return dropped

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (kept,) = ctx.saved_tensors
        return drop_back(gradient, kept, ctx.scale), None
