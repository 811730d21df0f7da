"""Scaled dot-product attention between its projections, with the way back written out by hand (see by_hand.py)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from space.by_hand import lowered, times
from space.dropout import draw
from space.graphs import readable


def weigh(queries: Tensor, answers: Tensor | None, heads: int, bias: Tensor | None, p: float) -> Tensor:
    """Scaled dot-product attention of several heads (arXiv 1706.03762, section 3.2), given what was projected.

    Args:
        queries: (B,N,inner); or (B,N,3*inner) with keys and values behind, where states attend to themselves.
        answers: (B,S,2*inner) keys and values; None where queries holds them.
        heads: their number; each has its inner/heads numbers in a row.
        bias: (B or 1,heads or 1,N or 1,S) added to the logits; None for none.
        p: of the dropout on the attention map; 0 for none.

    Returns:
        (B,N,inner).
    """
    if readable(queries):
        return _Weigh.apply(queries, answers, heads, bias, p)
    parts = queries.chunk(3, -1) if answers is None else (queries, *answers.chunk(2, -1))
    q, k, v = (part.unflatten(-1, (heads, -1)).transpose(1, 2) for part in parts)
    mask = None if bias is None else bias.to(q.dtype)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=p).transpose(1, 2).flatten(2)


def weigh_folded(
    x: Tensor, answers: Tensor, query: Tensor, merge: Tensor, heads: int, bias: Tensor | None, p: float
) -> Tensor:
    """``weigh`` between its projections, with (x Wq)(m Wk)' as x (m Wk Wq')' and A (m Wv) Wm as A (m Wv Wm), by head.

    A few words that many regions ask are projected twice, and the regions not at all.

    Args:
        x: (B,N,H) states that ask.
        answers: (B,S,2*inner) keys and values.
        query: (inner,H) weight of the projection of x.
        merge: (H,inner) weight of the projection of what comes out.
        heads: their number.
        bias: (B,1,1,S) added to the logits; None for none.
        p: of the dropout on the attention map; 0 for none.

    Returns:
        (B,N,H).
    """
    return _WeighFolded.apply(x, answers, query, merge, heads, bias, p)


class _Weigh(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, queries: Tensor, answers: Tensor | None, heads: int, bias: Tensor | None, p: float) -> Tensor:
        if answers is None:
            q, k, v = _by_head(queries, 3, heads)
        else:
            (q,), (k, v) = _by_head(queries, 1, heads), _by_head(answers, 2, heads)
        batch, asking, answering = len(queries), q.shape[1], k.shape[1]
        ctx.factor, ctx.scale, kept = q.shape[-1] ** -0.5, 1.0, None
        ctx.bias_shape = None if bias is None else bias.shape
        spread = None if bias is None else bias.expand(batch, heads, -1, -1).reshape(batch * heads, -1, answering)
        weights = _softmax(q, k, spread, ctx.factor)
        if p:
            kept, ctx.scale = draw(weights, p)
        ctx.save_for_backward(q, k, v, weights, kept)
        ctx.apart = answers is not None
        out = times(_masked(weights, kept), v, ctx.scale)
        return out.view(batch, heads, asking, -1).transpose(1, 2).reshape(batch, asking, -1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, weights, kept = ctx.saved_tensors
        batch, heads = len(gradient), len(q) // len(gradient)
        (gradient,) = _by_head(gradient, 1, heads)
        of_logits = _of_logits(times(gradient, v.mT, ctx.scale), weights, kept)
        products = [
            (of_logits, k, ctx.factor),
            (of_logits.mT, q, ctx.factor),
            (_masked(weights, kept).mT, gradient, ctx.scale),
        ]
        of_bias = None
        if ctx.needs_input_grad[3]:
            of_bias = of_logits.view(batch, heads, *of_logits.shape[1:]).sum_to_size(ctx.bias_shape)
        if not ctx.apart:
            return _packed(products, batch), None, None, of_bias, None
        return _packed(products[:1], batch), _packed(products[1:], batch), None, of_bias, None


class _WeighFolded(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, answers: Tensor, query: Tensor, merge: Tensor, heads: int, bias: Tensor | None, p: float
    ) -> Tensor:
        x, answers, query, merge = lowered(x, answers, query, merge)
        batch, answering = len(x), answers.shape[1]
        ctx.scale, kept = 1.0, None
        # (heads,B*S,inner/heads) keys and values, and for each what takes it into the space of x.
        said = answers.reshape(batch * answering, 2, heads, -1).permute(1, 2, 0, 3).contiguous()
        ways = query.unflatten(0, (heads, -1)), merge.t().unflatten(0, (heads, -1))
        ctx.factor = said.shape[-1] ** -0.5
        folded = torch.stack((times(said[0], ways[0], ctx.factor), said[1] @ ways[1]))
        keys, values = folded.view(2, heads, batch, answering, -1).transpose(1, 2).reshape(2, batch, -1, x.shape[-1])
        spread = None if bias is None else bias.expand(-1, heads, 1, -1).reshape(batch, 1, -1)
        weights = _softmax(x, keys, spread, 1.0, heads)
        if p:
            kept, ctx.scale = draw(weights, p)
        ctx.save_for_backward(x, said, *ways, keys, values, weights, kept)
        return times(_masked(weights, kept).flatten(2), values, ctx.scale)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, said, *ways, keys, values, weights, kept = ctx.saved_tensors
        batch, _, heads, answering = weights.shape
        of_weights = times(gradient, values.mT, ctx.scale).view(weights.shape)
        of_logits = _of_logits(of_weights, weights, kept).flatten(2)
        of_folded = torch.stack((of_logits.mT @ x, times(_masked(weights, kept).flatten(2).mT, gradient, ctx.scale)))
        of_folded = of_folded.view(2, batch, heads, answering, -1).transpose(1, 2)
        of_keys, of_values = of_folded.reshape(2, heads, batch * answering, -1)
        of_said = torch.stack((times(of_keys, ways[0].mT, ctx.factor), of_values @ ways[1].mT))
        of_query = of_merge = None
        if ctx.needs_input_grad[2]:
            of_query = times(said[0].mT, of_keys, ctx.factor).flatten(0, 1)
            of_merge = (said[1].mT @ of_values).flatten(0, 1).t()
        of_answers = of_said.permute(2, 0, 1, 3).reshape(batch, answering, -1)
        return of_logits @ keys, of_answers, of_query, of_merge, None, None, None


def _softmax(q: Tensor, k: Tensor, bias: Tensor | None, factor: float, heads: int = 0) -> Tensor:
    """softmax(factor * q @ k' + bias); with ``heads``, of each head's share of the columns apart."""
    logits = times(q, k.mT, factor) if bias is None else torch.baddbmm(bias.to(q.dtype), q, k.mT, alpha=factor)
    return (logits.unflatten(-1, (heads, -1)) if heads else logits).softmax(-1).to(q.dtype)


def _of_logits(of_weights: Tensor, weights: Tensor, kept: Tensor | None) -> Tensor:
    if kept is not None:
        of_weights.mul_(kept.to(of_weights.dtype))
    return torch.ops.aten._softmax_backward_data(of_weights, weights, -1, weights.dtype)


def _by_head(packed: Tensor, parts: int, heads: int) -> Tensor:
    """(B,N,parts*inner) -> (parts,B*heads,N,inner/heads)."""
    batch, n, width = packed.shape
    apart = packed.reshape(batch, n, parts, heads, width // parts // heads).permute(2, 0, 3, 1, 4)
    return apart.reshape(parts, batch * heads, n, -1)


def _packed(products: Sequence[tuple[Tensor, Tensor, float]], batch: int) -> Tensor:
    """What ``_by_head`` takes apart, from its parts as factor * a @ b."""
    (a, b, _), parts = products[0], len(products)
    whole = a.new_empty(parts, a.shape[0], a.shape[1], b.shape[-1])
    for part, (a, b, factor) in zip(whole, products, strict=True):
        torch.baddbmm(part, a, b, beta=0, alpha=factor, out=part)
    apart = whole.view(parts, batch, -1, *whole.shape[2:]).permute(1, 3, 0, 2, 4)
    return apart.reshape(batch, whole.shape[2], -1)


def _masked(weights: Tensor, kept: Tensor | None) -> Tensor:
    return weights if kept is None else weights * kept.to(weights.dtype)
