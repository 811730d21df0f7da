"""Every operation a block can hold, by name. A new operation is one entry in OPS."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

import torch
from torch import nn

from common.errors import UserError, did_you_mean
from space.attention import GuidedAttention, RelationAttention, SelfAttention, UnifiedAttention
from space.layers import Convolution, FeedForward, Gate, Plain, Residual, Zero

BOTH = frozenset({"encoder", "decoder"})
DECODER = frozenset({"decoder"})


@dataclass(frozen=True)
class Operation:
    """What there is to know about an operation before it is built.

    Args:
        kind: what it is to a reader of a diagram.
        build: called with ``width, dropout, head_scale, relation_width``; gives ``module(x, context)`` from (B,N,H)
            to (B,N,H) with a method ``flops(positions, words)``.
        sides: where it may stand.
        reads_text: whether it needs the text states.
        reads_boxes: whether it needs the relations between boxes.
    """

    kind: str
    build: Callable[..., nn.Module]
    sides: frozenset[str] = BOTH
    reads_text: bool = False
    reads_boxes: bool = False


def _attention(
    cls: type[nn.Module], head: int, factor: int = 1, *, width: int, dropout: float, head_scale: int, **more: int
) -> Residual:
    """An attention with heads of size ``head``, ``factor`` times as wide inside as outside."""
    size, inner = head * head_scale, factor * width
    if inner % size:
        raise UserError(f"heads of {size} do not divide a width of {inner}; choose another width or other operations")
    return Residual(cls(width, size, inner, dropout, **more), width, dropout)


def _self(head: int, factor: int = 1) -> Operation:
    def build(*, relation_width: int, **sizes: float) -> Residual:
        return _attention(SelfAttention, head, factor, **sizes)

    return Operation("self attention", build)


def _guided(head: int, factor: int = 1) -> Operation:
    def build(*, relation_width: int, **sizes: float) -> Residual:
        return _attention(GuidedAttention, head, factor, **sizes)

    return Operation("guided attention", build, DECODER, reads_text=True)


def _unified(head: int) -> Operation:
    def build(*, relation_width: int, **sizes: float) -> Residual:
        return _attention(UnifiedAttention, head, **sizes)

    return Operation("guided attention", build, DECODER, reads_text=True)


def _relation(head: int) -> Operation:
    return Operation("relation attention", partial(_attention, RelationAttention, head), DECODER, reads_boxes=True)


def _layers(kind: str, cls: type[nn.Module], *factors: int) -> Operation:
    def build(*, width: int, dropout: float, **unused: float) -> Residual:
        return Residual(cls(width, *factors, dropout=dropout), width, dropout)

    return Operation(kind, build)


def _convolution(size: int, separable: bool) -> Operation:
    def build(*, width: int, dropout: float, **unused: float) -> Residual:
        return Residual(Convolution(width, size, separable), width, dropout)

    return Operation("convolution", build)


def _plain(kind: str, make: Callable[[], nn.Module]) -> Operation:
    """A function without weights, and without a residual connection."""
    return Operation(kind, lambda **unused: Plain(make()))


OPS: dict[str, Operation] = {
    "none": _plain("identity", Zero),
    "skip_connect": _plain("identity", nn.Identity),
    "relu": _plain("activation", nn.ReLU),
    "gelu": _plain("activation", partial(nn.GELU, approximate="tanh")),
    "leakyrelu": _plain("activation", nn.LeakyReLU),
    **{f"self_att_{head}": _self(head) for head in (256, 128, 64, 32, 16)},
    "self_att_64_2": _self(64, factor=2),
    **{f"rel_self_att_{head}": _relation(head) for head in (256, 128, 64, 32, 16)},
    **{f"guided_att_{head}": _guided(head) for head in (256, 128, 64, 32, 16)},
    "guided_att_64_2": _guided(64, factor=2),
    **{f"uniimg_att_{head}": _unified(head) for head in (128, 64, 32)},
    **{f"sep_conv_{size}": _convolution(size, True) for size in (3, 5, 7, 11)},
    **{f"std_conv_{size}": _convolution(size, False) for size in (3, 5, 7, 11)},
    "feed_forward": _layers("feed forward", FeedForward, 4),
    **{f"feed_forward_{factor}": _layers("feed forward", FeedForward, factor) for factor in (2, 8, 16, 32)},
    "feed_forward_deep": _layers("feed forward", FeedForward, 2, 2),
    "gated_linear_1": _layers("gate", Gate),
    "gated_linear_2": _layers("gate", Gate, 2),
}


def build(name: str, **sizes: float) -> nn.Module:
    """Build an operation.

    Args:
        name: one of OPS.
        **sizes: ``width, dropout, head_scale, relation_width``.

    Raises:
        UserError: there is no such operation, or its heads do not divide the width.
    """
    return _find(name).build(**sizes)


def check(names: Iterable[str], side: str) -> None:
    """Make sure that operations exist and may stand on a side.

    Raises:
        UserError: naming the first that does not.
    """
    for name in names:
        if side not in _find(name).sides:
            allowed = ", ".join(n for n, op in OPS.items() if side in op.sides)
            raise UserError(f"operation {name!r} cannot stand in the {side}; choose among {allowed}")


def check_width(names: Iterable[str], **sizes: float) -> None:
    """Make sure that operations can be built at these sizes, without the memory that they would take.

    Args:
        names: of OPS.
        **sizes: as ``build`` takes them.

    Raises:
        UserError: the heads of one do not divide the width.
    """
    with torch.device("meta"):
        for name in dict.fromkeys(names):
            build(name, **sizes)


def _find(name: str) -> Operation:
    if name not in OPS:
        raise UserError(f"operation {name!r} is unknown{did_you_mean(name, OPS) or '; see space/ops.py for all names'}")
    return OPS[name]
