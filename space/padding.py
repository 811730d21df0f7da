"""Where padding stands, and states without it."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from space.graphs import readable

HIDDEN = torch.finfo(torch.bfloat16).min  # a logit of what must not be seen, in any dtype


class Padding:
    """What is padding in N rows of P positions each, and where the others, the real ones, lie in a list of them all.

    Args:
        pad: (N,P) bool, True = padding; every row has a real position.
    """

    def __init__(self, pad: Tensor) -> None:
        self.pad = pad

    @cached_property
    def some(self) -> bool:
        """Whether anything is padding; where it cannot be looked at, always."""
        return not readable(self.pad) or bool(self.pad.any())

    @cached_property
    def bias(self) -> Tensor | None:
        """(N,1,1,P) to add to logits of attention to the positions; None where none is padding."""
        if not self.some:
            return None
        return torch.zeros(self.pad.shape, device=self.pad.device).masked_fill_(self.pad, HIDDEN)[:, None, None]

    @cached_property
    def real(self) -> Tensor:
        """The real positions, counted through all rows; no more than R."""
        return (~self.pad).flatten().nonzero().squeeze(1)

    @cached_property
    def places(self) -> Tensor:
        """(N,P) where each position stands in the list of real ones; for padding, where some other stands."""
        return ((~self.pad).flatten().cumsum(0) - 1).clamp_(min=0).view(self.pad.shape)

    @cached_property
    def rows(self) -> int:
        """R of packed states: as many as real positions, or ``rounded``."""
        return rounded(len(self.real)) if self.some else self.pad.numel()

    def alone(self, x: Tensor) -> Tensor:
        """(N,P,H) -> (real positions,H)."""
        return _Pack.apply(x, self.real, len(self.real)) if self.some else x.flatten(0, 1)

    def pack(self, x: Tensor) -> Tensor:
        """(N,P,H) -> (R,H), the real positions and zeros behind them."""
        return _Pack.apply(x, self.real, self.rows) if self.some else x.flatten(0, 1)

    def spread(self, x: Tensor) -> Tensor:
        """(R,H) -> (N,P,H) with copies of others at padding, whose gradients are not looked at."""
        return (_Spread.apply(x, self.places, self.real) if self.some else x).view(*self.pad.shape, -1)


def rounded(rows: int) -> int:
    """So many rows or, where a CPU multiplies bf16, up to an eighth more, so that few numbers of them occur.

    Every batch has another number of words and of images, and oneDNN, which multiplies then, plans every product of new
    sizes, which takes as long as the product itself where networks are narrow; it remembers a thousand plans.
    """
    if not torch.is_autocast_enabled("cpu"):
        return rows
    step = 1 << max(0, rows.bit_length() - 4)
    return -(-rows // step) * step


class _Pack(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, real: Tensor, rows: int) -> Tensor:
        ctx.save_for_backward(real)
        ctx.shape = x.shape
        return _selected(x.flatten(0, 1), real, rows)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (real,) = ctx.saved_tensors
        whole = gradient.new_zeros(ctx.shape)
        whole.view(-1, ctx.shape[-1]).index_copy_(0, real, gradient[: len(real)])
        return whole, None, None


class _Spread(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, places: Tensor, real: Tensor) -> Tensor:
        ctx.save_for_backward(real)
        ctx.rows = len(x)
        return x.index_select(0, places.flatten())

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (real,) = ctx.saved_tensors
        return _selected(gradient, real, ctx.rows), None, None


def _selected(x: Tensor, chosen: Tensor, rows: int) -> Tensor:
    """(N,H) -> (rows,H), the chosen ones and zeros behind them."""
    found = x.new_empty(rows, x.shape[-1])
    torch.index_select(x, 0, chosen, out=found[: len(chosen)])
    found[len(chosen) :] = 0
    return found
