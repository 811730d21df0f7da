"""The layers that are not attention, and the one residual wrapper around every operation."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from space.by_hand import feed_forward, residual_norm
from space.context import Context
from space.dropout import dropout

NORM_EPS = 1e-6


class Residual(nn.Module):
    """LayerNorm(x + Dropout(f(x)))."""

    def __init__(self, inner: nn.Module, width: int, dropout: float) -> None:
        super().__init__()
        self.inner, self.dropout = inner, dropout
        self.norm = nn.LayerNorm(width, eps=NORM_EPS)

    def forward(self, x: Tensor, context: Context) -> Tensor:
        """(B,N,H) -> (B,N,H)."""
        return residual_norm(x, self.inner(x, context), self.norm, self.dropout if self.training else 0.0)

    def flops(self, n: int, t: int) -> int:
        """Of matrix products and convolutions for one sample with n positions and t words."""
        return self.inner.flops(n, t)


class Plain(nn.Module):
    """A function of x alone, without weights and without a residual connection."""

    def __init__(self, function: nn.Module) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor, context: Context) -> Tensor:
        """(B,N,H) -> (B,N,H)."""
        return self.function(x)

    def flops(self, n: int, t: int) -> int:
        """Nothing worth counting."""
        return 0


class Zero(nn.Module):
    """Forgets everything."""

    def forward(self, x: Tensor) -> Tensor:
        """Zeros in the shape of x."""
        return torch.zeros_like(x)


class FeedForward(nn.Module):
    """Linear layers with ReLU and dropout between: width -> factor * width for every factor -> width."""

    def __init__(self, width: int, *factors: int, dropout: float) -> None:
        super().__init__()
        sizes = [width, *(factor * width for factor in factors), width]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(sizes))
        self.dropout = dropout

    def forward(self, x: Tensor, context: Context) -> Tensor:
        """(B,N,H) -> (B,N,H)."""
        return feed_forward(x, self.layers, self.dropout if self.training else 0.0)

    def flops(self, n: int, t: int) -> int:
        """Of one sample with n positions."""
        return sum(2 * n * layer.in_features * layer.out_features for layer in self.layers)


class Gate(nn.Module):
    """Gated linear units (arXiv 1612.08083), with ReLU and dropout between: width -> factor * width ... -> width."""

    def __init__(self, width: int, *factors: int, dropout: float) -> None:
        super().__init__()
        sizes = [width, *(factor * width for factor in factors), width]
        self.layers = nn.ModuleList(nn.Linear(a, 2 * b) for a, b in itertools.pairwise(sizes))
        self.dropout = dropout

    def forward(self, x: Tensor, context: Context) -> Tensor:
        """(B,N,H) -> (B,N,H)."""
        *hidden, last = self.layers
        for layer in hidden:
            x = dropout(F.glu(layer(x)).relu(), self.dropout if self.training else 0.0)
        return F.glu(last(x))

    def flops(self, n: int, t: int) -> int:
        """Of one sample with n positions."""
        return sum(2 * n * layer.in_features * layer.out_features for layer in self.layers)


class Convolution(nn.Module):
    """A convolution over the order of positions, padding seen as zeros; separable = depthwise, then pointwise."""

    def __init__(self, width: int, size: int, separable: bool) -> None:
        super().__init__()
        groups = width if separable else 1
        self.convolution = nn.Conv1d(width, width, size, padding=size // 2, groups=groups)
        self.pointwise = nn.Conv1d(width, width, 1) if separable else None
        for layer in filter(None, (self.convolution, self.pointwise)):
            nn.init.kaiming_normal_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor, context: Context) -> Tensor:
        """(B,N,H) -> (B,N,H)."""
        x = context.whole(x).masked_fill(context.pad.unsqueeze(-1), 0).transpose(1, 2)
        x = self.convolution(x)
        return context.real((x if self.pointwise is None else self.pointwise(x)).transpose(1, 2))

    def flops(self, n: int, t: int) -> int:
        """Of one sample with n positions."""
        return sum(2 * n * layer.weight.numel() for layer in filter(None, (self.convolution, self.pointwise)))
