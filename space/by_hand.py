"""The mathematics of blocks with the way back written out by hand.

A small network's step costs as many microseconds as it makes calls. Written as one function each, with factors left to
the matrix products and no copy for autograd's sake, a block makes a third of the calls and keeps less for the way back.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from space.dropout import draw, drop, drop_back


def residual_norm(x: Tensor, change: Tensor, norm: nn.LayerNorm, p: float) -> Tensor:
    """``norm(x + dropout(change, p))``.

    Args:
        x: (...,H).
        change: (...,H).
        norm: over H.
        p: of the dropout; 0 for none.

    Returns:
        (...,H).
    """
    return _ResidualNorm.apply(x, change, norm.weight, norm.bias, norm.eps, p)


def feed_forward(x: Tensor, layers: Sequence[nn.Linear], p: float) -> Tensor:
    """Linear layers with ReLU and dropout between.

    Args:
        x: (...,H).
        layers: at least one, with biases.
        p: of the dropout; 0 for none.

    Returns:
        (...,width of the last).
    """
    return _FeedForward.apply(x, p, *(part for layer in layers for part in (layer.weight, layer.bias)))


def lowered(*tensors: Tensor) -> tuple[Tensor, ...]:
    """The same in the dtype in which matrix products run now."""
    device = tensors[0].device.type
    if not torch.is_autocast_enabled(device):
        return tensors
    dtype = torch.get_autocast_dtype(device)
    return tuple(tensor.to(dtype) for tensor in tensors)


class _ResidualNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, change: Tensor, weight: Tensor, bias: Tensor, eps: float, p: float) -> Tensor:
        kept, ctx.change_dtype = None, change.dtype
        if p and x.is_cpu:
            kept, ctx.scale = draw(change, p)
            total = torch.addcmul(x, change, kept.to(change.dtype), value=ctx.scale)
        else:
            if p:
                change, kept, ctx.scale = drop(change, p)
            total = x + change
            if not x.is_cpu:  # autocast normalises in fp32 there, and the way back has to have what was normalised
                total = total.to(weight.dtype)
        out, mean, deviation = torch.native_layer_norm(total, weight.shape, weight, bias, eps)
        ctx.save_for_backward(total, mean, deviation, weight, bias, kept)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        total, mean, deviation, weight, bias, kept = ctx.saved_tensors
        wanted = ctx.needs_input_grad
        needed = [wanted[0] or wanted[1], wanted[2], wanted[3]]
        of_total, of_weight, of_bias = torch.ops.aten.native_layer_norm_backward(
            gradient, total, weight.shape, mean, deviation, weight, bias, needed
        )
        of_change = None
        if wanted[1]:
            of_change = of_total.to(ctx.change_dtype)
            if kept is not None:
                of_change = drop_back(of_change, kept, ctx.scale)
        return of_total, of_change, of_weight, of_bias, None, None


class _FeedForward(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, p: float, *parameters: Tensor) -> Tensor:
        x, *parameters = lowered(x, *parameters)
        weights, biases = parameters[::2], parameters[1::2]
        # On a CPU hidden layers stay unscaled, and the products that read them scale: ctx.left is what they have to.
        ctx.scale = ctx.left = 1.0
        hidden = [x.flatten(0, -2)]
        for weight, bias in zip(weights[:-1], biases[:-1], strict=True):
            if not x.is_cpu:
                out = torch._addmm_activation(bias, hidden[-1], weight.t())  # with the ReLU in the same call
                if p:
                    out, _, ctx.scale = drop(out, p)
            else:
                out = torch.addmm(bias, hidden[-1], weight.t(), alpha=ctx.left).relu_()
                if p:
                    kept, ctx.scale = draw(out, p)
                    ctx.left = ctx.scale
                    out.mul_(kept.to(out.dtype))
            hidden.append(out)
        ctx.save_for_backward(*hidden, *weights)
        out = torch.addmm(biases[-1], hidden[-1], weights[-1].t(), alpha=ctx.left)
        return out.view(*x.shape[:-1], -1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        layers = len(ctx.saved_tensors) // 2
        hidden, weights = ctx.saved_tensors[:layers], ctx.saved_tensors[layers:]
        shape, gradient, found = gradient.shape, gradient.flatten(0, -2), []
        learns = ctx.needs_input_grad[2]
        for number in reversed(range(layers)):
            left = ctx.left if number else 1.0
            found[:0] = [times(gradient.t(), hidden[number], left), gradient.sum(0)] if learns else [None, None]
            if number:  # where a hidden layer is positive, it was so before the ReLU and stayed
                gradient = times(gradient, weights[number], ctx.scale)
                gradient = torch.ops.aten.threshold_backward(gradient, hidden[number], 0)
        of_x = (gradient @ weights[0]).view(*shape[:-1], -1) if ctx.needs_input_grad[0] else None
        return of_x, None, *found


def times(a: Tensor, b: Tensor, factor: float) -> Tensor:
    """``factor * a @ b`` of matrices, or of batches of them."""
    if factor == 1:
        return a @ b
    product = torch.addmm if a.dim() == 2 else torch.baddbmm
    return product(a.new_empty((1,) * a.dim()), a, b, beta=0, alpha=factor)
