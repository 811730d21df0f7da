"""Dropout, alone and after a ReLU, with as little kept for the way back as can be."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

GRAIN = 1 << 16  # values of the 16 random bits that decide over an element


def dropout(x: Tensor, p: float) -> Tensor:
    """Zero elements with probability p, to a 65,536th, and scale the others so that the mean stays.

    On a CPU torch's own draws a floating-point number for every element, which takes as long as the matrix product
    before it, and keeps one for the way back; 16 bits of an integer decide as well, come four at a time, and a byte
    an element is kept.
    """
    cut = round(p * GRAIN)
    if x.device.type != "cpu" or not 0 < cut < GRAIN:
        return F.dropout(x, cut / GRAIN)
    return _Dropout.apply(x, cut)


def relu_dropout(x: Tensor, p: float) -> Tensor:
    """``dropout(relu(x), p)``, for which nothing has to be kept but what comes out."""
    return _ReluDropout.apply(x, round(p * GRAIN))


class Dropout(nn.Dropout):
    """``dropout`` while training."""

    def forward(self, x: Tensor) -> Tensor:
        """Of any shape."""
        return dropout(x, self.p) if self.training and self.p else x


class ReluDropout(nn.Dropout):
    """ReLU, and ``dropout`` while training."""

    def forward(self, x: Tensor) -> Tensor:
        """Of any shape."""
        return relu_dropout(x, self.p) if self.training and self.p else x.relu()


def _kept(like: Tensor, cut: int) -> Tensor:
    words = torch.empty(like.numel() // 4 + 1, dtype=torch.int64).random_(-(2**63), None)
    return words.view(torch.int16)[: like.numel()].view(like.shape) >= cut - GRAIN // 2


def _scale(cut: int) -> float:
    return GRAIN / max(1, GRAIN - cut)


class _Dropout(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, cut: int) -> Tensor:
        kept = _kept(x, cut)
        ctx.save_for_backward(kept)
        ctx.cut = cut
        return (x * kept.to(x.dtype)).mul_(_scale(cut))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (kept,) = ctx.saved_tensors
        return (gradient * kept.to(gradient.dtype)).mul_(_scale(ctx.cut)), None


class _ReluDropout(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, cut: int) -> Tensor:
        out = dropout(x.relu(), cut / GRAIN)
        ctx.save_for_backward(out)
        ctx.cut = cut
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        # Where something positive came out, x was positive and kept.
        (out,) = ctx.saved_tensors
        return torch.ops.aten.threshold_backward(gradient, out, 0).mul_(_scale(ctx.cut)), None
