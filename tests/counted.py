"""A device that computes nothing in place of a GPU: torch's meta device, on which code takes the way it takes on a GPU.

Whatever needs a value from it (``.item()``, a condition, boolean indexing) raises; what it is asked to do is counted.
"""

from __future__ import annotations

from collections import Counter
from importlib import import_module
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

META = torch.device("meta")
# Calls that start nothing on a GPU: other views of a tensor, and memory for one.
VIEWS = """view _unsafe_view t transpose permute expand split split_with_sizes slice select unbind unsqueeze squeeze
detach alias as_strided empty_like new_empty empty"""
CHECKS_ITS_INPUT = "multinomial"  # on a GPU by waiting for it

_fused = torch.library.Library("counted", "DEF")
_fused.define("lstm(Tensor x, Tensor weight) -> Tensor")
_fused.define("lstm_backward(Tensor gradient, Tensor weight) -> (Tensor, Tensor)")
_fused.impl("lstm", lambda x, weight: x.new_empty(*x.shape[:-1], len(weight) // 4), "Meta")
_fused.impl(
    "lstm_backward", lambda g, weight: (g.new_empty(*g.shape[:-1], weight.shape[1]), torch.empty_like(weight)), "Meta"
)


class _Lstm(torch.autograd.Function):
    """A call there and a call back, as cuDNN's; in pieces it would be a dozen calls a word."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, *weights: Tensor) -> Tensor:
        ctx.save_for_backward(*weights)
        return torch.ops.counted.lstm(x, weights[0])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, ...]:
        weight, *others = ctx.saved_tensors
        return *torch.ops.counted.lstm_backward(gradient, weight), *others


def _attention(q: Tensor, k: Tensor, v: Tensor, attn_mask: Tensor, dropout_p: float) -> Tensor:
    """As scaled_dot_product_attention with a mask on a GPU: one call there and one back."""
    mask = attn_mask.expand(*q.shape[:3], k.shape[2])
    return torch.ops.aten._scaled_dot_product_efficient_attention(q, k, v, mask, torch.is_grad_enabled(), dropout_p)[0]


def stand_in_for_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the meta device have the fused calls of a GPU, and an autocast that is off."""
    autocast, enabled = torch.autocast, torch.is_autocast_enabled
    monkeypatch.setattr(torch, "autocast", lambda kind, **how: autocast(kind.replace("meta", "cpu"), **how))
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda kind: enabled(kind.replace("meta", "cpu")))
    monkeypatch.setattr(F, "scaled_dot_product_attention", _attention)
    monkeypatch.setattr(torch._VF, "lstm", lambda x, states, weights, *how: (_Lstm.apply(x, *weights), None, None))
    for module in map(import_module, ("torch.utils._foreach_utils", "torch.optim.optimizer")):
        for what in ("foreach", "fused"):
            monkeypatch.setattr(module, f"_get_{what}_kernels_supported_devices", lambda: ["cpu", "meta"])


class Calls(TorchDispatchMode):
    """What the device is asked to do while this is entered, by name of the call, and what would wait for it."""

    def __init__(self) -> None:
        super().__init__()
        self.work: Counter[str] = Counter()
        self.waits: Counter[str] = Counter()

    def __torch_dispatch__(self, call: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name, to = call.__name__.partition(".")[0], kwargs.get("device")
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        there = any(one.device == META for one in tensors) or to == META
        if not there:
            return call(*args, **kwargs)
        fetches = name == "_to_copy" and to is not None and to != META
        # A number alone is handed over with the call; anything larger is copied, which pinned memory need not wait for.
        copied = any(one.device != META and one.dim() for one in tensors) and not kwargs.get("non_blocking")
        if fetches or copied or name == CHECKS_ITS_INPUT:
            self.waits[name] += 1
        if name not in VIEWS.split():
            self.work[name] += 1
        return torch.ones(args[0].shape, dtype=args[0].dtype) if fetches else call(*args, **kwargs)
